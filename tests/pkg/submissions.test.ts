import { createStore, init, lostByMs, table, type SubmissionEvent } from 'rota-engine'
import { expect, test } from 'vitest'
import { FakeBackend } from './backend.js'
import { isLive, pause, refusal, until } from './world.js'

type Form = { id: string; stage: string; note: string | null }
const tables = { forms: table<Form>({ key: 'id', fields: ['id', 'stage', 'note'], domain: { kind: 'form', status: 'stage' } }) }

test('submissions arrive, stand differently and are withdrawn, each told once, and nothing else', async () => {
  await init()
  const backend = new FakeBackend()
  backend.put('forms', { id: 'old', stage: 'new', note: null })
  const store = createStore({ app: 'forms', user: 'maya', tables, backend, storage: 'memory' })
  const heard: string[] = []
  const idle = store.stats().listeners
  const stop = store.submissions.watch(({ type, key, submission }: SubmissionEvent<Form>) => heard.push(`${type} ${key} ${submission.stage}`))
  await isLive(store)
  backend.put('forms', { id: 'f1', stage: 'new', note: null })
  backend.put('forms', { id: 'f1', stage: 'new', note: 'x' })
  backend.put('forms', { id: 'f1', stage: 'seen', note: 'x' })
  backend.remove('forms', 'f1')
  await until(() => expect(heard).toEqual(['arrived f1 new', 'became f1 seen', 'withdrawn f1 seen']))
  stop()
  backend.put('forms', { id: 'f2', stage: 'new', note: null })
  await pause(5)
  expect([heard.length, store.stats().listeners]).toEqual([3, idle])
  store.close()
  expect(refusal(() => store.submissions.watch(() => {})).code).toBe('closed')
})

test('who edits or types in a submission is told, each person once', async () => {
  const backend = new FakeBackend()
  const store = createStore({ app: 'forms', user: 'maya', tables, backend, storage: 'memory' })
  await isLive(store)
  expect(store.presence.editors('forms', 'f1')).toEqual([])
  const peer = (user: string, doing: 'idle' | 'typing' | 'editing', key: string) => ({ user, tab: `${user}-${doing}`, presence: { place: 'forms', doing, record: { table: 'forms', key } } })
  backend.listener!.present!([peer('lena', 'typing', 'f1'), peer('lena', 'editing', 'f1'), peer('jonas', 'editing', 'f1'), peer('tom', 'idle', 'f1'), peer('ann', 'editing', 'f2')])
  await until(() => expect(store.presence.editors('forms', 'f1')).toEqual(['jonas', 'lena']))
  store.close()
})

test('by how long a race was lost', () => {
  expect(lostByMs({ user: 'jonas', at: '2026-11-01T08:59:58Z' }, Date.parse('2026-11-01T09:00:00Z'))).toBe(2_000)
  expect(lostByMs({ user: 'jonas', at: 'just now' })).toBeUndefined()
})
