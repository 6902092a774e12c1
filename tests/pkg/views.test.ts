import type { Problem } from 'rota-engine'
import { describe, expect, test, vi } from 'vitest'
import { ableSeeded, lead, openAble, openAbleLive } from './able.js'
import { pause, refusal, until } from './world.js'

const ids = (view: { rows(): readonly { id: string }[] }) => view.rows().map(({ id }) => id)

describe('a live list', () => {
  test('shows the records that pass the filter, in order, inside the window', async () => {
    const { store } = await openAbleLive()
    const view = store.view({ table: 'leads', filter: { gte: { field: 'value', value: 10 } }, sort: [{ field: 'value', descending: true }], limit: 2 })
    expect(ids(view)).toEqual(['b', 'c'])
    expect(view.total).toBe(3)
    expect(view.rows()[0]).toBe(store.get('leads', 'b'))
    const next = store.view({ table: 'leads', filter: { gte: { field: 'value', value: 10 } }, sort: [{ field: 'value', descending: true }], limit: 2, offset: 2 })
    expect(ids(next)).toEqual(['a'])
  })

  test('follows what is seen, pending changes included, before the call that changes it returns', async () => {
    const { store, backend } = await openAbleLive()
    const view = store.view({ table: 'leads', filter: { eq: { field: 'city', value: 'Kiel' } }, sort: ['name'] })
    expect(ids(view)).toEqual(['b', 'c'])
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    const { settled } = store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { city: 'Kiel' } })
    expect(ids(view)).toEqual(['a', 'b', 'c'])
    await settled
    expect(ids(view)).toEqual(['b', 'c'])
    backend.put('leads', lead('e', { city: 'Kiel', name: 'AAA' }))
    backend.remove('leads', 'c')
    await until(() => expect(ids(view)).toEqual(['e', 'b']))
  })

  test('gives the same rows until they change, and the same figures and groups until those do', async () => {
    const { store, backend } = await openAbleLive()
    const view = store.view({ table: 'leads', filter: { eq: { field: 'city', value: 'Kiel' } }, figures: { value: { sum: 'value' } }, groupBy: ['status'] })
    const [rows, figures, groups, snapshot] = [view.rows(), view.figures(), view.groups(), view.snapshot()]
    backend.put('leads', lead('a', { city: 'Ulm' }))
    expect([view.rows(), view.figures(), view.groups(), view.snapshot()].map((now, index) => now === [rows, figures, groups, snapshot][index])).toEqual([true, true, true, true])
    backend.put('leads', lead('b', { city: 'Kiel', value: 30, status: 'open', name: 'renamed' }))
    expect(view.rows()).not.toBe(rows)
    expect(view.rows()[0]?.name).toBe('renamed')
    expect(view.figures()).toBe(figures)
    expect(view.groups()).toBe(groups)
    expect(view.snapshot()).not.toBe(snapshot)
    expect(rows[0]?.name).toBe('B')
    for (const frozen of [rows, figures, groups, snapshot]) expect(Object.isFrozen(frozen)).toBe(true)
  })

  test('counts, sums and averages everything that passes the filter, inside the window or not, and by groups', async () => {
    const { store } = await openAbleLive()
    const view = store.view({
      table: 'leads',
      limit: 0,
      figures: { all: 'count', located: { count: 'city' }, value: { sum: 'value' }, mean: { average: 'value' } },
      groupBy: ['city'],
    })
    expect(view.rows()).toEqual([])
    expect(view.total).toBe(4)
    expect(view.figures()).toEqual({ all: 4, located: 3, value: 60, mean: 20 })
    const groups = () => Object.fromEntries(view.groups().map(({ group, figures }) => [String(group?.city), figures]))
    expect(groups()).toEqual({
      Bremen: { all: 1, located: 1, value: 10, mean: 10 },
      Kiel: { all: 2, located: 2, value: 50, mean: 25 },
      null: { all: 1, located: 0, value: 0, mean: null },
    })
    const before = view.groups().find(({ group }) => group?.city === 'Kiel')
    store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { city: 'Ulm', value: 40 } })
    expect(view.figures()).toMatchObject({ value: 90, mean: 30 })
    expect(groups()['Ulm']).toEqual({ all: 1, located: 1, value: 40, mean: 40 })
    expect(groups()['Bremen']).toBeUndefined()
    expect(view.groups().find(({ group }) => group?.city === 'Kiel')).toBe(before)
    for (const key of 'abcd') store.mutate({ name: 'delete', table: 'leads', key })
    expect(view.figures()).toEqual({ all: 0, located: 0, value: 0, mean: null })
    expect(view.groups()).toEqual([])
  })

  test('every kind of filter finds what it says', async () => {
    const { store } = await openAbleLive()
    const found = (filter: NonNullable<Parameters<typeof store.view>[0]['filter']>) => {
      const view = store.view({ table: 'leads', filter } as Parameters<typeof store.view>[0])
      const keys = view.rows().map(({ id }) => id)
      view.close()
      return keys.join('')
    }
    expect(found({ eq: { field: 'city', value: 'Kiel' } })).toBe('bc')
    expect(found({ eq: { field: 'city', value: null } })).toBe('d')
    expect(found({ neq: { field: 'city', value: 'Kiel' } })).toBe('ad')
    expect(found({ lt: { field: 'value', value: 20 } })).toBe('a')
    expect(found({ lte: { field: 'value', value: 20 } })).toBe('ac')
    expect(found({ gt: { field: 'value', value: 20 } })).toBe('b')
    expect(found({ between: { field: 'value', from: 10, to: 20 } })).toBe('ac')
    expect(found({ in: { field: 'status', values: ['won', 'lost'] } })).toBe('cd')
    expect(found({ isNull: { field: 'value' } })).toBe('d')
    expect(found({ contains: { field: 'tags', value: 'x' } })).toBe('b')
    expect(found({ contains: { field: 'city', value: 'iel' } })).toBe('bc')
    expect(found({ and: [{ eq: { field: 'city', value: 'Kiel' } }, { not: { eq: { field: 'status', value: 'won' } } }] })).toBe('b')
    expect(found({ or: [{ isNull: { field: 'value' } }, { eq: { field: 'status', value: 'won' } }] })).toBe('cd')
  })

  test('a long list stays right through a thousand changes at random', async () => {
    const { store, backend } = await openAbleLive()
    const view = store.view({ table: 'leads', filter: { gt: { field: 'value', value: 0 } }, sort: [{ field: 'value', descending: true }, 'name'], limit: 20, offset: 3, figures: { sum: { sum: 'value' } } })
    let seed = 7
    const draw = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
    for (let step = 0; step < 1_000; step++) {
      const id = `r${draw(80)}`
      if (draw(5) === 0 && store.get('leads', id)) store.mutate({ name: 'delete', table: 'leads', key: id })
      else backend.put('leads', lead(id, { value: draw(40) - 5, city: 'Bonn' }))
      if (step % 20 > 0) continue
      const all = store.all('leads').filter(({ value }) => (value ?? 0) > 0)
      const inOrder = [...all].sort((one, other) => other.value! - one.value! || (one.name < other.name ? -1 : 1))
      expect(view.rows()).toEqual(inOrder.slice(3, 23))
      expect(view.total).toBe(all.length)
      expect(view.figures().sum).toBe(all.reduce((sum, { value }) => sum + value!, 0))
    }
  })
})

