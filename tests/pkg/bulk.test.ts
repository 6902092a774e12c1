import type { BulkProgress } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import { ableSeeded, openAbleLive, type AbleBackend } from './able.js'
import { refusal } from './world.js'

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

  test('go on where one in the middle makes no sense, which is that one\'s result', async () => {
    const bulk = store.assignments.assignAll('leads', ['a', 'nope', 'b'], 'maya')
    const results = await bulk.settled
    expect(results.map((result) => ('error' in result ? result.error.code : result.settlement.outcome))).toEqual(['confirmed', 'unknown-record', 'confirmed'])
    expect([bulk.progress(), bulk.operations.length]).toEqual([{ total: 3, done: 2, failed: 1 }, 2])
    expect(await store.assignments.assignAll('leads', [], null).settled).toEqual([])
  })
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
    expect(refusal(() => store.assignments.assignAll('leads', Array.from({ length: 101 }, () => 'a'), 'maya', { atomic: true })).code).toBe('transaction-length')
    expect(refusal(() => store.assignments.assignAll('leads', 'a' as never, 'maya')).code).toBe('invalid-operation')
  })
})
