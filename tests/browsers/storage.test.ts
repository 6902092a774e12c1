/** Storage that is full, forbidden, or deleted under the store: the status says so, the cache goes first, and no operation is lost. */

import { expect } from 'vitest'
import { gateway, inEachBrowser, people, type Profile, type Tab } from './harness.js'

const { maya, aiko, jonas } = people
const TABLE = 'companies'
/** The server does nothing, and says nothing; who has signed in stays so. */
const SILENT = { dropNextRest: 1_000_000 }

inEachBrowser((world) => {
  const record = (skip = 0) => world.db.recordOf(TABLE, 'Sales', [maya, aiko, jonas], skip)
  const onceIn = async (tab: Tab, key: string, ids: readonly string[]): Promise<void> => {
    await tab.evaluate(() => window.tab.store!.reconnect())
    await tab.waitForUnsent(0, 30_000)
    await tab.evaluate(forgiveClient)
    expect((await world.db.decisionsOn(TABLE, key)).toSorted((a, b) => (a.id < b.id ? -1 : 1))).toEqual(
      ids.toSorted().map((id) => ({ id, outcome: 'confirmed' })),
    )
  }

  world.test('with localStorage full to the brim an operation is kept by IndexedDB, and the status says so', async () => {
    const key = await record()
    const profile = await world.newProfile()
    const [tab] = await profile.newTabs(1)
    expect((await tab.status()).durability).toBe('full')
    await gateway.faults(SILENT)
    await tab.evaluate(fillLocalStorage)
    const id = await tab.assign(TABLE, key, aiko.id)
    expect(await tab.owner(TABLE, key)).toBe(aiko.id)
    expect((await tab.status()).durability).toBe('async')
    await tab.waitFor('it to be durable', () => tab.durable(id), (level) => level === 'full')

    await tab.reload()
    await tab.waitForOwner(TABLE, key, aiko.id)
    await tab.waitForUnsent(1)
    await gateway.faults({ dropNextRest: 0 })
    await onceIn(tab, key, [id])
  })

  world.test('with no room in IndexedDB an operation is kept by localStorage, and the status says so', { needs: ['quota'], instead: 'IndexedDB that can’t be opened' }, async () => {
    const key = await record()
    const tab = await openWithoutRoom(await world.newProfile())
    await gateway.faults(SILENT)
    const id = await tab.assign(TABLE, key, aiko.id)
    await tab.waitFor('it to be durable', () => tab.durable(id), (level) => level === 'tab')
    expect((await tab.status()).durability).toBe('tab')
    // There is no cache, so there is no record to show it on; but it is there.
    await tab.open({ user: maya.id })
    await tab.waitForUnsent(1)
    await tab.limitStorage(undefined)
    await gateway.faults({ dropNextRest: 0 })
    await onceIn(tab, key, [id])
  })

  world.test('the cache makes room for operations when there is none', { needs: ['quota', 'relaunch'] }, async () => {
    const key = await record()
    const profile = await world.newProfile()
    const [before] = await profile.newTabs(1)
    await before.waitFor('the cache', () => before.evaluate(countCached), (count) => count > 0)
    // A browser asks only now and then how much room there is; one that has just begun asks at once.
    await profile.kill()
    await profile.start()
    const tab = await openWithoutRoom(profile)
    await gateway.faults(SILENT)
    expect(await tab.evaluate(countCached)).toBeGreaterThan(0)
    await tab.evaluate(fillLocalStorage)
    await tab.assign(TABLE, key, aiko.id)
    await tab.waitFor('the cache to be empty', () => tab.evaluate(countCached), (count) => count === 0)
    await tab.evaluate(forgiveClient)
  })

  world.test(
    'with both full a mutation throws `storage-full` and shows nothing; with room again it goes on, and what was accepted arrives once',
    { needs: ['quota'], instead: 'the simulator, and the store in Node with storage that refuses' },
    async () => {
      const key = await record()
      const tab = await openWithoutRoom(await world.newProfile())
      await gateway.faults(SILENT)
      await tab.evaluate(fillLocalStorage)
      // That IndexedDB refuses is known only once it has: who was accepted before lives as long as the page, and is told so.
      const first = await tab.assign(TABLE, key, aiko.id)
      await tab.waitFor('the word on its durability', () => tab.durable(first), (level) => level === 'memory')
      await tab.waitFor('the status to say so', () => tab.status(), ({ durability }) => durability === 'memory')
      for (let attempt = 0; attempt < 5; attempt++) {
        const second = await tab.evaluate(tryToAssign, TABLE, key, jonas.id)
        expect(second).toEqual({ code: 'storage-full' })
        expect(await tab.owner(TABLE, key), 'as it was').toBe(aiko.id)
        await new Promise((resolve) => setTimeout(resolve, 200))
      }
      expect((await tab.status()).unsent).toBe(1)

      await tab.evaluate(emptyLocalStorage)
      await tab.limitStorage(undefined)
      const third = await tab.assign(TABLE, key, jonas.id)
      await tab.waitFor('it to be durable', () => tab.durable(third), (level) => level === 'full')
      await gateway.faults({ dropNextRest: 0 })
      await onceIn(tab, key, [first, third])
      await tab.waitForOwner(TABLE, key, jonas.id)
    },
  )

  world.test('with all storage forbidden everything works, and lives as long as the page; the status says so', async () => {
    const key = await record()
    const profile = await world.newProfile()
    // The backend's client keeps its session in localStorage where it can.
    const [tab] = await profile.newTabs(1, { block: ['localStorage', 'indexedDB'] })
    expect((await tab.status()).durability).toBe('memory')
    const id = await tab.assign(TABLE, key, aiko.id)
    await tab.waitFor('the word on its durability', () => tab.durable(id), (level) => level === 'memory' || level === 'full')
    await tab.waitForOutcome(id, 'confirmed')
    await onceIn(tab, key, [id])
  })

  world.test('an IndexedDB that is deleted under two stores is made again: what waits, and what comes, is kept', async () => {
    const [key, other] = [await record(), await record(1)]
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    await gateway.faults(SILENT)
    const ids = [await one.assign(TABLE, key, aiko.id), await two.assign(TABLE, other, aiko.id)]
    await one.waitFor('it to be durable', () => one.durable(ids[0]!), (level) => level === 'full')
    await two.waitFor('it to be durable', () => two.durable(ids[1]!), (level) => level === 'full')
    expect(await two.evaluate(deleteDatabases)).toBe('deleted')
    // localStorage has what waited; what is made now goes to both again.
    const later = await one.assign(TABLE, key, jonas.id)
    await one.waitFor('it to be durable', () => one.durable(later), (level) => level === 'full')
    expect(await one.problems()).toEqual([])
    await one.waitFor('IndexedDB to have it', () => one.evaluate(storedOperations), (found) => found.includes(later))
    await one.close()
    await two.reload()
    await two.waitForUnsent(3)
    await gateway.faults({ dropNextRest: 0 })
    await onceIn(two, key, [ids[0]!, later])
    await onceIn(two, other, [ids[1]!])
  })

  world.test('an IndexedDB that is deleted where localStorage is full: what waits in it is written again', async () => {
    const key = await record()
    const profile = await world.newProfile()
    const [tab] = await profile.newTabs(1)
    await gateway.faults(SILENT)
    await tab.evaluate(fillLocalStorage)
    const id = await tab.assign(TABLE, key, aiko.id)
    await tab.waitFor('it to be durable', () => tab.durable(id), (level) => level === 'full')
    expect(await tab.evaluate(deleteDatabases)).toBe('deleted')
    await tab.waitFor('IndexedDB to have it again', () => tab.evaluate(storedOperations), (found) => found.includes(id))
    await tab.reload()
    await tab.waitForUnsent(1)
    await gateway.faults({ dropNextRest: 0 })
    await onceIn(tab, key, [id])
  })
})

