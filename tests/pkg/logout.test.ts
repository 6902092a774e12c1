import { init } from 'rota-engine'
import { beforeAll, expect, it, vi } from 'vitest'
import { openTab, storage, stored } from './browser.js'
import { isLive, pause, seeded, until } from './world.js'

beforeAll(init)

const patch = { name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } } as const

/** A tab with one change that could not be sent, and records that are kept for the next visit. */
async function openWithUnsent(): Promise<ReturnType<typeof openTab> & { backend: ReturnType<typeof seeded> }> {
  const backend = seeded()
  const tab = openTab(backend)
  await isLive(tab.store)
  backend.online = false
  backend.cut()
  await tab.store.mutate(patch).durable
  await until(async () => expect((await stored('records')).length).toBeGreaterThan(4))
  return { ...tab, backend }
}

const kept = async (): Promise<number> => (await stored('operations')).length + (await stored('records')).length

/** Keeps IndexedDB from answering until it is told to go on, as a slow disk would. */
function holdCommits(): { release(): void; isHeld(): boolean } {
  const { transaction } = IDBDatabase.prototype
  const held: (() => void)[] = []
  let holds = true
  vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...given) {
    const begun = transaction.apply(this, given)
    Object.defineProperty(begun, 'oncomplete', {
      set(listener: () => void) {
        begun.addEventListener('complete', () => void (holds ? held.push(listener) : listener()))
      },
    })
    return begun
  })
  return {
    isHeld: () => held.length > 0,
    release() {
      holds = false
      for (const listener of held) listener()
    },
  }
}

it('a logout is over once all is gone from the disk, not before', async () => {
  const { store } = await openWithUnsent()
  const { release, isHeld } = holdCommits()
  let isOver = false
  const leaving = store.logout({ unsent: 'discard' }).then(() => (isOver = true))
  expect(store.isClosed).toBe(true)
  await until(() => expect(isHeld()).toBe(true))
  await pause(20)
  expect(isOver).toBe(false)
  release()
  await leaving
  vi.restoreAllMocks()
  expect(await kept()).toBe(0)
  expect(storage.keys.filter((name) => !name.includes(':out:'))).toEqual([])
})

it('what a logout could not delete is neither shown nor sent by the next visit, and gone then', async () => {
  const { store, backend } = await openWithUnsent()
  vi.spyOn(console, 'warn').mockReturnValue()
  vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(() => {
    throw new DOMException('the connection is closing', 'InvalidStateError')
  })
  await store.logout({ unsent: 'discard' })
  expect(console.warn).toHaveBeenCalledWith(expect.stringContaining('IndexedDB'))
  vi.restoreAllMocks()
  expect(await kept()).toBeGreaterThan(4)

  const next = openTab(backend)
  await pause(30)
  expect([next.store.all('companies'), next.store.operations().pending]).toEqual([[], []])
  expect(await kept()).toBe(0)
  backend.online = true
  const { length } = backend.pushes
  next.store.reconnect()
  await isLive(next.store)
  await pause(20)
  expect(backend.pushes.slice(length)).toEqual([])
  expect(next.store.get('companies', 'c1')?.city).toBe('Bremen')
})

it('what is done after such a visit has begun stays', async () => {
  const { store, backend } = await openWithUnsent()
  vi.spyOn(console, 'warn').mockReturnValue()
  vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(() => {
    throw new DOMException('the connection is closing', 'InvalidStateError')
  })
  await store.logout({ unsent: 'discard' })
  vi.restoreAllMocks()

  const next = openTab(backend)
  expect(await next.store.mutate({ name: 'insert', table: 'companies', record: { id: 'c9', name: 'Nine', city: null, owner_id: null, extra: null } }).durable).toBe('full')
  expect((await stored('operations')).length).toBe(1)
  next.store.close()
  await pause(20)
  const last = openTab(backend)
  await until(() => expect(last.store.operations().pending.map(({ key }) => key)).toEqual(['c9']))
})

it('a logout that waits rejects when the store is closed: nobody has logged out', async () => {
  const { store, backend } = await openWithUnsent()
  const leaving = store.logout({ unsent: 'wait' }).catch((error: unknown) => error)
  store.close()
  expect(await leaving).toMatchObject({ name: 'RotaError', code: 'closed' })
  await pause(10)
  const next = openTab(backend)
  await until(() => expect(next.store.operations().pending.length).toBe(1))
})
