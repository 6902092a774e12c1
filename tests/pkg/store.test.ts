import { createStore, init, type StoreOptions } from 'rota-engine'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { FakeBackend } from './backend.js'
import { open, openLive, pause, refusal, tables, until } from './world.js'

beforeAll(init)

describe('one store for each application and person', () => {
  test('a second one is refused until the first is closed', () => {
    vi.stubGlobal('window', globalThis)
    const { store } = open(undefined, { user: 'maya' })
    const error = refusal(() => open(undefined, { user: 'maya' }))
    expect(error.code).toBe('duplicate-store')
    expect(error.message).toContain('maya')
    open(undefined, { user: 'jonas' })
    open(undefined, { user: 'maya', app: 'other' })
    store.close()
    expect(open(undefined, { user: 'maya' }).store.isClosed).toBe(false)
  })

  test('on a server there may be many: each renders for itself', () => {
    const one = open(undefined, { user: 'nils' }).store
    const { store } = open(undefined, { user: 'nils' })
    one.close()
    expect(store.isClosed).toBe(false)
  })

  test('one that could not be made does not stand in the way', () => {
    expect(refusal(() => open(undefined, { user: 'lena', retry: { timeout: 0 } })).code).toBe('invalid-configuration')
    open(undefined, { user: 'lena' })
  })
})

const backend = () => new FakeBackend()
const one = { key: 'id', fields: ['id', 'name'] }
const person = { app: 'tests', user: 'nobody', tables, backend: backend(), storage: 'memory' }

describe('a configuration that can not work is refused, and the message names the part', () => {
  const cases: [what: string, options: unknown, named: RegExp][] = [
    ['nothing at all', undefined, /app and user/],
    ['no app', { ...person, app: undefined }, /app/],
    ['an empty app', { ...person, app: '' }, /app/],
    ['a user that is a number', { ...person, user: 7 }, /user/],
    ['an empty user', { ...person, user: '' }, /user/],
    ['no tables member', { ...person, tables: undefined }, /tables/],
    ['a list of tables', { ...person, tables: [one] }, /tables/],
    ['no table', { ...person, tables: {} }, /tables/],
    ['a table that is null', { ...person, tables: { a: null } }, /"a"/],
    ['a table without a name', { ...person, tables: { '': one } }, /name/],
    ['a table without a key', { ...person, tables: { a: { fields: ['id'] } } }, /"a".*|key.*"a"/],
    ['an empty key', { ...person, tables: { a: { key: [], fields: ['id'] } } }, /"a".*key/],
    ['a key that is a number', { ...person, tables: { a: { key: 5, fields: ['id'] } } }, /key.*"a"/],
    ['a key that is not among the fields', { ...person, tables: { a: { key: 'ID', fields: ['id'] } } }, /"a".*"ID"/],
    ['a field that is named twice', { ...person, tables: { a: { key: 'id', fields: ['id', 'name', 'id'] } } }, /"a".*"id" twice/],
    ['a key field that is named twice', { ...person, tables: { a: { key: ['id', 'id'], fields: ['id'] } } }, /"a".*"id" twice/],
    ['fields that are text', { ...person, tables: { a: { key: 'i', fields: 'id' } } }, /fields.*"a"/],
    ['no fields', { ...person, tables: { a: { key: 'id' } } }, /fields.*"a"/],
    ['a field that is no text', { ...person, tables: { a: { key: 'id', fields: ['id', 3] } } }, /fields.*"a"/],
    ['an owner that is no field', { ...person, tables: { a: { ...one, owner: 'boss' } } }, /"a".*"boss"/],
    ['an owner that is the key', { ...person, tables: { a: { ...one, owner: 'id' } } }, /"a".*owner/],
    ['a column of the server among the fields', { ...person, tables: { a: { key: 'id', fields: ['id', 'rota_version'] } } }, /"a".*rota_version/],
    ['names from an undeclared table', { ...person, tables: { a: { ...one, ownerName: { table: 'b', field: 'name' } } } }, /"a".*"b"/],
    ['names from what every object has', { ...person, tables: { a: { ...one, ownerName: { table: 'toString', field: 'name' } } } }, /"toString"/],
    ['names from a field that is not there', { ...person, tables: { a: { ...one, ownerName: { table: 'a', field: 'nick' } } } }, /"nick"/],
    ['no backend', { ...person, backend: undefined }, /backend.*pull/],
    ['a backend without pull', { ...person, backend: { push() {}, connect() {} } }, /pull\(\)/],
    ['a backend without push', { ...person, backend: { pull() {}, connect() {} } }, /push\(\)/],
    ['a backend without connect', { ...person, backend: { pull() {}, push() {} } }, /connect\(\)/],
    ['retry that is a number', { ...person, retry: 3 }, /retry/],
    ['a retry option there is not', { ...person, retry: { foo: 1 } }, /retry.*"foo".*maxRetries/],
    ['retry.maxRetries below zero', { ...person, retry: { maxRetries: -1 } }, /maxRetries/],
    ['retry.maxRetries that is no whole number', { ...person, retry: { maxRetries: 1.5 } }, /maxRetries/],
    ['retry.maxRetries beyond reason', { ...person, retry: { maxRetries: 101 } }, /maxRetries/],
    ['retry.retryDelay of nothing', { ...person, retry: { retryDelay: 0 } }, /retryDelay/],
    ['retry.backoffMultiplier below one', { ...person, retry: { backoffMultiplier: 0.5 } }, /backoffMultiplier/],
    ['retry.backoffMultiplier that is no number', { ...person, retry: { backoffMultiplier: NaN } }, /backoffMultiplier/],
    ['retry.timeout that is text', { ...person, retry: { timeout: 'soon' } }, /timeout/],
    ['a storage there is not', { ...person, storage: 'disk' }, /storage/],
    ['an onProblem that is no function', { ...person, onProblem: true }, /onProblem/],
  ]

  test.each(cases)('%s', (_what, options, named) => {
    const error = refusal(() => createStore(options as StoreOptions<typeof tables>))
    expect(error.code).toBe('invalid-configuration')
    expect(error.message).toMatch(named)
  })
})

