import { createStore, init, table, type RecordEvent } from 'rota-engine'
import { beforeAll, describe, expect, test } from 'vitest'
import { lead, openAble, openAbleLive } from './able.js'
import { FakeBackend } from './backend.js'
import { Lines, openTab, stored } from './browser.js'
import { domainsSeeded, domainTables, slot, type openDomainsLive } from './domains.js'
import { isLive, open, openLive, pause, refusal, seeded, until } from './world.js'

beforeAll(init)

const said = ({ type, key, record, before }: RecordEvent<{ readonly id: unknown; readonly city?: unknown }>) => `${type} ${key} ${record.city} ${before?.city}`

describe('whoever watches a table', () => {
  test('hears of what comes, changes and goes, each once, by whomever; what was there from the start did not come', async () => {
    const { store, backend } = open(seeded())
    const heard: string[] = []
    const idle = store.stats().listeners
    const stop = store.watch({ table: 'companies' }, (event) => heard.push(said(event)))
    await isLive(store)
    expect(heard).toEqual([])
    backend.put('companies', { id: 'c3', name: 'New', city: 'Ulm', owner_id: null, extra: null })
    backend.hold()
    store.mutate({ name: 'patch', table: 'companies', key: 'c3', set: { city: 'Kiel' } })
    backend.put('people', { id: 'lena', name: 'Lena' })
    backend.remove('companies', 'c1')
    await until(() => expect(heard).toHaveLength(3))
    expect(heard).toEqual(['inserted c3 Ulm undefined', 'updated c3 Kiel Ulm', 'deleted c1 Bremen Bremen'])
    stop()
    backend.remove('companies', 'c2')
    expect([heard.length, store.stats().listeners]).toEqual([3, idle])
  })

  test('hears of a change of its own person’s once, when it shows', async () => {
    const { store, backend } = await openLive()
    const heard: string[] = []
    store.watch({ table: 'companies' }, (event) => heard.push(said(event)))
    await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel', extra: { a: [1] } } }).settled
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: { a: [1] } })
    expect(heard).toEqual(['updated c1 Kiel Bremen'])
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: { a: [2] } })
    expect(heard).toHaveLength(2)
  })

  test('of those that pass a filter hears of what begins to pass it, and of what passes it no more', async () => {
    const { store, backend } = await openAbleLive()
    const heard: string[] = []
    const stop = store.watch({ table: 'leads', filter: { eq: { field: 'city', value: 'Kiel' } } }, (event) => heard.push(said(event)))
    backend.put('leads', lead('a', { city: 'Kiel' }))
    backend.put('leads', lead('d', { city: 'Ulm' }))
    backend.put('leads', lead('a', { city: 'Kiel', value: 5 }))
    backend.put('leads', lead('b', { city: 'Ulm' }))
    backend.remove('leads', 'c')
    await until(() => expect(heard).toHaveLength(4))
    expect(heard).toEqual(['inserted a Kiel undefined', 'updated a Kiel Kiel', 'deleted b Kiel Kiel', 'deleted c Kiel Kiel'])
    stop()
    expect(store.stats().views).toBe(0)
  })

  test('hears nothing of what came and went in one go, and of a record once that gets its real key', async () => {
    const { store } = openAble()
    await isLive(store)
    const heard: string[] = []
    store.watch({ table: 'orders' }, ({ type, key }) => heard.push(`${type} ${key}`))
    store.watch({ table: 'leads' }, ({ type, key }) => heard.push(`${type} ${key}`))
    store.batch(() => {
      store.mutate({ name: 'insert', table: 'leads', record: lead('x') })
      store.mutate({ name: 'delete', table: 'leads', key: 'x' })
    })
    expect(heard).toEqual([])
    const { settled, temporaryKeys } = store.mutate({ name: 'insert', table: 'orders', record: { title: 'yes', parent: null } })
    await settled
    expect(heard[0]).toBe(`inserted ${temporaryKeys[0]}`)
    expect(heard.slice(1).every((one) => one === `updated ${store.keyOf('orders', temporaryKeys[0]!)}`)).toBe(true)
  })

  test('and throws harms nobody', async () => {
    const { store, backend } = await openLive()
    const heard: string[] = []
    const reported: unknown[] = []
    Object.assign(globalThis, { reportError: (error: unknown) => reported.push(error) })
    store.watch({ table: 'people' }, () => {
      throw new Error('mine')
    })
    store.watch({ table: 'people' }, ({ key }) => heard.push(key))
    backend.put('people', { id: 'a', name: 'A' })
    expect([heard, reported.length]).toEqual([['a'], 1])
    Reflect.deleteProperty(globalThis, 'reportError')
  })

  test('is told what is wrong with what it asks for', async () => {
    const { store } = await openLive()
    expect(refusal(() => store.watch({ table: 'nope' as 'people' }, () => {})).code).toBe('unknown-table')
    expect(refusal(() => store.watch({ table: 'people' }, undefined as never)).code).toBe('invalid-operation')
    expect(refusal(() => store.watch(null as never, () => {})).code).toBe('invalid-operation')
    expect(refusal(() => store.watch({ table: 'companies', filter: { eq: { field: 'city', value: 'x' } } }, () => {})).code).toBe('not-indexed')
    store.close()
    expect(refusal(() => store.watch({ table: 'people' }, () => {})).code).toBe('closed')
  })
})

