// Answers of the network are read as they come.
/* oxlint-disable typescript/no-explicit-any */
import type { SupabaseClient } from '@supabase/supabase-js'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openWorld, type World } from './world.js'

let world: World
let ada: SupabaseClient
beforeAll(async () => {
  world = await openWorld()
  ada = await world.signedIn(world.ada)
})
afterAll(() => world.close())

it.each<[string, () => PromiseLike<any>]>([
  ['insert', () => ada.from('notes').insert({ id: 1 })],
  ['upsert', () => ada.from('notes').upsert({ id: 1 })],
  ['update', () => ada.from('notes').update({ n: 1 }).eq('id', 1)],
  ['delete', () => ada.from('notes').delete().eq('id', 1)],
  ['an embedded table', () => ada.from('notes').select('id,board(*)')],
  ['a renamed column', () => ada.from('notes').select('x:id')],
  ['a cast', () => ada.from('notes').select('id::text')],
  ['an aggregate', () => ada.from('notes').select('id.count()')],
  ['a JSON path', () => ada.from('notes').select('meta->k')],
  ['a filter on a JSON path', () => ada.from('notes').select().eq('meta->>k', 'x')],
  ['or', () => ada.from('notes').select().or('id.eq.1,id.eq.2')],
  ['full text search', () => ada.from('notes').select().textSearch('title', 'x')],
  ['contains', () => ada.from('notes').select().contains('tags', ['a'])],
  ['match by regular expression', () => ada.from('notes').select().filter('title', 'match', 'x')],
  ['an estimated count', () => ada.from('notes').select('*', { count: 'estimated' })],
  ['CSV', () => ada.from('notes').select().csv()],
  ['an explanation', () => ada.from('notes').select().explain()],
  ['a function by GET', () => ada.rpc('whoami', {}, { get: true })],
  ['a function by HEAD', () => ada.rpc('whoami', {}, { head: true })],
  ['a filter on a function', () => ada.rpc('titles').eq('titles', 'x')],
  ['a count of a function', () => ada.rpc('titles', {}, { count: 'exact' })],
])('REST refuses %s with 400 and says what', async (name, query) => {
  const { error, status } = await query()
  expect(status).toBe(400)
  if (name.endsWith('HEAD')) return
  const problem = typeof error === 'string' ? JSON.parse(error) : error
  expect(problem).toMatchObject({ code: 'unsupported', message: expect.stringMatching(/^unsupported here: .+/) })
})

it.each<[string, string, RequestInit]>([
  ['a Range header', '/rest/v1/notes', { headers: { Range: '0-9' } }],
  ['the root of REST', '/rest/v1/', {}],
  ['a function below a function', '/rest/v1/rpc/a/b', { method: 'POST' }],
  ['storage', '/storage/v1/bucket', {}],
  ['edge functions', '/functions/v1/hello', { method: 'POST' }],
  ['GraphQL', '/graphql/v1', { method: 'POST' }],
  ['broadcast over HTTP', '/realtime/v1/api/broadcast', { method: 'POST' }],
  ['a path of nobody', '/nowhere', {}],
])('the gateway refuses %s with 400 and says what', async (_, path, init) => {
  const response = await fetch(world.gateway.url + path, { ...init, headers: { ...world.headers(), ...init.headers } })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ code: 'unsupported', message: expect.stringMatching(/^unsupported here: .+/) })
})

it.each<[string, () => Promise<any>]>([
  ['sign-up', () => world.anonymous().auth.signUp({ email: 'x@example.org', password: 'long enough' })],
  ['anonymous sign-in', () => world.anonymous().auth.signInAnonymously()],
  ['one-time passwords', () => world.anonymous().auth.signInWithOtp({ email: 'x@example.org' })],
  ['a change of the person', () => ada.auth.updateUser({ data: { name: 'x' } })],
  ['the admin interface', () => ada.auth.admin.listUsers()],
  ['other grants', () => world.anonymous().auth.signInWithIdToken({ provider: 'google', token: 'x' })],
])('auth refuses %s with 400 and says what', async (_, call) => {
  const { error } = await call()
  expect(error).toMatchObject({ status: 400, code: 'unsupported', message: expect.stringMatching(/^unsupported here: .+/) })
})

it('writes nothing while refusing', async () => {
  const { rows } = await world.db.query('select count(*)::int as n from notes')
  expect(rows[0].n).toBe(0)
})
