import { init } from 'rota-engine'
import { beforeAll, describe, expect, it } from 'vitest'
import { Lines, openTab, page, session, storage } from './browser.js'
import { isLive, pause, seeded, until } from './world.js'

beforeAll(init)

/** Listens to what tabs say on the channel. */
function listen(): { said: Record<string, unknown>[]; close: () => void } {
  const channel = new BroadcastChannel(session())
  const said: Record<string, unknown>[] = []
  channel.addEventListener('message', (event) => said.push((event as MessageEvent).data as Record<string, unknown>))
  return { said, close: () => channel.close() }
}

describe('BroadcastChannel', () => {
  it('carries what one tab does to the others, and the status says so', async () => {
    const lines = new Lines(seeded())
    const [one, two] = [openTab(lines.one()), openTab(lines.one())]
    await Promise.all([isLive(one.store), isLive(two.store)])
    expect([one.store.status().tabs, two.store.status().tabs]).toEqual(['channel', 'channel'])
    lines.server.hold()
    one.store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    await until(() => expect(two.store.get('companies', 'c1')?.city).toBe('Kiel'))
  })

  it('carries records as objects, not as text', async () => {
    const backend = seeded()
    const ear = listen()
    const { store } = openTab(backend)
    await isLive(store)
    await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { extra: { deep: [1, { er: null }] } } }).settled
    await until(() => expect(ear.said.some((message) => message.kind === 'settled')).toBe(true))
    const { answer } = ear.said.find((message) => message.kind === 'settled') as { answer: { record: unknown } }
    expect(answer.record).toMatchObject({ id: 'c1', extra: { deep: [1, { er: null }] } })
    ear.close()
  })

  it('is not opened in memory mode', async () => {
    const { store } = openTab(seeded(), { storage: 'memory' })
    await isLive(store)
    expect(store.status().tabs).toBe('alone')
  })
})

describe('tabs without locks', () => {
  it('send what they made themselves', async () => {
    const lines = new Lines(seeded())
    const [one, two] = [openTab(lines.one()), openTab(lines.one())]
    await Promise.all([isLive(one.store), isLive(two.store)])
    lines.server.hold()
    const ids = [one, two].map(({ store }, tab) => store.mutate({ name: 'patch', table: 'companies', key: `c${tab + 1}`, set: { city: 'Kiel' } }).id)
    await until(() => expect([one, two].map(({ store }) => store.operations().pending.length)).toEqual([2, 2]))
    lines.server.release()
    await until(() => expect([one, two].map(({ store }) => store.operations().pending)).toEqual([[], []]))
    expect(lines.pushes).toEqual([
      { tab: 0, id: ids[0] },
      { tab: 1, id: ids[1] },
    ])
  })
})

describe('where there is no BroadcastChannel', () => {
  function withoutChannel(): void {
    Reflect.deleteProperty(globalThis, 'BroadcastChannel')
  }

  it('storage events carry the messages, and leave nothing in storage', async () => {
    withoutChannel()
    const lines = new Lines(seeded())
    const [one, two] = [openTab(lines.one()), openTab(lines.one())]
    await Promise.all([isLive(one.store), isLive(two.store)])
    expect([one.store.status().tabs, two.store.status().tabs]).toEqual(['storage', 'storage'])
    const { settled } = one.store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    await until(() => expect(two.store.get('companies', 'c1')?.city).toBe('Kiel'))
    expect((await settled).outcome).toBe('confirmed')
    await until(() => expect(two.store.operations().pending).toEqual([]))
    expect(storage.keys.filter((key) => key.includes(':say:'))).toEqual([])
    expect([...one.problems, ...two.problems]).toEqual([])
  })

  it('what a tab that died has left is deleted, and what others write is none of ours', async () => {
    withoutChannel()
    storage.setItem(`${session()}:say:dead-7`, '{"v":1}')
    storage.setItem('rota:1:tests:somebody-else:say:dead-7', '{"v":1}')
    // Nobody is there yet who could hear of it.
    await pause(1)
    const { store, problems } = openTab(seeded())
    await isLive(store)
    expect(storage.keys.filter((key) => key.includes(':say:'))).toEqual(['rota:1:tests:somebody-else:say:dead-7'])
    for (const key of ['theme', null, `${session()}x:say:a-1`]) page.dispatchEvent(Object.assign(new Event('storage'), { key, newValue: '{' }))
    await pause(5)
    expect(problems).toEqual([])
  })

  it('a message that is none is reported', async () => {
    withoutChannel()
    const { store, problems } = openTab(seeded())
    await isLive(store)
    for (const newValue of ['{', '7', '"text"', 'null', '~sealed']) {
      page.dispatchEvent(Object.assign(new Event('storage'), { key: `${session()}:say:a-1`, newValue }))
    }
    expect(problems.map(({ code }) => code)).toEqual(Array(5).fill('malformed-message'))
    expect(store.get('companies', 'c1')?.name).toBe('Harbour Optics')
  })

  it('a full storage loses messages, says so once, and the tabs agree again when there is room', async () => {
    withoutChannel()
    const lines = new Lines(seeded())
    const [one, two] = [openTab(lines.one()), openTab(lines.one())]
    await Promise.all([isLive(one.store), isLive(two.store)])
    storage.quota = 0
    const ends = ['Kiel', 'Ulm', 'Bern'].map((city) => one.store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city } }).settled)
    await Promise.all(ends)
    expect(one.problems.filter(({ place }) => place === 'storage events')).toHaveLength(1)
    storage.quota = Number.POSITIVE_INFINITY
    await one.store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { city: 'Jena' } }).settled
    await until(() => {
      expect(two.store.get('companies', 'c1')?.city).toBe('Bern')
      expect(two.store.get('companies', 'c2')?.city).toBe('Jena')
      expect(two.store.operations().pending).toEqual([])
    })
  })

  it('and no storage either, each tab is on its own and says so', async () => {
    withoutChannel()
    storage.isBlocked = true
    const { store } = openTab(seeded())
    await isLive(store)
    expect(store.status()).toMatchObject({ tabs: 'alone', role: 'alone', durability: 'async' })
    storage.isBlocked = false
    expect((await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } }).settled).outcome).toBe('confirmed')
  })

  it('a closed tab listens no longer', async () => {
    withoutChannel()
    const { store, problems } = openTab(seeded())
    await isLive(store)
    store.close()
    page.dispatchEvent(Object.assign(new Event('storage'), { key: `${session()}:say:a-1`, newValue: '{' }))
    expect(problems).toEqual([])
  })
})