describe('a store that is opened off-line, with what it had the last time', () => {
  const options = { tables: domainTables } as never

  const reopened = async () => {
    const lines = new Lines(domainsSeeded())
    const before = openTab(lines.server, options)
    await isLive(before.store)
    await until(async () => expect((await stored('records')).length).toBeGreaterThan(4))
    before.store.close()
    await pause(20)
    Object.assign(lines.server, { online: false, comesUp: false })
    const tabs = [openTab(lines.server, options), openTab({ ...lines.one(), connect: () => () => {} }, options)].map((tab) => tab.store as unknown as Awaited<ReturnType<typeof openDomainsLive>>['store'])
    for (const store of tabs) await until(() => expect(store.get('leads', 'l1')).toBeDefined())
    return { server: lines.server, tabs }
  }

  test('tells what is done meanwhile, in whichever tab, and not what the cache and the first pull bring', async () => {
    const { server, tabs } = await reopened()
    const heard = tabs.map((store) => {
      const events: string[] = []
      store.watch({ table: 'leads' }, ({ type, key }) => events.push(`${type} ${key}`))
      store.assignments.watch(({ key, to }) => events.push(`${key} to ${to}`))
      store.availability.watch({ availability_created: (_slot, key) => events.push(`slot ${key}`) })
      return events
    })
    tabs[0]!.assignments.assign('leads', 'l1', 'maya')
    tabs[0]!.availability.create(slot('own'))
    tabs[0]!.mutate({ name: 'insert', table: 'leads', record: { id: 'l9', name: 'Nine', owner_id: null, department: null } })
    const all = ['l1 to maya', 'updated l1', 'slot own', 'inserted l9']
    for (const events of heard) await until(() => expect(events).toEqual(all))
    expect(tabs.map((store) => store.status().ready)).toEqual([false, false])
    server.put('leads', { id: 'l7', name: 'Seven', owner_id: 'maya', department: null }, { silently: true })
    Object.assign(server, { online: true, comesUp: true })
    tabs[0]!.reconnect()
    await until(() => expect(tabs[0]!.get('leads', 'l7')).toBeDefined())
    await pause(20)
    expect(heard[0]).toEqual(all)
  })

  test('does not tell what was done before, and waits', async () => {
    const { server, tabs } = await reopened()
    await tabs[0]!.assignments.assign('leads', 'l1', 'maya').durable
    for (const store of tabs) store.close()
    await pause(20)
    const { store } = openTab(server, options) as unknown as { store: typeof tabs[number] }
    const heard: unknown[] = []
    store.assignments.watch((event) => heard.push(event))
    store.watch({ table: 'leads' }, (event) => heard.push(event))
    await until(() => expect(store.get('leads', 'l1')?.owner_id).toBe('maya'))
    expect(heard).toEqual([])
  })
})

test('a filter that many records pass costs whoever watches it little more than none does', async () => {
  const backend = new FakeBackend()
  for (let n = 0; n < 10_000; n++) backend.put('rows', { id: `r${n}`, ward: 'north', n: 0 }, { silently: true })
  const tables = { rows: table<{ id: string; ward: string; n: number }>({ key: 'id', fields: ['id', 'ward', 'n'], indexed: ['ward'] }) }
  const store = createStore({ app: 'watched', user: 'maya', tables, backend, storage: 'memory' })
  await isLive(store)
  let version = 1_000_000
  const takes = (watch: () => () => void) => {
    const stop = watch()
    const began = performance.now()
    for (let n = 0; n < 200; n++) backend.tell({ table: 'rows', kind: 'changed', row: { id: `r${n}`, ward: n % 2 ? 'north' : 'south', n: version, rota_version: String(version++), rota_op: null } })
    const ms = performance.now() - began
    stop()
    return ms
  }
  const heard: string[] = []
  const filter = { eq: { field: 'ward', value: 'north' } } as const
  const [plain, filtered] = [takes(() => store.watch({ table: 'rows' }, () => {})), takes(() => store.watch({ table: 'rows', filter }, ({ type }) => heard.push(type)))]
  expect(heard).toEqual(Array.from({ length: 100 }, () => 'updated'))
  expect(filtered / plain).toBeLessThan(15)
  takes(() => store.watch({ table: 'rows', filter: { eq: { field: 'ward', value: 'south' } } }, () => {}))
  store.close()
})

describe('a logout is heard of', () => {
  test('in every tab, once, when nothing of theirs can be read any more', async () => {
    const tabs = [openTab(), openTab()].map(({ store }) => store)
    for (const store of tabs) await isLive(store)
    const heard: unknown[] = []
    for (const [at, store] of tabs.entries()) store.onSignedOut(() => heard.push([at, store.isClosed, store.all('people').length]))
    const stop = tabs[0]!.onSignedOut(() => heard.push('stopped'))
    stop()
    await tabs[0]!.logout()
    await until(() => expect(heard).toHaveLength(2))
    await pause(5)
    expect(heard.sort()).toEqual([[0, true, 0], [1, true, 0]])
  })

  test('and a store that is only closed says nothing', async () => {
    const { store } = await openLive()
    const heard: string[] = []
    store.onSignedOut(() => heard.push('out'))
    store.close()
    await pause(5)
    expect(heard).toEqual([])
    expect(refusal(() => store.onSignedOut(() => {})).code).toBe('closed')
  })
})
