// An application whose tables were adopted goes on working as it did, and the rules hold for it: its own history, triggers,
// activity and is_active, the functions whose names the kit takes, and who may make somebody a supervisor.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { migrate, migrateDown } from '../../www/server/migrate.js'
import { BEFORE, LOOK, ROLES } from './populated.js'
import { createWorld, KIT, type Json, type World } from './world.js'

let world: World
beforeEach(async () => {
  world = await createWorld({ kit: false })
  await world.owner.query(ROLES)
})
afterEach(() => world.close())

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const move = async (work: typeof migrate | typeof migrateDown) => {
  const client = await world.owner.connect()
  try {
    return await work(client, [KIT])
  } finally {
    client.release()
  }
}
const adopt = async (before: string) => {
  await run(before)
  await move(migrate)
}

const A = 'aaaaaaaa-0000-4000-8000-00000000000a'
const B = 'aaaaaaaa-0000-4000-8000-00000000000b'
const S = 'aaaaaaaa-0000-4000-8000-00000000000c'
const chat = (n: number) => `cccccccc-0000-4000-8000-00000000000${n}`
const SHOP = `create table operators (id uuid primary key, name text);
  insert into operators values ('${A}', 'Anna'), ('${B}', 'Boris'), ('${S}', 'Sara');
  create table chats (id uuid primary key, assigned_operator_id uuid, is_active boolean default true, created_at timestamptz default now());
  insert into chats select ('cccccccc-0000-4000-8000-00000000000' || i)::uuid from generate_series(1, 4) i;
  create table chat_assignments (id bigserial primary key, chat_id uuid not null, operator_id uuid not null, note text, assigned_at timestamptz default now(), released_at timestamptz);`
const state = async (n: number) => (await run('select chat_state, assigned_operator_id from chats where id = $1', [chat(n)]))[0]
const lines = async (n: number) =>
  run('select operator_id, note, release_reason, released_at is null as open from chat_assignments where chat_id = $1 order by assigned_at, id', [chat(n)])
const silent = async (idle = '5 minutes') => (await run('select chat_id from release_idle_chats($1)', [idle])).map((row) => row['chat_id'])
const ago = (minutes: number) => `clock_timestamp() - interval '${minutes} minutes'`
/** As if the migration and all assignments lay so many minutes back. */
const age = async (minutes: number) => {
  await run(`update rota.adopted set at = ${ago(minutes)}`)
  await run(`update rota.activity set last_activity_at = ${ago(minutes)}`)
  await run(`alter table chats disable trigger user; update chats set assigned_at = ${ago(minutes)} where assigned_at is not null; alter table chats enable trigger user`)
}

describe('silence', () => {
  test('nobody who was assigned before loses a chat before the full time is over', async () => {
    await adopt(BEFORE)
    expect(await silent()).toEqual([])
    await age(4)
    expect(await silent()).toEqual([])
    await age(6)
    expect(await silent()).toHaveLength(91)
  })
  test('where operator_activity has one row for each operator, it stays so, and each chat has its own silence', async () => {
    await adopt(`${SHOP} create table operator_activity (operator_id uuid primary key, chat_id uuid, seen timestamptz); insert into operator_activity values ('${A}', null, now())`)
    await run(`update operators set capacity = 2; update chats set assigned_operator_id = '${A}' where id in ('${chat(1)}', '${chat(2)}'); update chats set assigned_operator_id = '${B}' where id = '${chat(3)}'`)
    await age(6)
    expect(await world.as(A).sql('select record_operator_activity($1) a', [chat(1)])).toEqual([{ a: true }])
    expect(await world.as(B).sql('select record_operator_activity($1) a', [chat(1)])).toEqual([{ a: false }])
    expect((await silent()).sort()).toEqual([chat(2), chat(3)])
    expect(await run('select column_name from information_schema.columns where table_name = $1 and table_schema = $2', ['operator_activity', 'public'])).toHaveLength(3)
    expect(await run('select operator_id from operator_activity')).toEqual([{ operator_id: A }])
  })
  test('what the application writes into its own table of activity is a sign of life', async () => {
    await adopt(`${SHOP} create table operator_activity (operator_id uuid primary key, chat_id uuid, seen timestamptz); insert into operator_activity values ('${A}', null, now())`)
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(1)}'; update chats set assigned_operator_id = '${B}' where id = '${chat(2)}'`)
    await age(6)
    await run(`update operator_activity set seen = now() where operator_id = '${A}'`)
    expect(await silent()).toEqual([chat(2)])
  })
  test('a table that holds a row for each operator and chat is adopted, with what the application writes there', async () => {
    await adopt(`${SHOP} create table operator_activity (id serial primary key, operator_id uuid not null, chat_id uuid, seen timestamptz)`)
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(1)}'; update chats set assigned_operator_id = '${B}' where id = '${chat(2)}'`)
    expect(await run('select operator_id, chat_id from operator_activity order by 1')).toEqual([{ operator_id: A, chat_id: chat(1) }, { operator_id: B, chat_id: chat(2) }])
    await age(6)
    await run(`alter table operator_activity disable trigger user; update operator_activity set last_activity_at = ${ago(6)}; alter table operator_activity enable trigger user`)
    await run(`update operator_activity set seen = now() where operator_id = '${A}'`)
    expect(await silent()).toEqual([chat(2)])
  })
  test('an activity whose row the application took away begins anew when its operator says so', async () => {
    await adopt(SHOP)
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(1)}'`)
    await age(6)
    await run('delete from operator_activity')
    expect(await world.as(A).sql('select record_operator_activity($1) a', [chat(1)])).toEqual([{ a: true }])
    expect(await silent()).toEqual([])
  })
})

