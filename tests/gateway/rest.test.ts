// Answers of the network are read as they come.
/* oxlint-disable typescript/no-explicit-any */
import type { SupabaseClient } from '@supabase/supabase-js'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { openWorld, until, type World } from './world.js'

let world: World
let ada: SupabaseClient
beforeAll(async () => {
  world = await openWorld({ limits: { rowsPerAnswer: 50, statementMs: 500 } })
  ada = await world.signedIn(world.ada)
  await world.db.query(
    `insert into notes (id, owner, title, n, big, price, done, tags, meta, at) values
      (1, $1, 'one', 1, 9007199254740993, 1.50, true, '{a,b}', '{"k": [1, null]}', '2026-11-21 10:00:00.123456+00'),
      (2, $1, 'two', null, 2, null, false, '{}', 'null', null),
      (3, $1, 'a,(b)', 3, 3, 3, null, null, null, null),
      (4, $2, 'bob''s', 4, 4, 4, true, null, null, null)`,
    [world.ada.id, world.bob.id],
  )
  await world.db.query("insert into board values ('x', '2026-01-01', 'X', 'h'), ('y', '2026-01-02', 'Y', 'h')")
  await world.db.query("insert into history select i, 'row ' || i from generate_series(1, 120) i")
})
afterAll(() => world.close())

describe('SELECT', () => {
  it('shows each person their own rows', async () => {
    const bob = await world.signedIn(world.bob)
    expect((await ada.from('notes').select('id').order('id')).data).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }])
    expect((await bob.from('notes').select('id')).data).toEqual([{ id: 4 }])
  })

  it('answers values as PostgreSQL writes them in JSON', async () => {
    const response = await fetch(`${world.gateway.url}/rest/v1/notes?id=eq.1&select=big,price,done,tags,meta,at`, {
      headers: world.headers(await world.accessToken(world.ada)),
    })
    expect(await response.text()).toBe(
      '[{"big":9007199254740993,"price":1.50,"done":true,"tags":["a","b"],"meta":{"k": [1, null]},"at":"2026-11-21T10:00:00.123456+00:00"}]',
    )
  })

  const ids = async (query: (table: any) => any): Promise<number[]> => {
    const { data, error } = await query(ada.from('notes').select('id')).order('id')
    if (error) throw error
    return data.map((row: { id: number }) => row.id)
  }
  it.each<[string, (table: any) => any, number[]]>([
    ['eq', (t) => t.eq('title', 'two'), [2]],
    ['neq', (t) => t.neq('n', 1), [3]],
    ['gt', (t) => t.gt('big', 2), [1, 3]],
    ['gte and lt together', (t) => t.gte('id', 2).lt('id', 3), [2]],
    ['lte', (t) => t.lte('price', 1.5), [1]],
    ['like', (t) => t.like('title', 't*'), [2]],
    ['ilike', (t) => t.ilike('title', '%O%'), [1, 2]],
    ['is null', (t) => t.is('n', null), [2]],
    ['is true', (t) => t.is('done', true), [1]],
    ['not is null', (t) => t.not('done', 'is', null), [1, 2]],
    ['not eq', (t) => t.not('title', 'eq', 'two'), [1, 3]],
    ['in numbers', (t) => t.in('id', [1, 3, 99]), [1, 3]],
    ['in text with commas and parentheses', (t) => t.in('title', ['a,(b)', 'one']), [1, 3]],
    ['in quoted text with quotes and backslashes', (t) => t.filter('title', 'in', '("a\\"\\\\","one")'), [1]],
    ['in nothing', (t) => t.in('id', []), []],
    ['text that would be SQL', (t) => t.eq('title', "x' or true --"), []],
  ])('filters with %s', async (_, query, expected) => {
    expect(await ids(query)).toEqual(expected)
  })

  it('orders, limits and counts', async () => {
    const { data, count, status } = await ada
      .from('notes')
      .select('id', { count: 'exact' })
      .order('n', { ascending: false, nullsFirst: true })
      .range(0, 1)
    expect({ data, count, status }).toEqual({ data: [{ id: 2 }, { id: 3 }], count: 3, status: 206 })
    expect(await ada.from('notes').select('*', { count: 'exact', head: true })).toMatchObject({ data: null, count: 3, status: 200 })
  })

  it('cuts a long answer at its bound, and says so', async () => {
    const { data, count } = await ada.from('history').select('id', { count: 'exact' }).limit(1_000)
    expect([data!.length, count]).toEqual([50, 120])
  })

  it('answers one object, or says that it is not one', async () => {
    expect((await ada.from('notes').select('title').eq('id', 1).single()).data).toEqual({ title: 'one' })
    expect((await ada.from('notes').select('title').eq('id', 9).maybeSingle()).data).toBeNull()
    for (const query of [ada.from('notes').select().eq('id', 9).single(), ada.from('notes').select().single()]) {
      expect(await query).toMatchObject({ status: 406, error: { code: 'PGRST116' } })
    }
  })

  it.each<[string, () => PromiseLike<any>, number, string]>([
    ['an unknown table', () => ada.from('nowhere').select(), 404, 'PGRST205'],
    ['a table of another schema', () => ada.from('users').select(), 404, 'PGRST205'],
    ['an unknown column', () => ada.from('notes').select('id,nope'), 400, '42703'],
    ['an unknown column in a filter', () => ada.from('notes').select('id').eq('nope', 1), 400, '42703'],
    ['an unknown column in the order', () => ada.from('notes').select('id').order('nope'), 400, '42703'],
    ['a table that the role may not read', () => ada.from('closed').select(), 403, '42501'],
    ['a column that the role may not read', () => ada.from('board').select('hidden'), 403, '42501'],
    ['a value that does not fit', () => ada.from('notes').select().eq('id', 'x'), 400, '22P02'],
  ])('answers %s as PostgREST does', async (_, query, status, code) => {
    const answer = await query()
    expect([answer.status, answer.error.code]).toEqual([status, code])
    expect(Object.keys(answer.error).sort()).toEqual(expect.arrayContaining(['code', 'details', 'hint', 'message']))
  })
})

