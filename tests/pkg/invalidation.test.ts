import { createStore, table, type Changes, type Stale } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import { openDomainsLive, type DomainBackend } from './domains.js'
import { pause, refusal } from './world.js'

let store: Awaited<ReturnType<typeof openDomainsLive>>['store']
let backend: DomainBackend
let heard: Stale[]

beforeEach(async () => {
  ;({ store, backend } = await openDomainsLive())
  heard = []
  store.onStale((stale) => heard.push(stale))
})

const lead = (set: object) => backend.put('leads', { ...backend.row('leads', 'l1'), ...set })
const profile = (set: object) => backend.put('profiles', { ...backend.row('profiles', 'maya'), ...set })

describe('the rules of invalidation', () => {
  test('name what the server has changed, and nothing else', () => {
    store.invalidate([
      { tables: ['leads'], changed: ['owner_id'], keys: [['assignment', '$table', '$key'], ['stats']] },
      { tables: ['profiles'], keys: [['profile']] },
    ])
    lead({ name: 'Other' })
    expect(heard).toEqual([])
    lead({ owner_id: 'maya' })
    expect(heard).toEqual([{ everything: false, keys: [['assignment', 'leads', 'l1'], ['stats']] }])
  })

  test('speak once for each batch, and name each key once', () => {
    store.invalidate([{ tables: ['leads'], keys: [['leads'], ['lead', '$key']] }])
    store.batch(() => {
      lead({ name: 'One' })
      lead({ name: 'Two' })
      backend.put('leads', { id: 'l2', name: 'New', owner_id: null, department: null })
    })
    expect(heard).toEqual([{ everything: false, keys: [['leads'], ['lead', 'l1'], ['lead', 'l2']] }])
  })

  test('do not speak of what a tab only predicts', async () => {
    store.invalidate([{ tables: ['leads'], keys: [['leads']] }])
    backend.hold()
    const { settled } = store.assignments.assign('leads', 'l1', 'maya')
    expect([store.get('leads', 'l1')?.owner_id, heard]).toEqual(['maya', []])
    backend.release()
    await settled
    await pause(5)
    expect(heard).toEqual([{ everything: false, keys: [['leads']] }])
  })

  test('are told with the changes, too', () => {
    store.invalidate([{ tables: ['leads'], keys: [['leads']] }])
    const all: Changes[] = []
    store.subscribe((changes) => all.push(changes))
    lead({ name: 'Other' })
    profile({ name: 'May' })
    expect(all.map(({ stale }) => stale)).toEqual([{ everything: false, keys: [['leads']] }, undefined])
  })

  test('everything, with whatever else in the same batch, is everything', () => {
    store.invalidate()
    store.batch(() => {
      lead({ owner_id: 'maya' })
      profile({ role: 'admin' })
    })
    expect(heard).toEqual([{ everything: true, keys: [] }])
  })

  test('the defaults are those that applications have written by hand', () => {
    store.invalidate()
    lead({ owner_id: 'jonas' })
    expect(heard.at(-1)?.keys).toEqual([
      ['assignment', 'leads', 'l1'],
      ...['user-assignment-stats', 'leads-with-assignments', 'companies-with-assignments', 'unassigned-leads', 'unassigned-companies', 'leads', 'companies', 'jobs'].map((key) => [key]),
    ])
    profile({ name: 'May' })
    expect(heard.at(-1)).toEqual({ everything: false, keys: [['profile']] })
    profile({ role: 'admin' })
    expect(heard.at(-1)).toEqual({ everything: true, keys: [] })
    // Of tables that there are not, nothing can become stale.
    expect(store.defaultInvalidations().flatMap(({ tables = [] }) => tables)).toEqual(['leads', 'profiles', 'profiles'])
    const forms = table<{ id: string; name: string }>({ key: 'id', fields: ['id', 'name'] })
    const other = createStore({ app: 'defaults', user: 'maya', tables: { form_submissions: forms, profiles: forms }, backend, storage: 'memory' })
    expect(other.defaultInvalidations()).toEqual([
      { tables: ['profiles'], keys: [['profile']] },
      { tables: ['form_submissions'], keys: [['formSubmissions']] },
    ])
    other.invalidate()
    other.close()
  })

  test('that name what is not declared are refused, naming it', () => {
    const why = (rule: object) => refusal(() => store.invalidate([rule as never]))
    for (const [rule, name] of [
      [{ tables: ['leeds'], keys: [['x']] }, '"leeds"'],
      [{ tables: ['leads'], changed: ['ownr_id'], keys: [['x']] }, '"ownr_id"'],
      [{ tables: ['leads', 'profiles'], unchanged: ['turn_id'], keys: [['x']] }, '"turn_id"'],
      [{ changed: ['nowhere'], keys: [['x']] }, '"nowhere"'],
    ] as const) {
      expect(why(rule)).toMatchObject({ code: 'invalid-configuration', message: expect.stringContaining(name) })
    }
    store.invalidate([{ tables: ['leads', 'profiles'], changed: ['role', 'owner_id'], keys: [['x']] }, { changed: ['turn_id'], keys: [['y']] }])
  })

  test('take the place of those before, and those that can not work are refused', () => {
    store.invalidate([{ tables: ['leads'], keys: [['old']] }])
    store.invalidate([{ tables: ['leads'], keys: [['new']] }])
    for (const wrong of [[{}], [{ keys: [] }], [{ everything: true, keys: [['x']] }], 'jobs', [{ keys: [[() => 1]] }]]) {
      expect(['invalid-configuration', 'invalid-value']).toContain(refusal(() => store.invalidate(wrong as never)).code)
    }
    lead({ name: 'Other' })
    expect(heard).toEqual([{ everything: false, keys: [['new']] }])
  })
})

test('a listener that has stopped hears nothing, and a closed store takes none', () => {
  store.invalidate([{ keys: [['any']] }])
  const more: Stale[] = []
  const before = store.stats().listeners
  const stop = store.onStale((stale) => more.push(stale))
  expect(store.stats().listeners).toBe(before + 1)
  stop()
  lead({ name: 'Other' })
  expect([more.length, heard.length, store.stats().listeners]).toEqual([0, 1, before])
  store.close()
  expect(refusal(() => store.onStale(() => {})).code).toBe('closed')
})
