import { createStore, table, type AssignmentEvent, type AssignmentNews } from 'rota-engine'
import { describe, expect, test, vi } from 'vitest'
import { AbleBackend } from './able.js'
import { FakeBackend } from './backend.js'
import { openDomainsLive } from './domains.js'
import { isLive, pause, refusal, until } from './world.js'

const line = ({ table: of, key, from, to }: AssignmentEvent) => `${of} ${key}: ${from} → ${to}`

test('records that are handed on are told, by whomever, and nothing else', async () => {
  const { store, backend } = await openDomainsLive()
  backend.put('leads', { id: 'l-1', name: 'Ahlers', owner_id: null, department: null })
  await until(() => expect(store.get('leads', 'l-1')).toBeDefined())
  const idle = store.stats().listeners
  const heard: string[] = []
  const stop = store.assignments.watch((event) => heard.push(line(event)))
  const { settled } = store.assignments.assign('leads', 'l-1', 'maya')
  expect(heard).toEqual(['leads l-1: null → maya'])
  await settled
  backend.put('leads', { id: 'l-1', name: 'Ahlers & Co', owner_id: 'maya', department: null })
  backend.put('leads', { id: 'l-1', name: 'Ahlers & Co', owner_id: 'jonas', department: null })
  backend.put('leads', { id: 'l-2', name: 'Brandt', owner_id: 'lena', department: null })
  backend.put('leads', { id: 'l-3', name: 'Claus', owner_id: null, department: null })
  backend.remove('leads', 'l-2')
  await until(() => expect(heard.slice(1)).toEqual(['leads l-1: maya → jonas', 'leads l-2: null → lena', 'leads l-2: lena → null']))
  backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
  await store.assignments.assign('leads', 'l-1', null).settled
  expect(heard.slice(4)).toEqual(['leads l-1: jonas → null', 'leads l-1: null → jonas'])
  stop()
  backend.put('leads', { id: 'l-1', name: 'Ahlers', owner_id: null, department: null })
  await pause(5)
  expect([heard.length, store.stats().listeners]).toEqual([6, idle])
})

test('of the tables that are named alone, and only of such as can be assigned', async () => {
  const { store, backend } = await openDomainsLive()
  const heard = vi.fn()
  store.assignments.watch(heard, [])
  store.assignments.watch(heard, ['leads'])
  backend.put('leads', { id: 'l-1', name: 'Ahlers', owner_id: 'maya', department: null })
  await until(() => expect(heard).toHaveBeenCalledTimes(1))
  expect(refusal(() => store.assignments.watch(heard, ['profiles' as never]))).toMatchObject({ code: 'invalid-operation' })
  expect(refusal(() => store.assignments.watch(heard, ['nope' as never])).code).toBe('unknown-table')
  expect(refusal(() => store.assignments.watch(1 as never)).code).toBe('invalid-operation')
})

test('a record that gets its key from the server was handed over once', async () => {
  const backend = new AbleBackend()
  const tables = { orders: table<{ id: number; title: string; owner_id: string | null }>({ key: 'id', fields: ['id', 'title', 'owner_id'], owner: 'owner_id', temporaryKeys: true }) }
  const store = createStore({ app: 'handing', user: 'maya', tables, backend, storage: 'memory' })
  await isLive(store)
  const heard: string[] = []
  store.assignments.watch((event) => heard.push(line(event)))
  const made = store.mutate({ name: 'insert', table: 'orders', record: { title: 'first', owner_id: 'maya' } })
  expect(await made.settled).toMatchObject({ outcome: 'confirmed' })
  await until(() => expect(store.get('orders', 1)).toBeDefined())
  expect(heard).toEqual([`orders ${made.temporaryKeys[0]}: null → maya`])
  store.close()
})

describe('notifications of assignments', () => {
  type History = { id: number; table_name: string; record_key: string; from_owner: string | null; to_owner: string | null; changed_by: string | null; changed_at: string }
  const columns = ['id', 'table_name', 'record_key', 'from_owner', 'to_owner', 'changed_by', 'changed_at'] as const
  const tables = { history: table<History>({ key: 'id', fields: columns }), other: table<{ id: number }>({ key: 'id', fields: ['id'] }) }
  const entry = (id: number, from: string | null, to: string | null, by: string | null): History => ({
    id, table_name: 'leads', record_key: 'l-1', from_owner: from, to_owner: to, changed_by: by, changed_at: `2026-11-02T10:00:0${id}Z`,
  })
  const message = ({ type, key, from, to, by }: AssignmentNews) => `${type} ${key}: ${from} → ${to} by ${by}`
  const opened = async () => {
    const backend = new FakeBackend()
    backend.put('history', entry(1, null, 'maya', 'lee'))
    const store = createStore({ app: 'told', user: 'maya', tables, backend, storage: 'memory' })
    await isLive(store)
    return { store, backend }
  }

  test('the old and the new owner are told, once, of what others have done from then on', async () => {
    const { store, backend } = await opened()
    const times: number[] = []
    const stop = store.notifications.followAssignments({ history: 'history', message: (news) => (times.push(news.atMs), message(news)) })
    store.notifications.followAssignments({ history: 'history', message })
    for (const row of [entry(2, null, 'maya', 'lee'), entry(3, 'maya', 'jonas', 'jonas'), entry(4, 'jonas', 'maya', 'maya'), entry(5, 'jonas', 'lee', 'lee'), entry(6, 'lee', 'maya', null)]) backend.put('history', row)
    const shown = () => store.notifications.shown('board')
    await until(() => expect(shown()).toHaveLength(3))
    expect(shown().map((notice) => [notice.id, notice.kind, notice.message])).toEqual([
      ['assignment/2', 'status', 'assigned l-1: null → maya by lee'],
      ['assignment/3', 'status', 'unassigned l-1: maya → jonas by jonas'],
      ['assignment/6', 'status', 'assigned l-1: lee → maya by null'],
    ])
    expect(times.slice(0, 2)).toEqual([Date.parse('2026-11-02T10:00:02Z'), Date.parse('2026-11-02T10:00:03Z')])
    stop()
    store.close()
    expect(refusal(() => store.notifications.followAssignments({ history: 'history', message })).code).toBe('closed')
  })

  test('what is no history of assignments is refused by name', async () => {
    const { store } = await opened()
    expect(refusal(() => store.notifications.followAssignments({ history: 'nope', message })).code).toBe('unknown-table')
    expect(refusal(() => store.notifications.followAssignments({ history: 'other', message }))).toMatchObject({ code: 'invalid-operation', message: expect.stringContaining('table_name') })
    expect(refusal(() => store.notifications.followAssignments({ history: 'history' } as never)).code).toBe('invalid-operation')
    store.close()
  })
})