describe('Functions', () => {
  it('run as the caller, with defaults, and write', async () => {
    const { data, error } = await ada.rpc('add_note', { id: 50, title: 'made' })
    expect(error).toBeNull()
    expect(data).toMatchObject({ id: 50, owner: world.ada.id, title: 'made', n: 7 })
    expect((await world.db.query('select n from notes where id = 50')).rows).toEqual([{ n: 7 }])
    await world.db.query('delete from notes where id = 50')
  })

  it('take JSON as it came, whatever its numbers', async () => {
    const body = '{"value": {"big": 9007199254740993, "n": 1.10, "nul": null}}'
    const response = await fetch(`${world.gateway.url}/rest/v1/rpc/same`, { method: 'POST', headers: world.headers(), body })
    expect(await response.text()).toBe('{"n": 1.10, "big": 9007199254740993, "nul": null}')
  })

  it('answer sets as lists, and nothing as 204', async () => {
    expect((await ada.rpc('titles')).data).toEqual(['one', 'two', 'a,(b)'])
    expect(await ada.rpc('nothing')).toMatchObject({ status: 204, error: null })
  })

  it.each([
    ['23505', 409],
    ['22P02', 400],
    ['23502', 400],
    ['23514', 400],
    ['P0001', 400],
    ['42501', 403],
    ['42P01', 404],
    ['40001', 500],
    ['PT418', 418],
  ])('that fail with %s are answered %i', async (state, status) => {
    const { error, status: got } = await ada.rpc('fails', { state })
    expect([got, error?.code, error?.message, error?.hint]).toEqual([status, state, 'told to fail', 'do not'])
  })

  it.each<[string, string, object, number, string]>([
    ['an unknown function', 'nope', {}, 404, 'PGRST202'],
    ['a missing argument', 'add_note', { title: 'x' }, 404, 'PGRST202'],
    ['an argument too many', 'whoami', { x: 1 }, 404, 'PGRST202'],
    ['a function of another schema', 'pg_sleep', { seconds: 1 }, 404, 'PGRST202'],
    ['a function that the role may not call', 'private_thing', {}, 403, '42501'],
    ['a key that is there', 'add_note', { id: 1, title: 'x' }, 409, '23505'],
    ['a function that takes too long', 'sleeps', { seconds: 5 }, 500, '57014'],
  ])('answer %s as PostgREST does', async (_, name, args, status, code) => {
    const answer = await ada.rpc(name, args)
    expect([answer.status, answer.error?.code]).toEqual([status, code])
  })

  it.each([
    ['no JSON', '{"a":', 400],
    ['a list', '[1]', 400],
    ['a string', '"x"', 400],
    ['a NUL', '{"value": "\\u0000"}', 400],
    ['JSON of great depth', `{"value": ${'['.repeat(200_000)}${']'.repeat(200_000)}}`, 413],
    ['a body of more than a mebibyte', `{"value": "${'x'.repeat(1_048_576)}"}`, 413],
  ])('refuse %s', async (_, body, status) => {
    const response = await fetch(`${world.gateway.url}/rest/v1/rpc/same`, { method: 'POST', headers: world.headers(), body })
    expect([response.status, Object.keys(await response.json())]).toEqual([status, ['code', 'message', 'details', 'hint']])
  })

  it('refuse a body that does not declare its length', async () => {
    const chunks = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 40; i++) controller.enqueue(new TextEncoder().encode(' '.repeat(32_768)))
        controller.close()
      },
    })
    const request = { method: 'POST', headers: world.headers(), body: chunks, duplex: 'half' } as RequestInit
    expect((await fetch(`${world.gateway.url}/rest/v1/rpc/same`, request)).status).toBe(411)
  })

  it('leave no role behind on the connection', async () => {
    await Promise.all(Array.from({ length: 30 }, () => ada.rpc('fails', { state: 'P0001' })))
    expect((await world.anonymous().rpc('whoami')).data).toMatchObject({ uid: null, user: 'anon' })
  })
})

it('a database that is away is answered 503, and used again when it is back', async () => {
  const { rows } = await world.db.query('select current_database() as name')
  const server = new pg.Client({ connectionString: inject('serverUrl') })
  await server.connect()
  try {
    await server.query(`alter database ${rows[0].name} allow_connections false`)
    await server.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [rows[0].name])
    await until(async () => (await ada.rpc('whoami')).status === 503, 'the refusal')
  } finally {
    await server.query(`alter database ${rows[0].name} allow_connections true`)
    await server.end()
  }
  await until(async () => (await ada.rpc('whoami')).error === null, 'an answer')
})
