// The six success criteria of the real-time document, and what it says of signing in, on the real backend.
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { BackendError, createStore } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { openBackend, until, type Backend, type Person, type Session } from './backend.js'
import { tables } from './tables.js'

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
  await backend.sql('delete from patients; delete from form_submissions')
  await backend.sql(`insert into patients (id, name, status) select 'p-' || n, 'Patient ' || n, 'new' from generate_series(1, 10) n`)
  M = await backend.session(maya)
  M2 = await backend.session(maya)
  J = await backend.session(jonas)
})
afterEach(() => backend.closeSessions())

test('User role changes reflect immediately without manual refresh', async () => {
  await backend.sql(`insert into patients (id, name, only_for) values ('p-private', 'Private', 'manager')`)
  const everything: string[] = []
  for (const [name, { store }] of Object.entries({ M, M2, J })) {
    store.invalidate()
    store.onStale((stale) => stale.everything && everything.push(name))
  }
  const role = async (wanted: string) => {
    await backend.sql('update profiles set role = $2 where id = $1', [maya.id, wanted])
    await until(() => [M, M2, J].every(({ store }) => store.get('profiles', maya.id)?.role === wanted), 'the new role is seen')
  }
  const sees = ({ store }: Session) => store.get('patients', 'p-private') !== undefined
  expect([M, M2, J].map(sees)).toEqual([false, false, false])
  await role('manager')
  await until(() => sees(M) && sees(M2), 'both sessions of that person see what they may see now')
  expect(everything).toEqual(expect.arrayContaining(['M', 'M2']))
  expect(sees(J)).toBe(false)
  await role('member')
  await until(() => !sees(M) && !sees(M2), 'and no longer what they may not')
  // A change of the name alone makes nobody look at everything.
  everything.length = 0
  await backend.sql(`update profiles set name = 'Maya O.' where id = $1`, [maya.id])
  await until(() => [M, M2, J].every(({ store }) => store.get('profiles', maya.id)?.name === 'Maya O.'), 'the new name is seen')
  expect(everything).toEqual([])
})

test('Patient data updates sync across all open sessions', async () => {
  const { settled } = M.store.mutate({ name: 'patch', table: 'patients', key: 'p-1', set: { status: 'admitted' } })
  expect(M.store.get('patients', 'p-1')?.status).toBe('admitted')
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  await until(() => [M2, J].every(({ store }) => store.get('patients', 'p-1')?.status === 'admitted'), 'every session sees the status')
  await backend.sql(`insert into patients (id, name) values ('p-11', 'Late'); delete from patients where id = 'p-2'`)
  await until(() => [M, M2, J].every(({ store }) => store.get('patients', 'p-11') !== undefined && store.get('patients', 'p-2') === undefined), 'inserts and deletes are seen too')
})

test('what the database works out by itself is right in every session, though its stream leaves it out', async () => {
  await backend.sql(`insert into order_lines (id, price, n) values ('l-1', 2, 3) on conflict (id) do update set price = 2, n = 3`)
  const totals = () => [M, M2, J].map(({ store }) => store.get('order_lines', 'l-1')?.total)
  await until(() => totals().every((total) => total === 6), 'the line is seen')
  expect(await M.store.mutate({ name: 'patch', table: 'order_lines', key: 'l-1', set: { price: 10 } }).settled).toMatchObject({ outcome: 'confirmed' })
  await until(() => totals().every((total) => total === 30), 'the new total is seen')
  await backend.sql(`update order_lines set n = 4 where id = 'l-1'`)
  await until(() => totals().every((total) => total === 40), 'that of plain SQL, too')
})

test('Form submissions show live status updates', async () => {
  M.store.mutate({ name: 'insert', table: 'form_submissions', record: { id: 'f-1', form: 'intake', status: 'draft', answer: null } })
  await until(() => J.store.get('form_submissions', 'f-1')?.status === 'draft', 'the draft is seen')
  M.store.presence.set({ place: 'form', doing: 'editing', record: { table: 'form_submissions', key: 'f-1' } })
  await until(() => J.store.presence.peers().some((peer) => peer.user === maya.id && peer.presence?.doing === 'editing' && peer.presence.record?.key === 'f-1'), 'it is seen who is editing it')
  await M.store.mutate({ name: 'patch', table: 'form_submissions', key: 'f-1', set: { status: 'submitted' } }).settled
  M.store.presence.set(null)
  await until(() => J.store.get('form_submissions', 'f-1')?.status === 'submitted', 'the submission is seen')
  await until(() => !J.store.presence.peers().some((peer) => peer.user === maya.id), 'nobody is editing any more')
})

test('Real-time connection status visible to users', async () => {
  const states: string[] = []
  M.store.subscribe(({ status }) => status && states.push(status.link.state))
  expect(M.store.status()).toMatchObject({ link: { state: 'live' }, unsent: 0 })
  await backend.stop()
  await until(() => M.store.status().link.state !== 'live', 'the loss is shown')
  M.store.mutate({ name: 'patch', table: 'patients', key: 'p-1', set: { status: 'waits' } })
  expect(M.store.status().unsent).toBe(1)
  await backend.start()
  M.store.reconnect() // by hand, rather than at the end of the wait
  await until(() => M.store.status().link.state === 'live' && M.store.status().unsent === 0, 'it is live again, and nothing is unsent')
  expect(new Set(states).size).toBeGreaterThan(1)
  expect(Date.now() - M.store.status().lastSyncMs!).toBeLessThan(60_000)
})