describe('history that the application writes itself', () => {
  const take = (n: number, operator: string) => `update chats set assigned_operator_id = '${operator}' where id = '${chat(n)}'`
  const note = (n: number, operator: string) => `insert into chat_assignments (chat_id, operator_id, note) values ('${chat(n)}', '${operator}', 'by the shop') returning id`
  for (const [order, steps] of [
    ['after the chat', [take(1, A), note(1, A)]],
    ['before the chat', [note(1, A), take(1, A)]],
  ] as const)
    test(`its line ${order} becomes the one line of the assignment`, async () => {
      await adopt(SHOP)
      for (const step of steps) await run(step)
      expect(await lines(1)).toEqual([{ operator_id: A, note: 'by the shop', release_reason: null, open: true }])
      expect(await run(`select a.assigned_at = c.assigned_at as same from chat_assignments a join chats c on c.id = a.chat_id`)).toEqual([{ same: true }])
      expect((await run(note(1, A)))[0]!['id']).toBeDefined() // once more is no second one
      expect(await lines(1)).toHaveLength(1)
    })
  for (const [order, steps] of [
    ['after the chat', [take(1, B), note(1, B)]],
    ['before the chat', [note(1, B), take(1, B)]],
    ['in its place', [`update chat_assignments set released_at = now() where chat_id = '${chat(1)}' and released_at is null`, note(1, B), take(1, B)]],
  ] as const)
    test(`a transfer with its line ${order} ends the one before`, async () => {
      await adopt(SHOP)
      for (const step of [take(1, A), note(1, A), ...steps]) await run(step)
      expect((await lines(1)).map(({ operator_id, open }) => [operator_id, open])).toEqual([[A, false], [B, true]])
      expect(await state(1)).toEqual({ chat_state: 'assigned', assigned_operator_id: B })
      await run(`update chats set assigned_operator_id = null where id = '${chat(1)}'`)
      expect((await lines(1)).map(({ open }) => open)).toEqual([false, false])
      await run(take(1, A))
      expect(await lines(1)).toHaveLength(3)
    })
  test('nobody ends the line of somebody else, or a line at all, who may not change it', async () => {
    await adopt(`${SHOP} alter table chat_assignments enable row level security; create policy own on chat_assignments for all to authenticated using (operator_id::text = current_setting('request.jwt.claims')::jsonb ->> 'sub');
      grant select, insert, update on chat_assignments to authenticated; grant usage on chat_assignments_id_seq to authenticated`)
    await run(take(1, A))
    await expect(world.as(B).sql(note(1, B))).rejects.toMatchObject({ code: '23505' })
    expect(await world.as(A).sql(note(1, A))).toHaveLength(1)
    expect(await lines(1)).toEqual([{ operator_id: A, note: 'by the shop', release_reason: null, open: true }])
  })
  test('the whole way of an application of before: assign, answer, release, all by its own SQL', async () => {
    await adopt(BEFORE)
    const [free] = await run(`select id from operators o where not exists (select from chats c where c.assigned_operator_id = o.id) limit 1`)
    const [{ taken }] = (await run(`select assign_chat_to_operator_before_rota($1) ->> 'chat' as taken`, [free!['id']])) as [Json]
    expect(await run('select chat_state from chats where id = $1', [taken])).toEqual([{ chat_state: 'assigned' }])
    expect(await run('select operator_id from chat_assignments where chat_id = $1 and released_at is null', [taken])).toEqual([{ operator_id: free!['id'] }])
    await run(`update chat_assignments set released_at = now() where chat_id = $1 and released_at is null`, [taken])
    await run('update chats set assigned_operator_id = null where id = $1', [taken])
    expect(await run('select 1 from chat_assignments where chat_id = $1 and released_at is null', [taken])).toEqual([])
  })
})