describe('listening to a live list', () => {
  test('a listener hears of what changes it, once a batch, and of nothing else', async () => {
    const { store, backend } = await openAbleLive()
    const view = store.view({ table: 'leads', filter: { eq: { field: 'city', value: 'Kiel' } } })
    const listener = vi.fn()
    const stop = view.subscribe(listener)
    backend.put('leads', lead('a', { city: 'Ulm' }))
    expect(listener).not.toHaveBeenCalled()
    store.batch(() => {
      store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { city: 'Kiel' } })
      store.mutate({ name: 'patch', table: 'leads', key: 'd', set: { city: 'Kiel' } })
      expect(ids(view)).toEqual(['a', 'b', 'c', 'd'])
      expect(listener).not.toHaveBeenCalled()
    })
    expect(listener).toHaveBeenCalledTimes(1)
    stop()
    stop()
    store.mutate({ name: 'delete', table: 'leads', key: 'b' })
    expect(listener).toHaveBeenCalledTimes(1)
  })

  test('a listener may close the view, open another one, and change what both show', async () => {
    const { store } = await openAbleLive()
    const view = store.view({ table: 'leads' })
    const heard: number[] = []
    view.subscribe(() => {
      view.close()
      const other = store.view({ table: 'leads', sort: ['name'] })
      other.subscribe(() => heard.push(other.total))
      store.mutate({ name: 'delete', table: 'leads', key: 'b' })
    })
    store.mutate({ name: 'delete', table: 'leads', key: 'a' })
    expect(heard).toEqual([2])
    expect(store.stats().views).toBe(1)
  })
})

