// What the assignment state document wants tested, item by item, on the real backend. Tabs of one browser are tried in real
// browsers (tests/browsers); here every session has a link of its own.
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { UPDATING } from 'rota-engine'
import { openBackend, until, type Backend, type Person, type Session } from './backend.js'

let backend: Backend
let [maya, jonas] = [] as unknown as [Person, Person]
let [M, M2, J] = [] as unknown as [Session, Session, Session]
beforeAll(async () => {
  backend = await openBackend(inject('serverUrl'))
  maya = await backend.person('Maya')
  jonas = await backend.person('Jonas')
})
afterAll(() => backend.close())
beforeEach(async () => {
  await backend.start()
  await backend.sql('delete from companies; delete from assignment_history; delete from rota.ledger')
  await backend.sql(`insert into companies select 'c-' || n, 'Company ' || n from generate_series(1, 20) n`)
  M = await backend.session(maya)
  M2 = await backend.session(maya)
  J = await backend.session(jonas)
})
afterEach(async () => {
  Object.assign(backend.gateway().faults, { dropNextRest: 0, dropNextRestAnswer: 0 })
  await backend.closeSessions()
})

const owner = ({ store }: Session, key = 'c-1') => store.get('companies', key)?.owner_id
const inDatabase = async (key = 'c-1') => (await backend.sql('select owner_id from companies where id = $1', [key]))[0]!['owner_id']

test('Real-time synchronization across multiple browser tabs', async () => {
  await M.store.assignments.assign('companies', 'c-1', jonas.id).settled
  await until(() => owner(M2) === jonas.id && owner(J) === jonas.id, 'every session sees the owner')
  expect(M2.store.assignments.state('companies', 'c-1')).toMatchObject({ ownerId: jonas.id, ownerName: 'Jonas', isUpdating: false })
  await J.store.assignments.assign('companies', 'c-1', null).settled
  await until(() => owner(M) === null && owner(M2) === null, 'every session sees that nobody has it')
})

test('Optimistic updates with network failures', async () => {
  backend.gateway().faults.dropNextRestAnswer = 1
  const lostAnswer = M.store.assignments.assign('companies', 'c-1', maya.id)
  expect(owner(M)).toBe(maya.id)
  expect(await lostAnswer.settled).toMatchObject({ outcome: 'confirmed' })
  backend.gateway().faults.dropNextRest = 1
  expect(await M.store.assignments.assign('companies', 'c-2', maya.id).settled).toMatchObject({ outcome: 'confirmed' })
  await backend.stop()
  const offline = M.store.assignments.assign('companies', 'c-3', jonas.id)
  expect(M.store.assignments.state('companies', 'c-3')).toMatchObject({ ownerId: jonas.id, isUpdating: true })
  await until(() => M.store.status().link.state !== 'live', 'the link is seen to be down')
  expect(owner(M, 'c-3')).toBe(jonas.id)
  await backend.start()
  M.store.reconnect()
  expect(await offline.settled).toMatchObject({ outcome: 'confirmed' })
  await until(() => owner(J, 'c-3') === jonas.id, 'the others see it too', 25_000)
  expect([await inDatabase('c-1'), await inDatabase('c-2'), await inDatabase('c-3')]).toEqual([maya.id, maya.id, jonas.id])
  // Each took effect once.
  expect(await backend.sql(`select count(*)::int as n from assignment_history where table_name = 'companies' and record_key in ('c-1', 'c-2', 'c-3')`)).toEqual([{ n: 3 }])
}, 60_000)

test('Cache invalidation after assignment changes', async () => {
  J.store.invalidate()
  const stale: unknown[] = []
  J.store.onStale(({ keys }) => stale.push(...keys))
  await M.store.assignments.assign('companies', 'c-1', jonas.id).settled
  await until(() => owner(J) === jonas.id, 'the assignment is seen')
  expect(stale).toContainEqual(['assignment', 'companies', 'c-1'])
  expect(stale).toContainEqual(['user-assignment-stats'])
  expect(stale).not.toContainEqual(['assignment', 'companies', 'c-2'])
})

