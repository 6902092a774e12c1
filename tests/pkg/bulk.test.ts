import { BackendError, type BulkProgress } from 'rota-engine'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { ableSeeded, lead, openAbleLive, type AbleBackend } from './able.js'
import { refusal, until } from './world.js'

let store: Awaited<ReturnType<typeof openAbleLive>>['store']
let backend: AbleBackend

beforeEach(async () => {
  ;({ store, backend } = await openAbleLive(ableSeeded()))
})

const owners = () => ['a', 'b', 'c', 'd'].map((key) => store.get('leads', key)?.owner_id)

describe('many assignments, each for itself', () => {
  test('show at once, are told once, and have one result a record, with the progress on the way', async () => {
    let heard = 0
    store.subscribe('leads', () => heard++)
    const seen: BulkProgress[] = []
    backend.judge = ({ key }) => (key === 'c' ? { outcome: 'refused', code: 'forbidden', message: 'not yours' } : undefined)
    const bulk = store.assignments.assignAll('leads', ['a', 'b', 'c', 'd'], 'maya', { onProgress: (progress) => seen.push(progress) })
    expect([owners(), heard, bulk.operations.length, bulk.progress()]).toEqual([['maya', 'maya', 'maya', 'maya'], 1, 4, { total: 4, done: 0, failed: 0 }])
    const results = await bulk.settled
    expect(results.map((result) => ('settlement' in result ? [result.key, result.settlement.outcome] : []))).toEqual([['a', 'confirmed'], ['b', 'confirmed'], ['c', 'refused'], ['d', 'confirmed']])
    expect([bulk.progress(), seen.length, seen.at(-1)]).toEqual([{ total: 4, done: 3, failed: 1 }, 4, bulk.progress()])
    expect(owners()).toEqual(['maya', 'maya', null, 'maya'])
  })

  test('a listener to the progress that throws harms nobody, and what is none is refused before anything is assigned', async () => {
    const silent = vi.spyOn(console, 'error').mockImplementation(() => {})
    const bulk = store.assignments.assignAll('leads', ['a', 'nope', 'b'], 'maya', { onProgress: () => { throw new Error('whatever') } })
    expect((await bulk.settled).map((result) => ('error' in result ? result.error.code : result.settlement.outcome))).toEqual(['confirmed', 'unknown-record', 'confirmed'])
    silent.mockRestore()
    expect(refusal(() => store.assignments.assignAll('leads', ['c'], 'maya', { onProgress: 1 as never })).code).toBe('invalid-operation')
    expect(store.get('leads', 'c')?.owner_id).not.toBe('maya')
  })

  test('go on where one in the middle makes no sense, which is that one\'s result', async () => {
    const bulk = store.assignments.assignAll('leads', ['a', 'nope', 'b'], 'maya')
    const results = await bulk.settled
    expect(results.map((result) => ('error' in result ? result.error.code : result.settlement.outcome))).toEqual(['confirmed', 'unknown-record', 'confirmed'])
    expect([bulk.progress(), bulk.operations.length]).toEqual([{ total: 3, done: 2, failed: 1 }, 2])
    expect(await store.assignments.assignAll('leads', [], null).settled).toEqual([])
  })
})

test('what was given up counts as on its way, until a person drops it or it is done after all', async () => {
  backend.pushFailures.push(...Array.from({ length: 2 }, () => new BackendError('invalid', 'too large')))
  const seen: BulkProgress[] = []
  const bulk = store.assignments.assignAll('leads', ['a', 'b', 'c'], 'maya', { onProgress: (progress) => seen.push(progress) })
  const before = store.stats().listeners
  await bulk.settled
  expect([bulk.progress(), seen.length]).toEqual([{ total: 3, done: 1, failed: 0 }, 3])
  const [first, second] = store.operations().pending.map(({ id }) => id)
  store.retry(first!)
  await until(() => expect(bulk.progress()).toEqual({ total: 3, done: 2, failed: 0 }))
  store.cancel(second!)
  expect(bulk.progress()).toEqual({ total: 3, done: 2, failed: 1 })
  expect([seen.at(-1), store.stats().listeners]).toEqual([bulk.progress(), before])
})

