// Who was given what: history by every way in, figures and unassigned lists, what people are told, and where.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AIKO, assign, createWorld, hlc, insert, type Json, JONAS, MAYA, patch, remove, RUTH, TOMAS, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const history = (key: string) => run('select from_owner, to_owner, changed_by, tab, operation from assignment_history where record_key = $1 order by id', [key])
const told = (key: string) => run(`select kind, recipient, payload ->> 'by' as by from rota.outbox where payload ->> 'key' = $1 order by id`, [key])

test('an operation, plain SQL, an insert and a delete each leave their line: from whom, to whom, by whom, in which tab', async () => {
  const [first, second] = [assign('c-8001', null, AIKO), assign('c-8001', AIKO, JONAS, { tab: 'x'.repeat(500) })]
  const made = insert('c-8001', { name: 'N', department: 'Sales' })
  await world.as(MAYA).apply(made)
  await world.as(MAYA).apply(first)
  await world.as(MAYA).apply(second)
  await run('update companies set owner_id = null where id = $1', ['c-8001'])
  await world.as(JONAS).sql('update companies set owner_id = $1 where id = $2', [JONAS, 'c-8001'])
  const gone = remove('c-8001')
  await world.as(MAYA).apply(gone)
  expect(await history('c-8001')).toEqual([
    { from_owner: null, to_owner: AIKO, changed_by: MAYA, tab: 'k3v9x2m1q7w4', operation: first['id'] },
    { from_owner: AIKO, to_owner: JONAS, changed_by: MAYA, tab: 'x'.repeat(200), operation: second['id'] },
    { from_owner: JONAS, to_owner: null, changed_by: null, tab: null, operation: null },
    { from_owner: null, to_owner: JONAS, changed_by: JONAS, tab: null, operation: null },
    { from_owner: JONAS, to_owner: null, changed_by: MAYA, tab: 'k3v9x2m1q7w4', operation: gone['id'] },
  ])
})

test('TRUNCATE takes every record from its owner, in the history and in what people are told', async () => {
  await run(`create table shelves (id int primary key, keeper text); insert into shelves values (8, '${AIKO}'), (9, null); select rota.sync_table('shelves', '{id}', '{}', 'keeper'); truncate shelves`)
  expect(await run(`select record_key, from_owner, to_owner from assignment_history where table_name = 'shelves'`)).toEqual([{ record_key: '8', from_owner: AIKO, to_owner: null }])
  expect(await run(`select kind, recipient from rota.outbox where payload ->> 'table' = 'shelves'`)).toEqual([{ kind: 'unassigned', recipient: AIKO }])
  await run(`select rota.unsync_table('shelves'); insert into shelves values (8, '${AIKO}'); truncate shelves; drop table shelves`)
  expect(await run(`select count(*)::int n from assignment_history where table_name = 'shelves'`)).toEqual([{ n: 1 }])
})

test('keys of records that nobody owns are spelt as the feed spells them, whatever zone the session is in', async () => {
  await run(`create table shifts (starts timestamptz primary key, keeper text); insert into shifts values ('2026-01-15 05:00:00-05', null); select rota.sync_table('shifts', '{starts}', '{}', 'keeper')`)
  const [entry] = await run(`select key from rota.feed where table_name = 'shifts'`)
  const client = await world.owner.connect()
  await client.query(`set timezone = 'America/New_York'`)
  expect((await client.query(`select key from unassigned_records('shifts')`)).rows).toEqual([entry])
  await client.query('reset timezone')
  client.release()
  await run(`select rota.unsync_table('shifts'); drop table shifts`)
})

test('what changes no owner, and what is sent again or refused, leaves no line', async () => {
  await world.company('c-8002', { owner_id: JONAS })
  const before = (await history('c-8002')).length
  const op = assign('c-8002', JONAS, AIKO)
  await world.as(JONAS).apply(op)
  await world.as(JONAS).apply(op)
  await world.as(JONAS).apply(patch('c-8002', { city: 'Bremen' }, { city: 'Kiel' }))
  await world.as(JONAS).apply(assign('c-8002', AIKO, AIKO))
  expect(await world.as(JONAS).apply(assign('c-8002', AIKO, TOMAS))).toMatchObject({ outcome: 'refused' })
  expect(await history('c-8002')).toHaveLength(before + 1)
})

