import { init } from 'rota-engine'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { answer, openTab, session, storage, stored } from './browser.js'
import { isLive, pause, refusal, seeded, until } from './world.js'

beforeAll(init)

/** A store whose operations stay pending, as nobody can be reached. */
async function openOffline(): Promise<ReturnType<typeof openTab>> {
  const backend = seeded()
  const tab = openTab(backend)
  await isLive(tab.store)
  await until(() => expect(tab.store.status().durability).not.toBe('memory'))
  backend.online = false
  backend.cut()
  return tab
}

const patch = (city: string) => ({ name: 'patch', table: 'companies', key: 'c1', set: { city } }) as const
const operationsStored = () => storage.keys.filter((key) => key.startsWith(`${session()}:op:`))
const codes = (problems: readonly { code: string; place: string }[]) => problems.map(({ code, place }) => `${code} ${place}`)

describe('operations are kept', () => {
  it('in localStorage before mutate returns, and in IndexedDB when `durable` resolves', async () => {
    const { store } = await openOffline()
    const { durable } = store.mutate(patch('Kiel'))
    expect(operationsStored()).toHaveLength(1)
    expect(await durable).toBe('full')
    expect((await stored('operations')).map(({ key }) => key)).toEqual(operationsStored())
    expect(store.status().durability).toBe('full')
  })

  it('and found by the next visit in either place', async () => {
    const { store } = await openOffline()
    await store.mutate(patch('Kiel')).durable
    store.close()
    storage.clear()
    const next = openTab(seeded())
    await until(() => expect(next.store.get('companies', 'c1')?.city).toBe('Kiel'))
  })

  it('records are shown by the next visit before the server answers', async () => {
    const backend = seeded()
    const { store } = openTab(backend)
    await isLive(store)
    await until(async () => expect((await stored('records')).length).toBeGreaterThan(3))
    store.close()
    backend.delayMs = 60_000
    const next = openTab(backend)
    await until(() => expect(next.store.get('companies', 'c1')?.name).toBe('Harbour Optics'))
    expect(next.store.status().ready).toBe(false)
  })
})

describe('a localStorage that fails', () => {
  it('when it is full IndexedDB alone has it; the status says so, and that there is room again', async () => {
    const { store, problems } = await openOffline()
    storage.quota = 0
    expect(await store.mutate(patch('Kiel')).durable).toBe('full')
    expect(store.status().durability).toBe('async')
    expect(codes(problems)).toContain('storage localStorage')
    expect(operationsStored()).toEqual([])
    expect(await stored('operations')).toHaveLength(1)
    storage.quota = Number.POSITIVE_INFINITY
    await store.mutate(patch('Ulm')).durable
    expect(store.status().durability).toBe('full')
  })

  it('when it is blocked from the beginning, IndexedDB alone has it', async () => {
    storage.isBlocked = true
    const { store } = await openOffline()
    expect(store.status().durability).toBe('async')
    expect(await store.mutate(patch('Kiel')).durable).toBe('full')
  })

  it('when it is blocked meanwhile, too', async () => {
    const { store } = await openOffline()
    storage.isBlocked = true
    expect(await store.mutate(patch('Kiel')).durable).toBe('full')
    expect(store.status().durability).toBe('async')
  })
})

describe('an IndexedDB that fails', () => {
  /** Makes every transaction that writes operations fail. */
  function breakWrites(): { mend: () => void } {
    const spy = vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(() => {
      throw new DOMException('the connection is closing', 'InvalidStateError')
    })
    return { mend: () => spy.mockRestore() }
  }

  it('a handle that was dropped is opened once more, and nobody notices', async () => {
    const { store, problems } = await openOffline()
    const fail = () => {
      throw new DOMException('the connection is closing', 'InvalidStateError')
    }
    const asked = vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementationOnce(fail)
    expect(await store.mutate(patch('Kiel')).durable).toBe('full')
    expect(asked.mock.calls.length).toBeGreaterThan(1)
    expect(await stored('operations')).toHaveLength(1)
    expect(problems).toEqual([])
  })

  it('one that stays broken is said to be, localStorage keeps what was done, and all of it is there once it works again', async () => {
    const { store, problems } = await openOffline()
    const broken = breakWrites()
    expect(await store.mutate(patch('Kiel')).durable).toBe('tab')
    expect(store.status().durability).toBe('tab')
    expect(problems.filter(({ place }) => place === 'IndexedDB')).toHaveLength(1)
    broken.mend()
    expect(await store.mutate(patch('Ulm')).durable).toBe('full')
    expect(store.status().durability).toBe('full')
    expect((await stored('operations')).map(({ key }) => key).sort()).toEqual(operationsStored().sort())
  })

  it('and a full localStorage: mutate throws `storage-full`, nothing is shown, and nothing is found later', async () => {
    const { store } = await openOffline()
    const broken = breakWrites()
    await store.mutate(patch('Kiel')).durable
    storage.quota = 0
    expect(refusal(() => store.mutate(patch('Ulm'))).code).toBe('storage-full')
    expect(store.get('companies', 'c1')?.city).toBe('Kiel')
    broken.mend()
    storage.quota = Number.POSITIVE_INFINITY
    await store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { city: 'Bern' } }).durable
    const entries = await stored('operations')
    expect(entries.map(({ value }) => (value as { op: { set: object } }).op.set)).toEqual([{ city: 'Kiel' }, { city: 'Bern' }])
  })

  it('one that never answers when it is opened holds nobody up', async () => {
    vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(() => new EventTarget() as IDBOpenDBRequest)
    const { store, problems } = await openOffline()
    expect(await store.mutate(patch('Kiel')).durable).toBe('tab')
    expect(store.status().durability).toBe('tab')
    expect(codes(problems)).toContain('storage IndexedDB')
    const asked = Date.now()
    await store.mutate(patch('Ulm')).durable
    expect(Date.now() - asked).toBeLessThan(1_000)
  })

  it('one that is deleted under the store gets back what is pending', async () => {
    const { store, problems } = await openOffline()
    await store.mutate(patch('Kiel')).durable
    await answer(indexedDB.deleteDatabase(session()))
    await until(async () => expect((await stored('operations')).map(({ key }) => key)).toEqual(operationsStored()))
    expect(await store.mutate(patch('Ulm')).durable).toBe('full')
    expect(await stored('operations')).toHaveLength(2)
    expect(problems).toEqual([])
  })
})

describe('private modes', () => {
  it('that lend nothing leave operations in memory, and it is said', async () => {
    storage.isBlocked = true
    Reflect.deleteProperty(globalThis, 'indexedDB')
    const { store, problems } = openTab(seeded())
    await isLive(store)
    expect(store.status().durability).toBe('memory')
    expect(codes(problems)).toEqual(['storage localStorage, IndexedDB'])
    expect(await store.mutate(patch('Kiel')).durable).toBe('memory')
  })

  it('that lend no IndexedDB leave operations to the tab', async () => {
    Reflect.deleteProperty(globalThis, 'indexedDB')
    const { store } = openTab(seeded())
    await isLive(store)
    expect(store.status().durability).toBe('tab')
    const { durable } = store.mutate(patch('Kiel'))
    expect(['tab', 'full']).toContain(await durable)
    await pause(5)
    expect(store.status().durability).toBe('tab')
  })
})