describe('triggers of its own', () => {
  const auto = (on: string) => `${SHOP} create function set_operator() returns trigger language plpgsql as $$ begin
      if new.assigned_operator_id is null and new.is_active then new.assigned_operator_id := '${A}'; end if; return new; end $$;
    create trigger set_operator before ${on} on chats for each row execute function set_operator();`
  test('one that gives a new chat its operator goes on, and nobody gets above capacity by it', async () => {
    await adopt(auto('insert'))
    await run(`insert into chats (id) values ('${chat(7)}')`)
    expect(await state(7)).toEqual({ chat_state: 'assigned', assigned_operator_id: A })
    expect(await lines(7)).toMatchObject([{ operator_id: A, open: true }])
    await expect(run(`insert into chats (id) values ('${chat(8)}')`)).rejects.toMatchObject({ detail: 'capacity-exceeded' })
  })
  test('so does one that assigns with an update', async () => {
    await adopt(auto('update'))
    await run(`update chats set created_at = now() where id = '${chat(1)}'`)
    expect(await run('select chat_state, assigned_operator_id, last_operator_id from chats where id = $1', [chat(1)])).toEqual([{ chat_state: 'assigned', assigned_operator_id: A, last_operator_id: A }])
    await expect(run(`update chats set created_at = now() where id = '${chat(2)}'`)).rejects.toMatchObject({ detail: 'capacity-exceeded' })
  })
})

describe('is_active of an application that', () => {
  const active = (n: number, is: boolean) => run('update chats set is_active = $2 where id = $1', [chat(n), is])
  test('had no states: what it ends is completed and frees its operator, and what it opens again waits', async () => {
    await adopt(`${SHOP} update chats set is_active = false where id = '${chat(4)}'`)
    expect(await state(4)).toMatchObject({ chat_state: 'completed' })
    await active(4, true)
    expect(await state(4)).toMatchObject({ chat_state: 'waiting_assignment' })
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(4)}'`)
    await active(4, false)
    expect(await state(4)).toEqual({ chat_state: 'completed', assigned_operator_id: null })
    expect(await lines(4)).toMatchObject([{ release_reason: 'completed', open: false }])
    await run(`update chats set is_active = true, assigned_operator_id = '${A}' where id = '${chat(4)}'`)
    expect(await state(4)).toEqual({ chat_state: 'assigned', assigned_operator_id: A })
    await run(`select record_operator_reply('${chat(4)}'); select record_user_message('${chat(4)}')`)
    expect(await run('select assign_chat_to_operator($1) is not null a', [A])).toEqual([{ a: true }])
  })
  test('has the four states: an inactive chat is nobody’s, and keeps its state otherwise', async () => {
    await adopt(`${SHOP} alter table chats add chat_state text, add operator_replied_at timestamptz;
      update chats set chat_state = 'waiting_assignment'; update chats set chat_state = 'assigned', assigned_operator_id = '${B}', is_active = false where id = '${chat(3)}'`)
    expect(await state(3)).toEqual({ chat_state: 'waiting_assignment', assigned_operator_id: null })
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(1)}'`)
    await active(1, false)
    expect(await state(1)).toEqual({ chat_state: 'waiting_assignment', assigned_operator_id: null })
    expect(await lines(1)).toMatchObject([{ release_reason: 'inactive', open: false }])
    await active(2, false)
    expect(await state(2)).toEqual({ chat_state: 'waiting_assignment', assigned_operator_id: null })
    await run(`update chats set chat_state = 'waiting_assignment', is_active = true where id = '${chat(1)}'`)
    expect(await run('select assign_chat_to_operator($1) is not null a', [A])).toEqual([{ a: true }])
    await move(migrateDown)
    expect(await run('select chat_state, assigned_operator_id from chats where id = $1', [chat(3)])).toEqual([{ chat_state: 'assigned', assigned_operator_id: B }])
  })
})