test('Error handling and rollback scenarios', async () => {
  // A record that is gone.
  await backend.sql(`delete from companies where id = 'c-9'`)
  const gone = M.store.get('companies', 'c-9') ? M.store.assignments.assign('companies', 'c-9', maya.id) : undefined
  if (gone) expect(['refused', 'conflicted']).toContain((await gone.settled).outcome)
  await until(() => M.store.get('companies', 'c-9') === undefined, 'what is gone is not shown')
  // A lost race: the loser hears who has it, and sees it at once.
  const [mine, theirs] = [M.store.assignments.assign('companies', 'c-1', maya.id), J.store.assignments.assign('companies', 'c-1', jonas.id)]
  const ends = await Promise.all([mine.settled, theirs.settled])
  expect(ends.map(({ outcome }) => outcome).sort()).toEqual(['confirmed', 'conflicted'])
  const [loser, winner] = ends[0].outcome === 'confirmed' ? [J, maya] : [M, jonas]
  expect(ends.find(({ outcome }) => outcome === 'conflicted')).toMatchObject({ code: 'taken' })
  expect(owner(loser)).toBe(winner.id)
  expect(loser.store.assignments.state('companies', 'c-1')).toMatchObject({ ownerId: winner.id, error: { code: 'taken' } })
  // A new try clears the error.
  const again = loser.store.assignments.assign('companies', 'c-1', null)
  expect(loser.store.assignments.state('companies', 'c-1')).toMatchObject({ ownerId: null, error: null, isUpdating: true })
  expect(await again.settled).toMatchObject({ outcome: 'confirmed' })
})

test('the name of a new owner who is not known yet reads as updating, and then as who it is', async () => {
  const { settled } = M.store.assignments.assign('companies', 'c-1', 'nobody-knows')
  expect(M.store.assignments.state('companies', 'c-1')).toMatchObject({ ownerId: 'nobody-knows', ownerName: UPDATING })
  await settled
  expect(M.store.assignments.state('companies', 'c-1')).toMatchObject({ ownerId: 'nobody-knows', ownerName: 'nobody-knows', isUpdating: false })
})

test('the old and the new owner are told in the application, once in all their sessions, and nobody of what they did', async () => {
  const told = new Map<string, string[]>()
  for (const [name, { store }] of Object.entries({ M, M2, J })) {
    told.set(name, [])
    store.notifications.followAssignments({ history: 'assignment_history', message: ({ type, table, key, by }) => `${type} ${table} ${key} by ${by}` })
    store.notifications.subscribe(() => told.set(name, store.notifications.shown('bell').map(({ message }) => message)))
  }
  await J.store.assignments.assign('companies', 'c-1', maya.id).settled
  await J.store.assignments.assign('companies', 'c-2', jonas.id).settled
  await until(() => owner(M, 'c-2') === jonas.id, 'it is seen')
  await M.store.assignments.assign('companies', 'c-2', null).settled
  const [given, taken] = [`assigned companies c-1 by ${jonas.id}`, `unassigned companies c-2 by ${maya.id}`]
  await until(() => [...told.values()].every((messages) => messages.length === 1), 'each is told')
  expect([...told.values()]).toEqual([[given], [given], [taken]])
})

test('Performance under high assignment activity', async () => {
  const settled = []
  for (let n = 0; n < 200; n += 1) {
    const { store } = n % 2 === 0 ? M : J
    settled.push(store.assignments.assign('companies', `c-${1 + (n % 20)}`, n % 3 === 0 ? null : n % 2 === 0 ? maya.id : jonas.id).settled)
  }
  const ends = await Promise.all(settled)
  expect(ends.every(({ outcome }) => outcome === 'confirmed' || outcome === 'conflicted' || outcome === 'cancelled')).toBe(true)
  const rows = await backend.sql('select id, owner_id from companies')
  await until(() => rows.every((row) => [M, M2, J].every((session) => owner(session, row['id'] as string) === row['owner_id'])), 'all sessions agree with the database')
  for (const session of [M, M2, J]) expect([session.store.status().unsent, session.problems]).toEqual([0, []])
}, 60_000)
