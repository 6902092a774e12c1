// What a pull finds, and that it never misses a change or shows what is not the caller's.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assign, createWorld, fixture, JONAS, MAYA, operationId, patch, shapeOf, TOMAS, type Json, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

const keysOf = (rows: Json[] = []) => rows.map((row) => row['id'])
const rejects = (work: Promise<unknown>, code: string) => expect(work).rejects.toMatchObject({ code })

test('a whole pull holds every table asked for, and every row of it', async () => {
  await world.owner.query(
    `create table empty_one (id int primary key); grant select on empty_one to authenticated; select rota.sync_table('empty_one', '{id}', '{}')`,
  )
  const response = await world.as(TOMAS).pull({ tables: ['companies', 'empty_one'] })
  const expected = fixture('pull-response.whole')
  expect(Object.keys(response).sort()).toEqual(Object.keys(expected).sort())
  expect(response).toMatchObject({ protocol: 1, whole: true, gone: [], settled: [], records: { empty_one: [] } })
  expect(response['records'].companies).toHaveLength(120)
  expect(response['records'].companies[0]).toMatchObject({ rota_op: null, rota_version: expect.stringMatching(/^[1-9][0-9]*$/) })
  expect(response['cursor']).toMatch(/^[0-9a-f-]{36}:[0-9]+$/)
})

test('a pull from a cursor finds changed rows and gone keys, and nothing else', async () => {
  await world.company('c-3001')
  await world.company('c-3002')
  const { cursor } = await world.as(TOMAS).pull()
  await world.owner.query(`update companies set city = 'Kiel' where id = 'c-3001'`)
  await world.owner.query(`delete from companies where id = 'c-3002'`)
  const response = await world.as(TOMAS).pull({ cursor })
  expect(shapeOf(response['gone'])).toEqual(shapeOf(fixture('pull-response.since')['gone']))
  expect(response).toMatchObject({
    whole: false,
    gone: [{ table: 'companies', key: 'c-3002' }],
    records: { companies: [{ id: 'c-3001', city: 'Kiel' }] },
  })
  expect(response['records'].companies).toHaveLength(1)
  const next = await world.as(TOMAS).pull({ cursor: response['cursor'] })
  expect(next).toMatchObject({ whole: false, records: {}, gone: [] })
})

test('a change that commits after a pull, but began before it, is found by the next pull', async () => {
  await world.company('c-3003')
  await world.company('c-3004')
  const late = await world.open()
  await late.query(`update companies set city = 'Late' where id = 'c-3003'`)
  await world.owner.query(`update companies set city = 'Soon' where id = 'c-3004'`)
  const between = await world.as(TOMAS).pull()
  expect(between['records'].companies.find((row: Json) => row['id'] === 'c-3003').city).toBe('Bremen')
  await late.query('commit')
  late.release()
  const after = await world.as(TOMAS).pull({ cursor: between['cursor'] })
  expect(after['whole']).toBe(false)
  expect(keysOf(after['records'].companies)).toContain('c-3003')
  expect(after['records'].companies.find((row: Json) => row['id'] === 'c-3003').city).toBe('Late')
})

test('a change inside a savepoint is found like any other', async () => {
  await world.company('c-3005')
  const { cursor } = await world.as(TOMAS).pull()
  const late = await world.open()
  await late.query(`savepoint s; update companies set city = 'Inner' where id = 'c-3005'; release savepoint s`)
  const between = await world.as(TOMAS).pull({ cursor })
  await late.query('commit')
  late.release()
  expect(keysOf((await world.as(TOMAS).pull({ cursor: between['cursor'] }))['records'].companies)).toEqual(['c-3005'])
})

test('a cursor of another incarnation, from the future, or unreadable is answered with a whole pull', async () => {
  const { cursor } = await world.as(TOMAS).pull()
  const [incarnation] = cursor.split(':')
  for (const bad of [
    '5f0c1f5e-8f0b-4c52-9a3e-1d1b0e1f2a3b:1',
    `${incarnation}:9000000000000000000`,
    `${incarnation}:x`,
    'nonsense',
    '',
    `${incarnation}:99999999999999999999`,
  ]) {
    expect((await world.as(TOMAS).pull({ cursor: bad }))['whole']).toBe(true)
  }
  expect((await world.as(TOMAS).pull({ cursor }))['whole']).toBe(false)
  await world.owner.query('update rota.server set incarnation = gen_random_uuid()')
  expect((await world.as(TOMAS).pull({ cursor }))['whole']).toBe(true)
})