describe('its functions and views with names of the document', () => {
  test('are set aside with all that depends on them, and get their names back as they were', async () => {
    await run(BEFORE)
    const before = (await run(LOOK))[0]!['all']
    const glance = await run('select * from chats_at_a_glance')
    await move(migrate)
    expect(await run('select * from chats_at_a_glance')).toEqual(glance)
    expect(await run(`select to_regprocedure('assign_chat_to_operator_before_rota(uuid)')::text as f, to_regclass('chat_state_summary_before_rota')::text as v`)).toEqual([
      { f: 'assign_chat_to_operator_before_rota(uuid)', v: 'chat_state_summary_before_rota' },
    ])
    expect(await run(`select pg_get_function_result('assign_chat_to_operator(uuid)'::regprocedure) as ours, count(*)::int as n from pg_proc where proname = 'assign_chat_to_operator'`)).toEqual([{ ours: 'uuid', n: 2 }])
    expect((await run('select chat_state, chats from chat_state_summary')).length).toBe(4)
    expect(await run('select count(*)::int n from detect_stuck_chats()')).toEqual([{ n: expect.any(Number) }])
    await expect(world.as(A).sql(`select assign_chat_to_operator($1)`, [A])).rejects.toMatchObject({ code: '42501' })
    await move(migrateDown)
    expect((await run(LOOK))[0]!['all']).toBe(before)
  })
  test('that were removed meanwhile are no hindrance on the way back', async () => {
    await adopt(BEFORE)
    await run('drop function assign_chat_to_operator_before_rota(uuid)')
    await move(migrateDown)
    expect(await run(`select oid::regprocedure::text as f from pg_proc where proname like 'assign_chat%'`)).toEqual([{ f: 'assign_chat_to_operator(uuid,uuid)' }])
  })
})

describe('nobody promotes themselves', () => {
  const OWN_ROW = `${SHOP} alter table operators enable row level security; grant select, insert, update on operators to authenticated;
    create policy see on operators for select to authenticated using (true);
    create policy own on operators for all to authenticated using (id::text = current_setting('request.jwt.claims')::jsonb ->> 'sub');
    create policy managed on operators for update to authenticated using (current_setting('request.jwt.claims')::jsonb ->> 'sub' = '${S}');
    create function promote(who uuid) returns void language sql security definer as $f$ update operators set name = name || '!' where id = who $f$;`
  test('by a policy that lets everybody change their own row', async () => {
    await adopt(OWN_ROW)
    for (const set of [`role = 'supervisor'`, 'capacity = 1000', 'is_active = false', `role = 'supervisor', name = 'Queen'`])
      await expect(world.as(A).sql(`update operators set ${set} where id = '${A}'`), set).rejects.toMatchObject({ code: '42501', message: /only a supervisor/ })
    await world.as(A).sql(`update operators set name = 'Anna B.', role = role, capacity = 1 where id = '${A}'`)
    expect(await run('select name, role, capacity, is_active from operators where id = $1', [A])).toEqual([{ name: 'Anna B.', role: 'operator', capacity: 1, is_active: true }])
    const T = 'aaaaaaaa-0000-4000-8000-00000000000d'
    for (const columns of [`role) values ('${T}', 'supervisor')`, `capacity) values ('${T}', 50)`])
      await expect(world.as(T).sql(`insert into operators (id, ${columns}`)).rejects.toMatchObject({ code: '42501' })
    await world.as(T).sql(`insert into operators (id) values ('${T}')`)
    await expect(world.as(T).sql(`insert into operators (id, role) values ('${T}', 'supervisor') on conflict (id) do update set role = excluded.role`)).rejects.toMatchObject({ code: '42501' })
  })
  test('but a supervisor, the owner, its functions and a server without a person change operators as before', async () => {
    await adopt(OWN_ROW)
    await run(`update operators set role = 'supervisor' where id = '${S}'`)
    await world.as(S).sql(`update operators set capacity = 4, role = 'supervisor', is_active = false where id = '${A}'`)
    await run(`create or replace function promote(who uuid) returns void language sql security definer as $f$ update operators set is_active = true, role = 'operator' where id = who $f$`)
    await world.as(B).sql(`select promote('${A}')`)
    expect(await run('select role, capacity, is_active from operators where id = $1', [A])).toEqual([{ role: 'operator', capacity: 4, is_active: true }])
    const server = `web_${Date.now()}`
    await run(`create role ${server}; create role ${server}_s bypassrls; grant select, update on operators to ${server}, ${server}_s; create policy web on operators for all to ${server} using (true)`)
    await world.as(null, server).sql(`update operators set capacity = 5 where id = '${A}'`)
    await world.as('service', `${server}_s`).sql(`update operators set capacity = 6 where id = '${A}'`)
    expect(await run('select capacity from operators where id = $1', [A])).toEqual([{ capacity: 6 }])
    await run(`drop owned by ${server}, ${server}_s; drop role ${server}, ${server}_s`)
  })
  test('and an application with a rule of its own replaces the function that decides', async () => {
    await adopt(OWN_ROW)
    await run(`create or replace function rota.may_keep_operator(before operators, after operators) returns boolean language sql stable set search_path = pg_catalog, pg_temp as
      $f$ select rota.is_supervisor() or (before.role, before.capacity) is not distinct from (after.role, after.capacity) $f$`)
    await world.as(A).sql(`update operators set is_active = false where id = '${A}'`)
    await expect(world.as(A).sql(`update operators set capacity = 2 where id = '${A}'`)).rejects.toMatchObject({ code: '42501' })
  })
})