describe('many assignments, all or nothing', () => {
  test('are one operation', async () => {
    const bulk = store.assignments.assignAll('leads', ['a', 'b', 'c'], 'maya', { atomic: true })
    expect([owners(), bulk.operations.length]).toEqual([['maya', 'maya', 'maya', null], 1])
    expect((await bulk.settled).map(({ key }) => key)).toEqual(['a', 'b', 'c'])
    expect([bulk.progress(), backend.pushes.length]).toEqual([{ total: 3, done: 3, failed: 0 }, 1])
    await store.assignments.assignAll('leads', ['d'], 'jonas', { atomic: true }).settled
    expect([owners()[3], backend.pushes.at(-1)?.name]).toEqual(['jonas', 'assign'])
  })

  test('are under way, and fail, on each of their records', async () => {
    const states = () => ['a', 'b', 'c', 'd'].map((key) => store.assignments.state('leads', key))
    const heard: string[] = []
    for (const key of ['a', 'b', 'c']) store.assignments.subscribe('leads', key, () => heard.push(key))
    backend.hold()
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'not yours' })
    const { settled } = store.assignments.assignAll('leads', ['a', 'b', 'c'], 'maya', { atomic: true })
    expect(states().map(({ isUpdating }) => isUpdating)).toEqual([true, true, true, false])
    expect(store.operations().pending[0]?.parts).toEqual(['a', 'b', 'c'].map((key) => ({ name: 'assign', table: 'leads', key })))
    heard.length = 0
    backend.release()
    await settled
    expect(states().map(({ isUpdating, error }) => [isUpdating, error?.code])).toEqual([[false, 'forbidden'], [false, 'forbidden'], [false, 'forbidden'], [false, undefined]])
    expect([...new Set(heard)].sort()).toEqual(['a', 'b', 'c'])
    backend.judge = undefined
    await store.assignments.assign('leads', 'b', 'maya').settled
    expect(states().map(({ error }) => error?.code)).toEqual(['forbidden', undefined, 'forbidden', undefined])
  })

  test('change nothing where one makes no sense, or is refused', async () => {
    expect(refusal(() => store.assignments.assignAll('leads', ['a', 'nope', 'b'], 'maya', { atomic: true })).code).toBe('unknown-record')
    expect([owners(), store.status().unsent]).toEqual([[null, null, null, null], 0])
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'not yours' })
    const { settled, progress } = store.assignments.assignAll('leads', ['a', 'b'], 'maya', { atomic: true })
    expect((await settled).map((result) => 'settlement' in result && result.settlement.code)).toEqual(['forbidden', 'forbidden'])
    expect([owners(), progress()]).toEqual([[null, null, null, null], { total: 2, done: 0, failed: 2 }])
    expect(refusal(() => store.assignments.assignAll('leads', Array.from({ length: 101 }, (_, n) => `lead-${n}`), 'maya', { atomic: true })).code).toBe('transaction-length')
    expect(refusal(() => store.assignments.assignAll('leads', 'a' as never, 'maya')).code).toBe('invalid-operation')
  })
})

describe('why an assignment did not come true', () => {
  const no = { outcome: 'refused', code: 'forbidden', message: 'not yours' } as const
  const error = (key: string) => store.assignments.state('leads', key).error?.code

  test('stays until the next try of assigning, whatever else is done to the record', async () => {
    backend.judge = ({ name }) => (name === 'assign' ? no : undefined)
    await store.assignments.assign('leads', 'a', 'maya').settled
    expect(error('a')).toBe('forbidden')
    await store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { name: 'Other' } }).settled
    expect(error('a')).toBe('forbidden')
    backend.judge = undefined
    backend.hold()
    const { settled } = store.assignments.assign('leads', 'a', 'maya')
    expect(error('a')).toBeUndefined()
    backend.release()
    await settled
    expect(error('a')).toBeUndefined()
  })

  test('is told of each of many', async () => {
    const keys = Array.from({ length: 150 }, (_, n) => `many ${n}`)
    for (const id of keys) backend.put('leads', lead(id))
    backend.judge = () => no
    await store.assignments.assignAll('leads', keys, 'maya').settled
    expect(keys.map(error)).toEqual(keys.map(() => 'forbidden'))
  })
})

test('a list with a hole, and options that are none, are refused by name', async () => {
  // oxlint-disable-next-line no-sparse-arrays
  const bulk = store.assignments.assignAll('leads', ['a', , 'b'] as never, 'maya')
  expect(bulk.operations).toHaveLength(2)
  expect((await bulk.settled).map((result) => ('error' in result ? result.error.code : result.settlement.outcome))).toEqual(['confirmed', 'missing-key', 'confirmed'])
  expect(refusal(() => store.assignments.assignAll('leads', ['a'], 'maya', null as never)).code).toBe('invalid-operation')
})