describe('sharing and closing', () => {
  test('two equal views are kept once, and closed with the last of them', async () => {
    const { store } = await openAbleLive()
    const one = store.view({ table: 'leads', filter: { eq: { field: 'city', value: 'Kiel' } }, sort: ['name'], limit: 5 })
    const same = store.view({ sort: [{ field: 'name', descending: false }], limit: 5, offset: 0, filter: { eq: { value: 'Kiel', field: 'city' } }, table: 'leads' })
    const other = store.view({ table: 'leads', filter: { eq: { field: 'city', value: 'Ulm' } }, sort: ['name'], limit: 5 })
    expect(store.stats().views).toBe(2)
    expect(one.snapshot()).toBe(same.snapshot())
    const [heard, alsoHeard] = [vi.fn(), vi.fn()]
    one.subscribe(heard)
    same.subscribe(alsoHeard)
    one.close()
    one.close()
    expect([one.isClosed, same.isClosed]).toEqual([true, false])
    expect([one.rows(), one.total, one.figures(), one.groups()]).toEqual([[], 0, {}, []])
    store.mutate({ name: 'delete', table: 'leads', key: 'b' })
    expect([heard.mock.calls.length, alsoHeard.mock.calls.length]).toEqual([0, 1])
    expect(ids(same)).toEqual(['c'])
    same.close()
    other.close()
    expect(store.stats().views).toBe(0)
    expect(refusal(() => one.subscribe(() => {})).code).toBe('closed')
  })

  test('a view can be held by `using`', async () => {
    const { store } = await openAbleLive()
    const view = store.view({ table: 'leads' })
    ;(view as unknown as Record<symbol, () => void>)[Symbol.dispose]!()
    expect([view.isClosed, store.stats().views]).toEqual([true, 0])
  })

  test('ten thousand views opened, watched and closed leave nothing behind', async () => {
    const { store } = await openAbleLive()
    const { listeners, handles } = store.stats()
    for (let round = 0; round < 10_000; round++) {
      const view = store.view({ table: 'leads', sort: ['name'], limit: round % 7 })
      view.subscribe(() => {})
      view.close()
    }
    expect(store.stats()).toMatchObject({ listeners, handles, views: 0 })
  })

  test('closing the store closes its views, which then show nothing', async () => {
    const { store } = await openAbleLive()
    const view = store.view({ table: 'leads' })
    view.subscribe(() => {})
    store.close()
    expect([view.isClosed, view.rows(), view.total]).toEqual([true, [], 0])
    view.close()
    expect(refusal(() => store.view({ table: 'leads' })).code).toBe('closed')
    expect(store.stats()).toMatchObject({ listeners: 0, views: 0 })
  })

  test('a view opened before the first fetch fills itself', async () => {
    const { store } = openAble(ableSeeded())
    const view = store.view({ table: 'leads', figures: { all: 'count' } })
    expect([view.rows(), view.total, view.figures()]).toEqual([[], 0, { all: 0 }])
    await vi.waitFor(() => expect(view.figures()).toEqual({ all: 4 }), { interval: 2 })
    await pause(1)
  })
})