test('No performance degradation from subscriptions', async () => {
  const before = M.store.stats()
  const sockets = backend.gateway().stats()
  for (let n = 0; n < 10_000; n += 1) M.store.subscribe('patients', 'p-1', () => undefined)()
  expect(M.store.stats()).toEqual(before)
  expect(backend.gateway().stats().channels).toBe(sockets.channels)
  // Who reads another record, or another table, is left alone.
  const woken: string[] = []
  M.store.subscribe('patients', 'p-1', () => woken.push('p-1'))
  M.store.subscribe('patients', 'p-3', () => woken.push('p-3'))
  M.store.subscribe('companies', () => woken.push('companies'))
  await backend.sql(`update patients set status = 'seen' where id = 'p-1'`)
  await until(() => woken.length > 0, 'the change is told')
  await until(() => J.store.get('patients', 'p-1')?.status === 'seen', 'everybody has it')
  expect(new Set(woken)).toEqual(new Set(['p-1']))
})

test('Graceful fallback when real-time connection fails', async () => {
  // Calls get through, the stream does not: polling stands in, and the application works all along.
  const real = supabaseBackend(J.client)
  let isBroken = true
  const half = { ...real, connect: (...given: Parameters<typeof real.connect>) => (isBroken ? (setTimeout(() => given[1].closed(new BackendError('network', 'no stream')), 5), () => undefined) : real.connect(...given)) }
  J.store.close()
  const store = createStore({ app: 'seeds', user: jonas.id, tables, backend: half, link: { polling: { activeMs: 1_000, idleMs: 1_000, hiddenMs: 1_000 } } })
  try {
    await until(() => store.status().link.state === 'degraded' && store.status().ready, 'the stand-in is shown as such')
    await backend.sql(`update patients set status = 'polled' where id = 'p-1'`)
    await until(() => store.get('patients', 'p-1')?.status === 'polled', 'polling brings what is new')
    expect(await store.mutate({ name: 'patch', table: 'patients', key: 'p-2', set: { status: 'sent' } }).settled).toMatchObject({ outcome: 'confirmed' })
    isBroken = false
    store.reconnect()
    await until(() => store.status().link.state === 'live', 'the stream takes over again')
  } finally {
    store.close()
  }
})

test('What is done after a token has ended waits, and goes out when the person has signed in again', async () => {
  await backend.closeSessions()
  await backend.stop()
  await backend.start({ accessTokenSeconds: 2 })
  let pushes = 0
  const { store, client } = await backend.session(maya, {}, (real) => ({ ...real, push: (...given) => (pushes++, real.push(...given)) }))
  // Signed out from elsewhere: no fresh token can be had.
  // With tokens this short the client asks for one with nearly every call, and either may be the victim of a deadlock.
  const end = () => backend.sql('delete from auth.sessions where user_id = $1', [maya.id])
  await until(() => end().then(() => true, () => false), 'the session is ended')
  await until(async () => (await client.auth.refreshSession()).error !== null, 'the session is over')
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  const made = ['p-1', 'p-2', 'p-3'].map((key) => store.mutate({ name: 'patch', table: 'patients', key, set: { status: 'admitted' } }))
  await until(() => store.status().link.state === 'paused' && store.status().link.why.startsWith('auth'), 'it is said that the token is what is wrong')
  const tried = pushes
  store.mutate({ name: 'patch', table: 'patients', key: 'p-4', set: { status: 'admitted' } })
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  expect([pushes, store.status().unsent, store.get('patients', 'p-4')?.status]).toEqual([tried, 4, 'admitted'])
  expect((await backend.sql(`select count(*)::int as n from patients where status = 'admitted'`))[0]).toEqual({ n: 0 })
  await client.auth.signInWithPassword(maya)
  for (const { settled } of made) expect(await settled).toMatchObject({ outcome: 'confirmed' })
  await until(() => store.status().unsent === 0 && store.status().link.state === 'live', 'it is live again, and nothing is unsent')
  expect((await backend.sql(`select id from patients where status = 'admitted' order by id`)).map(({ id }) => id)).toEqual(['p-1', 'p-2', 'p-3', 'p-4'])
  await backend.closeSessions()
  await backend.stop()
}, 60_000)

test('A fresh token is asked for before every reconnect, and not before the first connect', async () => {
  let asked = 0
  const { store } = await backend.session(jonas, {}, (real) => ({ ...real, refreshToken: (...given) => (asked++, real.refreshToken!(...given)) }))
  expect(asked).toBe(0)
  for (const times of [1, 2]) {
    await backend.stop()
    await until(() => store.status().link.state !== 'live', 'the loss is noticed')
    await backend.start()
    store.reconnect()
    await until(() => store.status().link.state === 'live', 'it is live again')
    expect(asked).toBeGreaterThanOrEqual(times)
  }
})