describe('closing', () => {
  test('every call that would do something then says that the store is closed', async () => {
    const { store } = await openLive()
    store.close()
    expect(store.isClosed).toBe(true)
    const calls: (() => unknown)[] = [
      () => store.mutate({ name: 'delete', table: 'companies', key: 'c1' }),
      () => store.assignments.assign('companies', 'c1', 'maya'),
      () => store.assignments.subscribe('companies', 'c1', () => {}),
      () => store.subscribe(() => {}),
      () => store.subscribe('companies', () => {}),
      () => store.subscribe('companies', 'c1', () => {}),
      () => store.onProblem(() => {}),
      () => store.batch(() => {}),
      () => store.cancel('019aa5e3-f1c0-7a3b-9c1d-2e4f60718293'),
      () => store.retry('019aa5e3-f1c0-7a3b-9c1d-2e4f60718293'),
      () => store.reconnect(),
    ]
    for (const call of calls) expect(refusal(call).code).toBe('closed')
    expect(store.stats()).toMatchObject({ records: 0, operations: 0, listeners: 0 })
  })

  test('it holds nobody\'s data any more, and reads as an empty store', async () => {
    const { store, backend: fake } = await openLive()
    fake.hold()
    await store.mutate({ name: 'assign', table: 'companies', key: 'c2', to: 'maya' }).durable
    fake.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    fake.release()
    await until(() => expect(store.operations().recent).toHaveLength(1))
    store.mutate({ name: 'assign', table: 'companies', key: 'c1', to: 'maya' })
    expect(store.assignments.state('companies', 'c1').ownerName).toBe('Maya')
    let heard = 0
    const stops = [store.subscribe(() => heard++), store.subscribe('companies', () => heard++), store.subscribe('companies', 'c1', () => heard++), store.assignments.subscribe('companies', 'c1', () => heard++), store.onProblem(() => heard++)]
    const before = Date.now()
    store.close()
    expect(store.get('companies', 'c1')).toBeUndefined()
    for (const table of ['people', 'companies', 'shifts'] as const) expect(store.all(table)).toEqual([])
    expect(store.all('companies')).toBe(store.all('companies'))
    expect(store.operations()).toEqual({ pending: [], recent: [] })
    expect(store.operations()).toBe(store.operations())
    const { link, ...status } = store.status()
    expect(status).toEqual({ role: 'follower', tabs: 'alone', unsent: 0, dead: 0, conflicts: 0, durability: 'memory', ready: false })
    expect(link).toEqual({ state: 'offline', why: 'closed', sinceMs: expect.any(Number) })
    expect(link.sinceMs).toBeGreaterThanOrEqual(before)
    expect(store.status()).toBe(store.status())
    for (const key of ['c1', 'c2']) {
      expect(store.assignments.state('companies', key)).toEqual({ ownerId: null, ownerName: null, isLoading: false, isUpdating: false, error: null, canAssign: false })
    }
    await pause(5)
    for (const stop of stops) stop()
    expect(heard).toBe(0)
    expect(store.stats()).toMatchObject({ records: 0, operations: 0, listeners: 0 })
  })

  test('closing twice does no harm', () => {
    const { store } = open()
    store.close()
    expect(() => store.close()).not.toThrow()
  })

  test('a listener may close the store, and nobody hears anything after it', async () => {
    const { store } = await openLive()
    const heard: string[] = []
    store.subscribe('companies', 'c1', () => {
      heard.push('closer')
      store.close()
    })
    store.subscribe('companies', 'c1', () => heard.push('second'))
    store.subscribe(() => heard.push('any'))
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(heard).toEqual(['closer'])
    expect(store.isClosed).toBe(true)
    expect(await settled).toMatchObject({ outcome: 'unknown', code: 'closed' })
  })

  test('`using` closes the store', () => {
    const { store } = open()
    ;(store as unknown as Disposable)[Symbol.dispose]()
    expect(store.isClosed).toBe(true)
  })

  test('the link is closed, the token listener leaves, and late answers are dropped', async () => {
    const { store, backend: fake } = await openLive()
    fake.hold()
    const { settled, durable } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    await until(() => expect(fake.pushes).toHaveLength(1))
    expect(fake.onTokenListeners.size).toBe(1)
    store.close()
    expect(fake.onTokenListeners.size).toBe(0)
    expect(fake.disconnects).toBe(fake.connects)
    fake.release()
    expect(await settled).toMatchObject({ outcome: 'unknown' })
    expect(await durable).toBe('memory')
    await pause(5)
  })

  test('when all stores are closed, no JavaScript object is held any more', async () => {
    const [first, second] = [await openLive(), await openLive()]
    expect(first.store.stats().handles).toBe(first.store.stats().records + second.store.stats().records)
    first.store.close()
    second.store.close()
    await until(() => expect(first.store.stats().handles).toBe(0))
  })

  test('a backend that ends its link while opening it is told to disconnect', async () => {
    const fake = backend()
    const connect = fake.connect.bind(fake)
    vi.spyOn(fake, 'connect').mockImplementationOnce((names, listener) => {
      fake.comesUp = false
      const disconnect = connect(names, listener)
      fake.cut()
      return disconnect
    })
    const { store } = open(fake)
    expect(fake.disconnects).toBe(1)
    expect(store.status().link).toMatchObject({ state: 'offline', why: expect.stringContaining('cut') })
  })

  test('a backend whose connect throws is offline, and tried again', async () => {
    const fake = backend()
    vi.spyOn(fake, 'connect').mockImplementationOnce(() => {
      throw new Error('no socket here')
    })
    const { store } = open(fake)
    expect(store.status().link).toMatchObject({ state: 'offline', why: expect.stringContaining('no socket here') })
    store.reconnect()
    await until(() => expect(store.status().link.state).toBe('live'))
  })
})