describe('the way back', () => {
  test('brings no operator back who is gone, where somebody else had the chat since', async () => {
    await adopt(`${SHOP} update chats set assigned_operator_id = gen_random_uuid() where id in ('${chat(1)}', '${chat(2)}')`)
    expect(await state(1)).toEqual({ chat_state: 'waiting_assignment', assigned_operator_id: null })
    const [{ ghost }] = (await run('select last_operator_id as ghost from chats where id = $1', [chat(2)])) as [Json]
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(1)}'`)
    await run(`select complete_chat('${chat(1)}')`)
    await move(migrateDown)
    expect(await run('select assigned_operator_id as has from chats order by id limit 2')).toEqual([{ has: null }, { has: ghost }])
  })
})

describe('history of chats', () => {
  test('that are truncated has ended, and who comes back under the same id can be assigned', async () => {
    await adopt(SHOP)
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(1)}'; truncate chats; insert into chats (id) values ('${chat(1)}')`)
    expect(await lines(1)).toMatchObject([{ operator_id: A, release_reason: 'deleted', open: false }])
    expect(await run('select * from operator_activity')).toEqual([])
    await run(`update chats set assigned_operator_id = '${B}' where id = '${chat(1)}'`)
    expect(await lines(1)).toMatchObject([{ operator_id: A, open: false }, { operator_id: B, open: true }])
  })
  test('whose key changes goes along', async () => {
    await adopt(SHOP)
    await run(`update chats set assigned_operator_id = '${A}' where id = '${chat(1)}'; update chats set id = '${chat(9)}' where id = '${chat(1)}'`)
    expect([await lines(1), await lines(9)]).toMatchObject([[], [{ operator_id: A, open: true }]])
    expect(await world.as(A).sql('select record_operator_activity($1) a', [chat(9)])).toEqual([{ a: true }])
    await run(`select record_operator_reply('${chat(9)}')`)
    expect(await lines(9)).toMatchObject([{ release_reason: 'replied', open: false }])
  })
})

test('times without a zone are UTC in every session', async () => {
  await adopt(`create table chats (id int primary key, assigned_operator_id text, created_at timestamp default now(), last_message_at timestamp);
    insert into chats values (1, null, now() - interval '2 hours'), (2, 'anna', now() - interval '3 hours')`)
  await run(`select record_operator_reply(2); select record_user_message(2)`)
  const client = await world.owner.connect()
  await client.query(`set timezone = 'America/New_York'`)
  const see = async (query: string) => (await client.query(query)).rows
  expect(await see('select id, round(wait_minutes)::int w, round(wait_minutes_this_time)::int t from chats_waiting order by id')).toEqual([{ id: 1, w: 120, t: 120 }, { id: 2, w: 180, t: 0 }])
  expect(await see('select round(longest_wait_minutes)::int l, round(average_wait_minutes)::int a from get_assignment_queue_status()')).toEqual([{ l: 180, a: 150 }])
  expect(await see(`select round(longest_minutes)::int l from chat_state_summary where chat_state = 'waiting_assignment'`)).toEqual([{ l: 120 }])
  expect(await see('select chat_id, round(hours_in_state)::int h from detect_stuck_chats(1)')).toEqual([{ chat_id: 1, h: 2 }])
  await client.query('reset timezone')
  client.release()
})

test('a migration waits ten seconds for its tables, then gives up without a trace, and works the next time', { timeout: 60_000 }, async () => {
  await run(SHOP)
  const busy = await world.open()
  await busy.query('select count(*) from chat_assignments')
  await expect(move(migrate)).rejects.toThrow(/0005_rota_chats\.sql.*lock timeout/)
  expect(await run(`select to_regclass('rota.adopted') as a, count(*)::int as n from information_schema.columns where table_name = 'chats'`)).toEqual([{ a: null, n: 4 }])
  await busy.query('rollback')
  busy.release()
  await move(migrate)
  expect(await run(`select current_setting('lock_timeout') as t`)).toEqual([{ t: '0' }])
})