/** A tab with everything fetched, whose origin may store nothing in IndexedDB. */
async function openWithoutRoom(profile: Profile): Promise<Tab> {
  const tab = await profile.openTab({ start: false })
  await tab.limitStorage(1)
  await tab.evaluate(() => window.tab.start())
  await tab.waitUntilReady()
  return tab
}

/** Runs in the page: until not one more character fits. */
function fillLocalStorage(): void {
  for (let size = 1 << 20, number = 0; size >= 1; number++) {
    try {
      localStorage.setItem(`filler:${number}`, 'x'.repeat(size))
    } catch {
      size = size >> 1
    }
  }
}

/** Runs in the page: the backend's client wants its session in localStorage, and is not to blame where there is no room. */
function forgiveClient(): void {
  const { errors } = window.tab
  errors.splice(0, errors.length, ...errors.filter((error) => !error.includes('rota-browsers-session')))
}

function emptyLocalStorage(): void {
  for (const key of Object.keys(localStorage)) if (key.startsWith('filler:')) localStorage.removeItem(key)
}

function tryToAssign(table: 'companies', key: string, to: string): { code?: unknown } {
  try {
    window.tab.store!.assignments.assign(table, key, to)
    return {}
  } catch (error) {
    return { code: (error as { code: unknown }).code }
  }
}

/** Deletes every database of the page's origin; `blocked` when somebody does not let go. */
async function deleteDatabases(): Promise<string> {
  const ends: string[] = []
  for (const { name } of await indexedDB.databases()) {
    if (name === undefined) continue
    ends.push(
      await new Promise<string>((resolve) => {
        const request = indexedDB.deleteDatabase(name)
        request.addEventListener('success', () => resolve('deleted'))
        request.addEventListener('error', () => resolve('failed'))
        setTimeout(resolve, 3_000, 'blocked')
      }),
    )
  }
  return [...new Set(ends)].join()
}

/** The ids of the operations that IndexedDB has, of whichever store of the origin. */
async function storedOperations(): Promise<string[]> {
  return (await allKeys('operations')).map((key) => String(key).split(':op:')[1]?.slice(18) ?? '')

  async function allKeys(name: string): Promise<IDBValidKey[]> {
    const found: IDBValidKey[] = []
    for (const { name: database } of await indexedDB.databases()) {
      if (database === undefined) continue
      const open = await new Promise<IDBDatabase>((resolve, reject) => {
        const request = indexedDB.open(database)
        request.addEventListener('success', () => resolve(request.result))
        request.addEventListener('error', () => reject(request.error))
      })
      if (open.objectStoreNames.contains(name)) {
        const request = open.transaction(name).objectStore(name).getAllKeys()
        found.push(...(await new Promise<IDBValidKey[]>((resolve) => request.addEventListener('success', () => resolve(request.result)))))
      }
      open.close()
    }
    return found
  }
}

async function countCached(): Promise<number> {
  let count = 0
  for (const { name } of await indexedDB.databases()) {
    if (name === undefined) continue
    const open = await new Promise<IDBDatabase>((resolve) => {
      const request = indexedDB.open(name)
      request.addEventListener('success', () => resolve(request.result))
    })
    if (open.objectStoreNames.contains('records')) {
      const request = open.transaction('records').objectStore('records').count()
      count += await new Promise<number>((resolve) => request.addEventListener('success', () => resolve(request.result)))
    }
    open.close()
  }
  return count
}
