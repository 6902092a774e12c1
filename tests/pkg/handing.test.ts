import { createStore, table, type AssignmentEvent } from 'rota-engine'
import { expect, test, vi } from 'vitest'
import { AbleBackend } from './able.js'
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