test("a row that became invisible is gone, for those who can't see it, and back when it returns", async () => {
  await world.owner.query(`create table notes (id int primary key, reader text, words text); alter table notes enable row level security;
    create policy own on notes for select to authenticated using (reader = rota.actor()); grant select on notes to authenticated;
    select rota.sync_table('notes', '{id}', '{}')`)
  await world.owner.query(`insert into notes values (1, $1, 'mine'), (2, $2, 'theirs')`, [TOMAS, MAYA])
  const first = await world.as(TOMAS).pull({ tables: ['notes'] })
  expect(first['records'].notes).toEqual([{ id: 1, reader: TOMAS, words: 'mine', rota_op: null, rota_version: expect.any(String) }])
  await world.owner.query('update notes set reader = $1 where id = 1', [MAYA])
  const second = await world.as(TOMAS).pull({ tables: ['notes'], cursor: first['cursor'] })
  expect(second).toMatchObject({ whole: false, records: {}, gone: [{ table: 'notes', key: '1' }] })
  expect(BigInt(second['gone'][0].version)).toBeGreaterThan(BigInt(first['records'].notes[0].rota_version))
  expect(keysOf((await world.as(MAYA).pull({ tables: ['notes'], cursor: first['cursor'] }))['records'].notes)).toEqual([1])
  await world.owner.query('update notes set reader = $1 where id = 1', [TOMAS])
  const third = await world.as(TOMAS).pull({ tables: ['notes'], cursor: second['cursor'] })
  expect(BigInt(third['records'].notes[0].rota_version)).toBeGreaterThan(BigInt(second['gone'][0].version))
})

test('keys are answered one by one, without a cursor', async () => {
  await world.company('c-3006')
  await world.company('c-3007')
  await world.owner.query(`delete from companies where id = 'c-3007'`)
  const response = await world.as(TOMAS).pull({ keys: { companies: ['c-3006', 'c-3007', 'c-7777', 'c-3007'] } })
  expect(response).toMatchObject({ cursor: null, whole: false, records: { companies: [{ id: 'c-3006' }] } })
  expect(response['gone']).toHaveLength(2)
  expect(response['gone']).toContainEqual({ table: 'companies', key: 'c-7777', version: '0' })
  const onlyGone = await world.as(TOMAS).pull({ keys: { companies: ['c-3007'] } })
  expect(shapeOf(onlyGone)).toEqual(shapeOf(fixture('pull-response.keys')))
  expect((await world.as(TOMAS).pull({ tables: [], keys: { people: ['not a uuid'] } }))['gone']).toHaveLength(1)
})

test("settled answers are the caller's own, and come as replayed", async () => {
  await world.company('c-3008')
  const op = assign('c-3008', null, JONAS)
  const answer = await world.as(JONAS).apply(op)
  const request = { tables: ['leads'], pending: [op['id'], operationId()] }
  const { settled } = await world.as(JONAS).pull(request)
  expect(settled).toEqual([{ ...answer, replayed: true }])
  expect(shapeOf(settled)).toEqual(shapeOf(fixture('pull-response.whole')['settled']))
  expect((await world.as(MAYA).pull(request))['settled']).toEqual([])
})

test('a record carries the operation that wrote it until plain SQL writes it', async () => {
  await world.company('c-3009')
  const op = patch('c-3009', { city: 'Bremen' }, { city: 'Kiel' })
  await world.as(JONAS).apply(op)
  const seen = async () => (await world.as(JONAS).pull({ keys: { companies: ['c-3009'] } }))['records'].companies[0].rota_op
  expect(await seen()).toBe(op['id'])
  await world.owner.query(`update companies set rota_op = gen_random_uuid(), rota_version = 1 where id = 'c-3009'`)
  expect(await seen()).toBe(null)
})

