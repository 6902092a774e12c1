// A client's session may become another's under an open store, in another tab too. On the real backend.
import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { createStore } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { WebSocket } from 'ws'
import { openBackend, until, type Backend, type Person } from './backend.js'
import { tables } from './tables.js'

let backend: Backend
let maya: Person
let lena: Person

beforeAll(async () => {
  backend = await openBackend(inject('serverUrl'))
  maya = await backend.person('Maya')
  lena = await backend.person('Lena')
  await backend.sql(`update profiles set role = 'admin' where id = $1`, [lena.id])
})

beforeEach(async () => {
  await backend.sql('delete from patients; delete from companies; delete from assignment_history; delete from rota.ledger')
  await backend.sql(`insert into companies select 'c-' || n, 'Company ' || n from generate_series(1, 3) n`)
  await backend.sql(`insert into patients (id, name, only_for) values ('p-1', 'Ada', null), ('p-secret', 'for admins', 'admin')`)
})

afterEach(() => backend.closeSessions())
afterAll(() => backend.close())

const moment = () => new Promise((resolve) => setTimeout(resolve, 700))
const changedBy = async () => (await backend.sql('select changed_by from assignment_history order by id')).map((row) => row['changed_by'])

test('When somebody else signs in on the client, nothing goes out in their name, and nothing of theirs comes in', async () => {
  const { store, client, problems } = await backend.session(maya)
  await client.auth.signInWithPassword(lena)
  await until(() => store.status().link.state === 'paused', 'the store pauses')
  expect(problems.map(({ code }) => code)).toContain('other-user')
  const { settled } = store.assignments.assign('companies', 'c-1', maya.id)
  store.reconnect()
  store.rightsChanged()
  await backend.sql(`insert into patients (id, name, only_for) values ('p-secret2', 'for admins', 'admin')`)
  await moment()
  expect([await changedBy(), store.status().unsent]).toEqual([[], 1])
  expect(store.all('patients').map(({ id }) => id)).toEqual(['p-1'])
  await client.auth.signInWithPassword(maya)
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  expect(await changedBy()).toEqual([maya.id])
  await until(() => store.status().link.state === 'live', 'it is live again')
  expect(store.all('patients').map(({ id }) => id)).toEqual(['p-1'])
})

test('A store that is opened while somebody else is signed in gets nothing, and sends nothing', async () => {
  const { client } = await backend.session(lena)
  const store = createStore({ app: 'seeds-other', user: maya.id, tables, backend: supabaseBackend(client), storage: 'memory', onProblem: () => undefined })
  try {
    store.mutate({ name: 'insert', table: 'companies', record: { id: 'c-9', name: 'Nine', owner_id: null } })
    await until(() => store.status().link.state === 'paused', 'the store pauses')
    await moment()
    expect([store.all('patients'), store.status().unsent, store.status().ready]).toEqual([[], 1, false])
    expect(await backend.sql(`select id from companies where id = 'c-9'`)).toEqual([])
  } finally {
    store.close()
  }
})

test('When the person signs out on the client, they are logged out of the store', async () => {
  const { store, client } = await backend.session(maya)
  let isTold = false
  store.onSignedOut(() => (isTold = true))
  await client.auth.signOut()
  await until(() => store.isClosed && isTold, 'the store is closed, and says so')
  expect(store.all('patients')).toEqual([])
})

test('With a change that is not sent they stay, and it goes out as theirs when they sign in again', async () => {
  let isAway = true
  const { store, client, problems } = await backend.session(maya, {}, (real) => ({ ...real, push: (...given) => (isAway ? Promise.reject(new TypeError('fetch failed')) : real.push(...given)) }))
  const { settled } = store.assignments.assign('companies', 'c-2', maya.id)
  await client.auth.signOut()
  await until(() => problems.some(({ code }) => code === 'unsent-operations'), 'it is said')
  expect([store.isClosed, store.status().unsent]).toEqual([false, 1])
  isAway = false
  await client.auth.signInWithPassword(lena)
  await moment()
  expect(await changedBy()).toEqual([])
  await client.auth.signInWithPassword(maya)
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  expect(await changedBy()).toEqual([maya.id])
})

test('A sign-in in another tab counts for all that share the session', async () => {
  const kept = new Map<string, string>()
  const storage = { getItem: (name: string) => kept.get(name) ?? null, setItem: (name: string, value: string) => void kept.set(name, value), removeItem: (name: string) => void kept.delete(name) }
  // Without a word from the client: the session is another in what the tabs share, as after a message between them was lost.
  const tab = (): SupabaseClient =>
    createClient(backend.gateway().url, backend.gateway().anonKey, {
      auth: { storage, storageKey: 'shared', autoRefreshToken: false },
      realtime: { transport: WebSocket as unknown as typeof globalThis.WebSocket },
    })
  const [here, there] = [tab(), tab()]
  await here.auth.signInWithPassword(maya)
  const store = createStore({ app: 'seeds', user: maya.id, tables, backend: supabaseBackend(here), storage: 'memory', onProblem: () => undefined })
  try {
    await until(() => store.status().ready && store.status().link.state === 'live', 'the store is live')
    await there.auth.signInWithPassword(lena)
    store.assignments.assign('companies', 'c-3', maya.id)
    store.rightsChanged()
    await until(() => store.status().link.state === 'paused', 'the store pauses')
    // The socket gets the new token, too, sooner or later.
    await here.realtime.setAuth()
    await backend.sql(`insert into patients (id, name, only_for) values ('p-secret3', 'for admins', 'admin')`)
    await moment()
    expect([await changedBy(), store.all('patients').map(({ id }) => id)]).toEqual([[], ['p-1']])
  } finally {
    store.close()
    for (const client of [here, there]) await client.realtime.disconnect()
  }
})
