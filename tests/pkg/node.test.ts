import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { init } from 'rota-engine'
import { isLive, open, openLive, pause, seeded, until } from './world.js'

beforeAll(init)

const run = promisify(execFile)
/** Runs a script in a process of its own; the time limit fails the test when something keeps it alive. */
const inNode = async (script: string) => (await run(process.execPath, ['--input-type=module', '--eval', script], { cwd: import.meta.dirname, timeout: 20_000 })).stdout

const STORE = `
  import { createStore, init, table } from 'rota-engine'
  await init()
  const tables = { people: table({ key: 'id', fields: ['id', 'name'] }) }
  const rows = [{ id: 'maya', name: 'Maya', rota_version: '1', rota_op: null }]
  const never = new Promise(() => {})
  const backend = {
    pull: async () => ({ protocol: 1, cursor: '1', whole: true, records: { people: rows }, gone: [], settled: [] }),
    push: () => never,
    connect: (_, listener) => (queueMicrotask(() => (listener.joined(), listener.live())), () => {}),
    ping: () => never,
  }
  const store = createStore({ app: 'node', user: 'maya', tables, backend })
  const say = (value) => process.stdout.write(JSON.stringify(value))
`

describe('in Node', () => {
  test('a store keeps nothing but itself: no storage, no channel, no other tabs', async () => {
    const opened: string[] = []
    for (const name of ['BroadcastChannel', 'localStorage', 'indexedDB', 'navigator']) {
      vi.stubGlobal(
        name,
        new Proxy(function () {}, {
          construct: () => (opened.push(`new ${name}`), {}),
          get: (_, key) => void opened.push(`${name}.${String(key)}`),
        }),
      )
    }
    const { store } = await openLive(seeded(), { storage: 'auto' })
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(store.status()).toMatchObject({ role: 'alone', durability: 'memory' })
    await pause(5)
    expect(opened).toEqual([])
  })

  test('a store that is not closed keeps no process alive, with an operation on its way and timers set', async () => {
    const said = await inNode(`${STORE}
      await new Promise((resolve) => { const look = () => (store.status().ready && store.status().link.state === 'live' ? resolve() : setTimeout(look, 1)); look() })
      store.mutate({ name: 'patch', table: 'people', key: 'maya', set: { name: 'M' } })
      const { link, role, unsent } = store.status()
      say([link.state, role, unsent, store.get('people', 'maya').name])
    `)
    expect(JSON.parse(said)).toEqual(['live', 'alone', 1, 'M'])
  })

  test('its timers ring all the same while something else keeps the process alive', async () => {
    const said = await inNode(`${STORE}
      backend.connect = (_, listener) => (queueMicrotask(() => listener.closed(new Error('no stream'))), () => {})
      let connects = 0
      const connect = backend.connect
      backend.connect = (...words) => (connects++, connect(...words))
      store.close()
      const other = createStore({ app: 'node', user: 'maya', tables, backend, link: { polling: { activeMs: 1000, idleMs: 1000, hiddenMs: 1000 } } })
      await new Promise((resolve) => setTimeout(resolve, 4000))
      say(connects)
    `)
    expect(Number(said)).toBeGreaterThan(1)
  })

  test('a server renders: waits, takes the snapshot, closes', async () => {
    const said = await inNode(`${STORE}
      await new Promise((resolve) => { const stop = store.subscribe(({ status }) => status?.ready && (stop(), resolve())); setTimeout(() => store.status().ready && resolve(), 50) })
      say(store.snapshot())
      store.close()
    `)
    expect(JSON.parse(said)).toEqual({
      v: 1,
      app: 'node',
      user: 'maya',
      ready: true,
      tables: { people: [['1', { id: 'maya', name: 'Maya', rota_version: '1', rota_op: null }]] },
    })
  })
})

describe('in a dedicated worker', () => {
  // What a worker has of all this, as a page's other threads have it; real workers are tried in real browsers.
  test('there is neither window nor document: the store listens to what there is', async () => {
    const heard = new Map<string, EventListener>()
    vi.stubGlobal('WorkerGlobalScope', function () {})
    vi.stubGlobal('addEventListener', (name: string, listener: EventListener) => heard.set(name, listener))
    const { store, backend } = open(seeded())
    await isLive(store)
    expect([...heard.keys()].sort()).toEqual(['offline', 'online'])
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'missed', owner_id: null, extra: null }, { silently: true })
    heard.get('online')!(new Event('online'))
    await until(() => expect(store.get('companies', 'c1')?.city).toBe('missed'))
  })
})