test('composite keys and integers above 2^53 travel as PROTOCOL.md spells them', async () => {
  await world.owner.query(`create table sites (area text, no bigint, amount numeric, primary key (area, no)); grant select on sites to authenticated;
    select rota.sync_table('sites', '{area,no}', '{}'); insert into sites values ('no"rth', 42, 1.5), ('south', 9007199254740993, 12345678901234567890)`)
  const first = await world.as(JONAS).pull({ tables: ['sites'] })
  expect(first['records'].sites).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ no: 42, amount: 1.5 }),
      expect.objectContaining({ no: '9007199254740993', amount: '12345678901234567890' }),
    ]),
  )
  expect(keysOf((await world.as(JONAS).pull({ tables: ['sites'], keys: { sites: ['["no\\"rth","42"]'] } }))['records'].sites)).toHaveLength(1)
  await world.owner.query(`delete from sites where no = 42; update sites set no = 43 where no > 42`)
  const { gone, records } = await world.as(JONAS).pull({ tables: ['sites'], cursor: first['cursor'] })
  expect(gone.map((entry: Json) => entry['key']).sort()).toEqual(['["no\\"rth","42"]', '["south","9007199254740993"]'])
  expect(records.sites).toMatchObject([{ area: 'south', no: 43 }])
})

test('a truncated table is gone row by row', async () => {
  await world.owner.query(
    `create table logs (id int primary key); grant select on logs to authenticated; select rota.sync_table('logs', '{id}', '{}'); insert into logs values (1), (2)`,
  )
  const { cursor } = await world.as(JONAS).pull({ tables: ['logs'] })
  await world.owner.query('truncate logs')
  expect((await world.as(JONAS).pull({ tables: ['logs'], cursor }))['gone']).toHaveLength(2)
})

test('a request that breaks a bound or a shape is refused with 22023, an unknown table with 42P01', async () => {
  const ids = Array.from({ length: 1001 }, () => operationId())
  const bad: Json[] = [
    { protocol: 2 },
    { tables: 'companies' },
    { tables: [1] },
    { cursor: 5 },
    { pending: ids },
    { pending: ['x'] },
    { pending: {} },
    { keys: [] },
    { keys: { companies: 'c-0001' } },
    { keys: { companies: [1] } },
    { keys: { companies: ids.slice(0, 600), leads: ids.slice(0, 401) } },
  ]
  for (const request of bad) await rejects(world.as(JONAS).pull(request), '22023')
  await rejects(world.as(JONAS).sql(`select rota_pull('[]')`), '22023')
  await rejects(world.as(JONAS).sql(`select rota_pull(null)`), '22023')
  await rejects(world.as(JONAS).pull({ tables: ['secrets'] }), '42P01')
  expect(await world.as(JONAS).pull({ pending: ids.slice(1), keys: { companies: ids.slice(1) } })).toMatchObject({ settled: [] })
})

test('a record with a long list in it costs a pull what it weighs, by whatever way it comes', async () => {
  await world.owner.query(`create table tagged (id int primary key, tags jsonb); grant select on tagged to authenticated; select rota.sync_table('tagged', '{id}', '{}')`)
  const { cursor } = await world.as(TOMAS).pull({ tables: ['tagged'] })
  await world.owner.query(`insert into tagged select n, (select jsonb_agg('tag-' || n || '-' || t order by t) from generate_series(1, 30000) t) from generate_series(1, 10) n`)
  const last = await world.owner.query(`select tags ->> -1 as tag from tagged where id = 10`)
  for (const asked of [{ cursor: null }, { cursor }, { keys: { tagged: ['10', '9', '8', '7', '6', '5', '4', '3', '2', '1'] } }]) {
    const began = Date.now()
    const { records } = await world.as(TOMAS).pull({ tables: ['tagged'], ...asked })
    // Linear, it is a third of a second; quadratic, it was 24.
    expect(Date.now() - began, JSON.stringify(asked)).toBeLessThan(8_000)
    expect(records.tagged).toHaveLength(10)
    expect(records.tagged.find((row: Json) => row['id'] === 10).tags.at(-1)).toBe(last.rows[0].tag)
  }
}, 120_000)

test('a pull says which columns of the tables asked for the database works out by itself, and nothing where there are none', async () => {
  await world.owner.query(`create table sums (id int primary key, a int, "a ""sum""" int generated always as (a + 1) stored, b int generated always as (a + 2) stored);
    alter table sums drop column b; grant select on sums to authenticated; select rota.sync_table('sums', '{id}', '{a}')`)
  const { cursor, generated } = await world.as(TOMAS).pull({ tables: ['companies', 'sums'] })
  expect(generated).toEqual({ sums: ['a "sum"'] })
  expect((await world.as(TOMAS).pull({ tables: ['companies', 'sums'], cursor }))['generated']).toEqual(generated)
  expect((await world.as(TOMAS).pull({ tables: [], keys: { sums: ['1'] } }))['generated']).toEqual(generated)
  expect(await world.as(TOMAS).pull()).not.toHaveProperty('generated')
})