describe('what no view can be', () => {
  const bad: [string, unknown, string][] = [
    ['no object', 'leads', 'invalid-view'],
    ['null', null, 'invalid-view'],
    ['a list', [], 'invalid-view'],
    ['no table', {}, 'invalid-view'],
    ['an unknown table', { table: 'nope' }, 'unknown-table'],
    ['a member of no meaning', { table: 'leads', where: {} }, 'invalid-view'],
    ['a filter that is none', { table: 'leads', filter: 5 }, 'invalid-value'],
    ['an empty filter', { table: 'leads', filter: {} }, 'invalid-view'],
    ['a filter of two kinds', { table: 'leads', filter: { eq: { field: 'city', value: 'x' }, neq: { field: 'city', value: 'x' } } }, 'invalid-view'],
    ['an unknown kind of filter', { table: 'leads', filter: { like: { field: 'city', value: 'x' } } }, 'invalid-view'],
    ['a filter with a date', { table: 'leads', filter: { eq: { field: 'city', value: new Date() } } }, 'invalid-value'],
    ['a filter that nests too deep', { table: 'leads', filter: Array.from({ length: 20 }).reduce((inner) => ({ not: inner }), { isNull: { field: 'city' } }) }, 'invalid-view'],
    ['an unknown field', { table: 'leads', filter: { isNull: { field: 'town' } } }, 'unknown-field'],
    ['a field that is not indexed', { table: 'leads', sort: ['owner_id'] }, 'not-indexed'],
    ['a sort that is no list', { table: 'leads', sort: 'name' }, 'invalid-view'],
    ['a sort by nothing', { table: 'leads', sort: [{}] }, 'invalid-view'],
    ['a sort with a third direction', { table: 'leads', sort: [{ field: 'name', descending: 'yes' }] }, 'invalid-view'],
    ['nine fields to sort by', { table: 'leads', sort: Array.from({ length: 9 }, () => 'name') }, 'invalid-view'],
    ['a negative limit', { table: 'leads', limit: -1 }, 'invalid-view'],
    ['a limit that is no whole number', { table: 'leads', limit: 1.5 }, 'invalid-view'],
    ['an offset beyond all', { table: 'leads', offset: 2 ** 32 }, 'invalid-view'],
    ['a figure of no kind', { table: 'leads', figures: { x: 'total' } }, 'invalid-view'],
    ['a figure of two kinds', { table: 'leads', figures: { x: { sum: 'value', count: 'value' } } }, 'invalid-view'],
    ['a figure of an unknown field', { table: 'leads', figures: { x: { sum: 'weight' } } }, 'unknown-field'],
    ['a figure without a field', { table: 'leads', figures: { x: { sum: null } } }, 'invalid-view'],
    ['seventeen figures', { table: 'leads', figures: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`f${index}`, 'count'])) }, 'invalid-view'],
    ['groups by no list', { table: 'leads', groupBy: 'city' }, 'invalid-view'],
    ['groups by five fields', { table: 'leads', groupBy: ['name', 'city', 'value', 'tags', 'status'] }, 'invalid-view'],
  ]

  test.each(bad)('%s is refused, and nothing is left of it', async (_, spec, code) => {
    const { store } = await openAbleLive()
    const error = refusal(() => store.view(spec as { table: 'leads' }))
    expect([error.code, error.message.length > 10]).toEqual([code, true])
    expect(store.stats().views).toBe(0)
  })

  test('groups beyond the ten thousandth are counted together, and the view that has them is named', async () => {
    const backend = ableSeeded()
    for (let n = 0; n < 10_002; n++) backend.put('leads', lead(`n${n}`, { city: `city ${n}`, value: 1 }), { silently: true })
    const problems: Problem[] = []
    const { store } = await openAbleLive(backend, { onProblem: (problem) => problems.push(problem) })
    const view = store.view({ table: 'leads', limit: 0, figures: { value: { sum: 'value' } }, groupBy: ['city'] })
    expect(view.groups()).toHaveLength(10_001)
    const rest = view.groups().find(({ group }) => group === null)?.figures.value
    const kept = view.groups().reduce((sum, { group, figures }) => sum + (group ? (figures.value ?? 0) : 0), 0)
    expect(kept + rest!).toBe(view.figures().value)
    expect(problems).toMatchObject([{ code: 'view-groups-full', place: expect.stringContaining('"groupBy":["city"]') }])
  })

  test('at most a thousand views are open, and the ones that are open go on', async () => {
    const { store } = await openAbleLive()
    const views = Array.from({ length: 1_000 }, (_, limit) => store.view({ table: 'leads', limit }))
    expect(refusal(() => store.view({ table: 'leads', limit: 5_000 })).code).toBe('too-many-views')
    expect(store.view({ table: 'leads', limit: 5 }).total).toBe(4)
    views[999]!.close()
    expect(store.view({ table: 'leads', limit: 5_000 }).total).toBe(4)
  })
})