test('nobody is assigned to an empty name, or one that is too long, and assign takes no other argument', async () => {
  await world.company('c-8010')
  for (const args of [{ to: '' }, { to: `${'é'.repeat(128)}x` }, { to: JONAS, more: 1 }, { to: 7 }, {}]) {
    const op = { ...assign('c-8010', null, JONAS), args }
    expect(await world.as(MAYA).apply(op)).toMatchObject({ outcome: 'refused', code: 'invalid' })
  }
  expect(await history('c-8010')).toEqual([])
})

test('who loses the race hears who won, and since when', async () => {
  await world.company('c-8003')
  await world.as(JONAS).apply(assign('c-8003', null, JONAS))
  const lost = await world.as(AIKO).apply(assign('c-8003', null, AIKO))
  expect(lost).toMatchObject({ outcome: 'conflicted', code: 'taken', winner: { user: JONAS, at: expect.any(String) }, record: { owner_id: JONAS } })
  expect(Math.abs(Date.parse(lost['winner'].at) - Date.now())).toBeLessThan(60_000)
  await world.as(JONAS).apply(assign('c-8003', JONAS, null))
  expect(await world.as(AIKO).apply(assign('c-8003', JONAS, AIKO, { hlc: hlc() }))).not.toHaveProperty('winner')
})

describe('reading', () => {
  test('history is read per record and per person, and comes by pulls like any table', async () => {
    await world.company('c-8004')
    const { cursor } = await world.as(AIKO).pull({ tables: ['assignment_history'] })
    await world.as(JONAS).apply(assign('c-8004', null, JONAS))
    expect((await world.as(AIKO).pull({ tables: ['assignment_history'], cursor }))['records'].assignment_history).toMatchObject([{ record_key: 'c-8004', to_owner: JONAS }])
    expect(await world.as(AIKO).sql(`select to_owner from assignment_history where table_name = 'companies' and record_key = 'c-8004'`)).toEqual([{ to_owner: JONAS }])
    await expect(world.as(JONAS).sql(`update assignment_history set to_owner = null`)).rejects.toMatchObject({ code: '42501' })
    await expect(world.as(JONAS).sql(`insert into assignment_history (table_name, record_key) values ('x', 'y')`)).rejects.toMatchObject({ code: '42501' })
  })
  test('who may not see a record does not see its history, unless it is their own', async () => {
    await run(`create table secrets (id int primary key, owner_id text, only_for text); grant select on secrets to authenticated; alter table secrets enable row level security;
      create policy mine on secrets for select using (only_for = rota.actor()); insert into secrets values (1, null, '${JONAS}');
      select rota.sync_table('secrets', '{id}', '{}', 'owner_id'); update secrets set owner_id = '${TOMAS}'`)
    const sees = async (person: string) => (await world.as(person).sql(`select count(*)::int n from assignment_history where table_name = 'secrets'`))[0]!['n']
    expect([await sees(JONAS), await sees(AIKO), await sees(TOMAS)]).toEqual([1, 0, 1])
    await run(`select rota.unsync_table('secrets')`)
    expect(await run(`select tgname from pg_trigger where tgrelid = 'secrets'::regclass and not tgisinternal`)).toEqual([])
  })
  test('statistics and unassigned lists follow the rows', async () => {
    await run(`create table jobs (id int primary key, title text, owner_id text); grant select, update on jobs to authenticated;
      insert into jobs select i, 'Job ' || i, null from generate_series(1, 5) i; select rota.sync_table('jobs', '{id}', '{title,owner_id}', 'owner_id')`)
    for (const [key, to] of [['1', JONAS], ['2', JONAS], ['3', AIKO]] as const) await world.as(RUTH).apply(assign(key, null, to, { table: 'jobs' }))
    await world.as(RUTH).apply(assign('2', JONAS, AIKO, { table: 'jobs' }))
    const stats = await world.as(RUTH).sql(`select user_id, owned::int, assigned_last_24h::int gained, lost_last_24h::int lost from user_assignment_stats() where table_name = 'jobs' order by 1`)
    expect(stats).toEqual([{ user_id: JONAS, owned: 1, gained: 2, lost: 1 }, { user_id: AIKO, owned: 2, gained: 2, lost: 0 }])
    expect(await world.as(RUTH).sql(`select user_id, owned::int from user_assignment_stats($1) where table_name = 'jobs'`, [AIKO])).toEqual([{ user_id: AIKO, owned: 2 }])
    expect((await world.as(RUTH).sql(`select key from unassigned_records('jobs')`)).map((row) => row['key'])).toEqual(['4', '5'])
    await expect(world.as(RUTH).sql(`select * from unassigned_records('people; drop table jobs')`)).rejects.toMatchObject({ code: '42P01' })
    await expect(world.as(RUTH).sql(`select * from unassigned_records('people')`)).rejects.toMatchObject({ code: '42P01' })
  })
})

