import { describe, expect, test, vi } from 'vitest'
import type { Changes, Mutation } from 'rota-engine'
import { lead, openAbleLive, type ableTables } from './able.js'
import { openLive, pause, refusal, until } from './world.js'

describe('a transaction', () => {
  test('is seen as a whole at once, sent as one operation, and confirmed as a whole', async () => {
    const { store, backend } = await openAbleLive()
    const heard = vi.fn()
    store.subscribe('leads', heard)
    const { id, durable, settled, temporaryKeys } = store.transact([
      { name: 'patch', table: 'leads', key: 'a', set: { city: 'Jena' } },
      { name: 'delete', table: 'leads', key: 'b' },
      { name: 'insert', table: 'leads', record: lead('n') },
      { name: 'assign', table: 'leads', key: 'n', to: 'maya' },
    ])
    expect([store.get('leads', 'a')?.city, store.get('leads', 'b'), store.get('leads', 'n')?.owner_id]).toEqual(['Jena', undefined, 'maya'])
    expect(heard).toHaveBeenCalledTimes(1)
    expect(temporaryKeys).toEqual([])
    expect(await durable).toBe('memory')
    expect(await settled).toEqual({ id, outcome: 'confirmed' })
    expect(backend.pushes).toHaveLength(1)
    expect(backend.pushes[0]).toMatchObject({ id, name: 'transaction', protocol: 2, parts: [{ name: 'patch' }, { name: 'delete' }, { name: 'insert' }, { name: 'assign' }] })
    expect([backend.row('leads', 'a')?.['city'], backend.row('leads', 'b'), backend.row('leads', 'n')?.['owner_id']]).toEqual(['Jena', null, 'maya'])
  })

  test('that is refused is gone from all its records at once', async () => {
    const { store, backend } = await openAbleLive()
    backend.judge = ({ name }) => (name === 'transaction' ? { outcome: 'refused', code: 'forbidden', message: 'not yours' } : undefined)
    const states: unknown[] = []
    store.subscribe(() => states.push([store.get('leads', 'a')?.city, store.get('leads', 'b') !== undefined]))
    const { settled } = store.transact([
      { name: 'patch', table: 'leads', key: 'a', set: { city: 'Jena' } },
      { name: 'delete', table: 'leads', key: 'b' },
    ])
    expect(await settled).toMatchObject({ outcome: 'refused', code: 'forbidden', message: 'not yours' })
    for (const state of states) expect([['Jena', false], ['Bremen', true]]).toContainEqual(state)
    expect(states.at(-1)).toEqual(['Bremen', true])
  })

  test('can be undone as a whole', async () => {
    const { store } = await openAbleLive()
    const { id, settled } = store.transact([
      { name: 'patch', table: 'leads', key: 'a', set: { city: 'Jena' } },
      { name: 'patch', table: 'leads', key: 'b', set: { city: 'Jena' } },
    ])
    await settled
    await store.undo(id)?.settled
    expect([store.get('leads', 'a')?.city, store.get('leads', 'b')?.city]).toEqual(['Bremen', 'Kiel'])
  })

  const patch = { name: 'patch', table: 'leads', key: 'a', set: { city: 'x' } }
  test.each<[string, unknown, string, RegExp]>([
    ['no list', patch, 'invalid-operation', /list of mutations/],
    ['nothing', undefined, 'invalid-operation', /list of mutations/],
    ['an empty list', [], 'transaction-length', /2 to 100/],
    ['one mutation', [patch], 'transaction-length', /this one has 1/],
    ['a hundred and one', Array.from({ length: 101 }, () => patch), 'transaction-length', /this one has 101/],
    ['a list with a hole', [patch, null], 'invalid-operation', /mutation 1: mutate takes an object/],
    ['a value that is none', [patch, { ...patch, set: { city: new Date() } }], 'invalid-value', /mutation 1: set\.city is a Date/],
    ['an unknown record in the middle', [patch, { ...patch, key: 'zz' }, patch], 'unknown-record', /"zz"/],
    ['a change of what it deleted', [{ name: 'delete', table: 'leads', key: 'a' }, patch], 'unknown-record', /"a"/],
    ['two inserts without a key into one table', [1, 2].map((n) => ({ name: 'insert', table: 'orders', record: { title: `${n}`, parent: null } })), 'invalid-operation', /one record without a key into each table/],
    ['a temporary key that is not complete', [{ name: 'insert', table: 'orders', record: { title: 'x', parent: null } }, { name: 'delete', table: 'orders', key: '~.0' }], 'unknown-record', /~\.0/],
  ])('of %s is refused, and nothing of it is done', async (_, mutations, code, says) => {
    const { store, backend } = await openAbleLive()
    const before = [store.all('leads'), store.all('orders'), store.operations()]
    const error = refusal(() => store.transact(mutations as Mutation<typeof ableTables>[]))
    expect(error.code).toBe(code)
    expect(error.message).toMatch(says)
    expect([store.all('leads'), store.all('orders'), store.operations()].map((now, index) => now === before[index])).toEqual([true, true, true])
    await pause(2)
    expect(backend.pushes).toEqual([])
  })
})

