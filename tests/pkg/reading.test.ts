import { describe, expect, test } from 'vitest'
import { open, openLive, refusal, until } from './world.js'

describe('reading', () => {
  test('a record is the same object until it changes', async () => {
    const { store, backend } = await openLive()
    const before = store.get('companies', 'c1')
    expect(before).toMatchObject({ name: 'Harbour Optics', city: 'Bremen' })
    expect(store.get('companies', 'c1')).toBe(before)
    backend.put('companies', { id: 'c2', name: 'North Mill', city: 'Kiel', owner_id: null, extra: null })
    expect(store.get('companies', 'c1')).toBe(before)
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: null })
    expect(store.get('companies', 'c1')).not.toBe(before)
    expect(before?.city).toBe('Bremen')
    expect(store.get('companies', 'c1')?.city).toBe('Kiel')
  })

  test('the list of a table is the same until one of its records changes', async () => {
    const { store, backend } = await openLive()
    const before = store.all('companies')
    expect(before.map(({ id }) => id).sort()).toEqual(['c1', 'c2'])
    backend.put('people', { id: 'lena', name: 'Lena' })
    expect(store.all('companies')).toBe(before)
    store.mutate({ name: 'delete', table: 'companies', key: 'c1' })
    expect(store.all('companies')).not.toBe(before)
    expect(store.all('companies')).toHaveLength(1)
    expect(before).toHaveLength(2)
  })

  test('records and lists are frozen in development, what is inside them too', async () => {
    const { store } = await openLive()
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { extra: { tags: ['a', { deep: true }] } } })
    const record = store.get('companies', 'c1') as { city: string; extra: { tags: [string, { deep: boolean }] } }
    expect(() => {
      record.city = 'mine'
    }).toThrow(TypeError)
    expect(() => record.extra.tags.push('b' as never)).toThrow(TypeError)
    expect(() => {
      record.extra.tags[1].deep = false
    }).toThrow(TypeError)
    expect(() => (store.all('companies') as object[]).pop()).toThrow(TypeError)
  })

  test("the backend's own objects are neither kept nor frozen", async () => {
    const { store, backend } = await openLive()
    const answers: { record?: { city: string } }[] = []
    backend.echo = 'none'
    backend.spoilAnswer = (answer) => {
      answers.push(answer as never)
      return answer
    }
    const event = backend.put('companies', { id: 'c2', name: 'North Mill', city: 'Kiel', owner_id: null, extra: null })
    event.city = 'changed by the backend'
    expect(store.get('companies', 'c2')?.city).toBe('Kiel')
    await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Ulm' } }).settled
    answers[0]!.record!.city = 'changed by the backend'
    expect(store.get('companies', 'c1')?.city).toBe('Ulm')
  })

  test('no table of that name', async () => {
    const { store } = await openLive()
    const calls: (() => unknown)[] = [
      () => store.get('nope' as 'people', 'x'),
      () => store.all('nope' as 'people'),
      () => store.all('toString' as 'people'),
      () => store.subscribe('nope' as 'people', () => {}),
      () => store.subscribe('nope' as 'people', 'x', () => {}),
      () => store.assignments.state('nope' as 'people', 'x'),
      () => store.assignments.subscribe('toString' as 'people', 'x', () => {}),
    ]
    for (const call of calls) {
      const error = refusal(call)
      expect(error.code).toBe('unknown-table')
      expect(error.message).toMatch(/"(nope|toString)"/)
    }
  })

  test('a key may be text, an integer, or a list of these', async () => {
    const { store } = await openLive()
    expect(store.get('counters', 7)).toBeDefined()
    expect(store.get('counters', 7)).toBe(store.get('counters', '7'))
    expect(store.get('counters', [7])).toBe(store.get('counters', 7))
    expect(store.get('shifts', ['north', 42])).toBeDefined()
    expect(store.get('shifts', ['north', 42])).toBe(store.get('shifts', ['north', '42']))
    expect(store.get('shifts', ['north', 42])).toBe(store.get('shifts', '["north","42"]'))
    expect(store.get('shifts', ['42', 'north'])).toBeUndefined()
  })

  test.each([[null], [undefined], [1.5], [NaN], [2 ** 53], [true], [{}], [[]], [['north', null]], [Symbol('x')]])('%s is no key', async (key) => {
    const { store } = open()
    expect(refusal(() => store.get('shifts', key as never)).code).toBe('missing-key')
  })

  test('keys with quotes, line ends and other alphabets lead to their record', async () => {
    const { store } = await openLive()
    for (const site of ['a"b', 'a\\b', 'a\nb\t\u0001\u007f', 'Zürich', '東京', '🚀', '\u2028']) {
      store.mutate({ name: 'insert', table: 'shifts', record: { site, day: 1, who: site } })
      expect(store.get('shifts', [site, 1])?.who).toBe(site)
    }
  })

  test('a store is ready once everything was fetched, and not before', async () => {
    const { store, backend } = open()
    expect(store.status().ready).toBe(false)
    await until(() => expect(store.status().ready).toBe(true))
    expect(store.status()).toMatchObject({ role: 'alone', durability: 'memory', unsent: 0, dead: 0 })
    expect(store.status()).toBe(store.status())
    expect(store.operations()).toBe(store.operations())
    expect(backend.pulls[0]).toMatchObject({ protocol: 1, cursor: null, tables: ['people', 'companies', 'shifts', 'counters'] })
  })
})