describe('telling', () => {
  test('the old and the new owner are told, and nobody what they did themselves', async () => {
    await world.company('c-8005')
    await world.as(JONAS).apply(assign('c-8005', null, JONAS))
    expect(await told('c-8005')).toEqual([])
    await world.as(MAYA).apply(assign('c-8005', JONAS, AIKO))
    expect(await told('c-8005')).toEqual([{ kind: 'assigned', recipient: AIKO, by: MAYA }, { kind: 'unassigned', recipient: JONAS, by: MAYA }])
  })
  test('senders share the outbox: each entry is held by one, sent once, and back if its sender dies', async () => {
    await run('truncate rota.outbox')
    await run(`insert into rota.outbox (kind, recipient, payload) select 'assigned', 'p' || i, '{}' from generate_series(1, 100) i`)
    const taken = await Promise.all(Array.from({ length: 5 }, () => run('select id from rota.claim_outbox(30)')))
    const ids = taken.flat().map((entry) => entry['id'])
    expect([ids.length, new Set(ids).size]).toEqual([100, 100])
    expect(await run('select id from rota.claim_outbox(30)')).toEqual([])
    expect(await run('select rota.outbox_done($1) n', [ids.slice(0, 90)])).toEqual([{ n: '90' }])
    expect(await run('select rota.outbox_done($1) n', [ids.slice(0, 95)])).toEqual([{ n: '5' }])
    await run(`select rota.outbox_failed($1, $2, '-1 second')`, [ids[95], "no route'); drop table rota.outbox; --"])
    await run(`update rota.outbox set due_at = now() - interval '1 second' where id = any ($1)`, [ids.slice(96)])
    const again = await run('select id, attempts, last_error from rota.claim_outbox(100)')
    expect(again.map((entry) => entry['id']).sort()).toEqual(ids.slice(95).sort())
    expect(again.find((entry) => entry['id'] === ids[95])).toMatchObject({ attempts: 2, last_error: expect.stringContaining('no route') })
    for (const n of [0, -1, 1001, null]) await expect(run('select rota.claim_outbox($1)', [n])).rejects.toMatchObject({ code: '22023' })
    await run(`update rota.outbox set done_at = now() - interval '31 days' where id = $1`, [ids[0]])
    expect(await run('select rota.prune_outbox() n')).toEqual([{ n: '1' }])
    // Without a sender it does not grow for ever.
    await run(`insert into rota.outbox (kind, recipient, payload, created_at) values ('assigned', 'p', '{}', now() - interval '31 days'), ('assigned', 'p', '{}', now() - interval '29 days')`)
    expect(await run('select rota.prune_outbox() n')).toEqual([{ n: '1' }])
    await expect(world.as(MAYA).sql('select rota.claim_outbox(1)')).rejects.toMatchObject({ code: '42501' })
    await expect(world.as(MAYA).sql('select * from rota.outbox')).rejects.toMatchObject({ code: '42501' })
  })
  test("a browser's subscription is its person's alone, and goes along when another signs in with its keys", async () => {
    const save = (person: string, keys = ['p', 'a']) => world.as(person).sql(`select save_push_subscription('https://push.example/1', $1, $2)`, keys)
    const mine = async (person: string) => (await world.as(person).sql('select endpoint from push_subscriptions')).length
    await save(JONAS)
    expect([await mine(JONAS), await mine(AIKO)]).toEqual([1, 0])
    await expect(save(AIKO, ['other', 'keys'])).rejects.toMatchObject({ code: '42501' })
    await save(AIKO)
    expect([await mine(JONAS), await mine(AIKO)]).toEqual([0, 1])
    await expect(world.as(JONAS).sql(`insert into push_subscriptions (endpoint, user_id, p256dh, auth) values ('https://x', '${AIKO}', 'p', 'a')`)).rejects.toMatchObject({ code: '42501' })
    await expect(world.as(JONAS).sql(`select save_push_subscription('javascript:1', 'p', 'a')`)).rejects.toMatchObject({ code: '23514' })
    await expect(world.as(null, 'anon').sql(`select save_push_subscription('https://x', 'p', 'a')`)).rejects.toMatchObject({ code: '42501' })
    await world.as(AIKO).sql('delete from push_subscriptions')
    expect(await mine(AIKO)).toBe(0)
  })
})