describe('a record whose key the server gives', () => {
  test('shows at once under a temporary key, by which it is found, watched and changed ever after', async () => {
    const { store, backend } = await openAbleLive()
    const { id, settled, temporaryKeys } = store.mutate({ name: 'insert', table: 'orders', record: { title: 'first', parent: null } })
    const [temporary] = temporaryKeys
    expect(temporary).toBe(`~${id}`)
    expect(store.get('orders', temporary!)).toMatchObject({ id: temporary, title: 'first' })
    expect(store.keyOf('orders', temporary!)).toBe(temporary)
    const heard = vi.fn()
    const stop = store.subscribe('orders', temporary!, heard)
    const told: Changes[] = []
    store.subscribe((changes) => told.push(changes))
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    expect(store.keyOf('orders', temporary!)).toBe('1')
    expect(store.get('orders', 1)).toMatchObject({ id: 1, title: 'first' })
    expect(store.get('orders', temporary!)).toBe(store.get('orders', 1))
    expect(store.all('orders')).toHaveLength(1)
    expect(told.flatMap(({ renamed = [] }) => renamed)).toEqual([{ table: 'orders', from: temporary, to: '1' }])
    const calls = heard.mock.calls.length
    expect(calls).toBeGreaterThan(0)
    backend.put('orders', { id: 1, title: 'changed', parent: null })
    expect(heard).toHaveBeenCalledTimes(calls + 1)
    await store.mutate({ name: 'patch', table: 'orders', key: temporary!, set: { title: 'again' } }).settled
    expect(backend.row('orders', '1')?.['title']).toBe('again')
    stop()
    const { listeners } = store.stats()
    backend.put('orders', { id: 1, title: 'unheard', parent: null })
    expect(heard.mock.calls.length).toBeGreaterThan(calls + 1)
    const after = heard.mock.calls.length
    backend.put('orders', { id: 1, title: 'unheard still', parent: null })
    expect([heard.mock.calls.length, store.stats().listeners]).toEqual([after, listeners])
  })

  test('may be referred to before it is known, and the reference is sent with the real key', async () => {
    const { store, backend } = await openAbleLive()
    backend.online = false
    const parent = store.mutate({ name: 'insert', table: 'orders', record: { title: 'parent', parent: null } })
    const child = store.mutate({ name: 'insert', table: 'orders', record: { title: 'child', parent: parent.temporaryKeys[0]! } })
    expect(store.get('orders', child.temporaryKeys[0]!)?.parent).toBe(parent.temporaryKeys[0])
    await pause(2)
    expect(new Set(backend.pushes.map(({ id }) => id))).toEqual(new Set([parent.id]))
    backend.online = true
    store.reconnect()
    expect([(await parent.settled).outcome, (await child.settled).outcome]).toEqual(['confirmed', 'confirmed'])
    expect(store.get('orders', store.keyOf('orders', child.temporaryKeys[0]!))?.parent).toBe(Number(store.keyOf('orders', parent.temporaryKeys[0]!)))
  })

  test('has its temporary key inside a transaction too', async () => {
    const { store } = await openAbleLive()
    const { id, settled, temporaryKeys } = store.transact([
      { name: 'patch', table: 'leads', key: 'a', set: { city: 'Jena' } },
      { name: 'insert', table: 'orders', record: { title: 'first', parent: null } },
    ])
    expect(temporaryKeys).toEqual([`~${id}.1`])
    expect(store.get('orders', temporaryKeys[0]!)?.title).toBe('first')
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    expect(store.keyOf('orders', temporaryKeys[0]!)).toBe('1')
    expect(store.get('orders', 1)?.title).toBe('first')
  })

  test('leaves a live list under the one key and enters it under the other in one step', async () => {
    const { store } = await openAbleLive()
    const view = store.view({ table: 'orders', figures: { all: 'count' } })
    const totals: number[] = []
    view.subscribe(() => totals.push(view.total))
    await store.mutate({ name: 'insert', table: 'orders', record: { title: 'first', parent: null } }).settled
    expect(new Set(totals)).toEqual(new Set([1]))
    expect(view.rows()).toEqual([store.get('orders', 1)])
  })

  test('leaves nothing behind when its insert is refused', async () => {
    const { store, backend } = await openAbleLive()
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    const { settled, temporaryKeys } = store.mutate({ name: 'insert', table: 'orders', record: { title: 'first', parent: null } })
    expect(await settled).toMatchObject({ outcome: 'refused' })
    expect([store.get('orders', temporaryKeys[0]!), store.all('orders')]).toEqual([undefined, []])
  })

  test('needs its key where the table does not say that the server gives it', async () => {
    const { store } = await openLive()
    expect(refusal(() => store.mutate({ name: 'insert', table: 'people', record: { name: 'x' } as never })).code).toBe('missing-key')
    expect(store.mutate({ name: 'insert', table: 'people', record: { id: 'x', name: 'x' } }).temporaryKeys).toEqual([])
    await until(() => expect(store.status().unsent).toBe(0))
  })

  test('keyOf of a key that is none says so', async () => {
    const { store } = await openAbleLive()
    expect(store.keyOf('orders', 5)).toBe('5')
    expect(store.keyOf('orders', '~nobody')).toBe('~nobody')
    expect(refusal(() => store.keyOf('orders', null as never)).code).toBe('missing-key')
    expect(refusal(() => store.keyOf('nope' as 'orders', 5)).code).toBe('unknown-table')
  })
})
