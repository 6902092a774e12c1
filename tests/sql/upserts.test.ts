// An application whose tables were adopted goes on writing them itself: with upserts that change nothing, with a claim lock of its
// own, and with its own rows of activity.
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { migrate, migrateDown } from '../../www/server/migrate.js'
import { ROLES } from './populated.js'
import { createWorld, KIT, operation, type Json, type World } from './world.js'

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

const [ANN, BOB, SARA, NEW] = ['1', '2', '3', '4'].map((n) => `aaaaaaaa-0000-4000-8000-00000000000${n}`) as [string, string, string, string]
const chat = (n: number) => `cccccccc-0000-4000-8000-00000000000${n}`
const SHOP = `create table operators (id uuid primary key, name text, email text unique);
  insert into operators values ('${ANN}', 'Ann'), ('${BOB}', 'Bob'), ('${SARA}', 'Sara');
  create table chats (id uuid primary key default gen_random_uuid(), ticket int unique, assigned_operator_id uuid, is_active boolean default true, last_message_at timestamptz, created_at timestamptz default now());
  insert into chats select ('cccccccc-0000-4000-8000-00000000000' || i)::uuid, i from generate_series(1, 4) i;`
const LINES = 'create table chat_assignments (id bigserial primary key, chat_id uuid not null, operator_id uuid not null, note text, assigned_at timestamptz default now(), released_at timestamptz);'
const take = (n: number, operator: string | null) => run('update chats set assigned_operator_id = $2 where id = $1', [chat(n), operator])

describe('an upsert of a chat', () => {
  const row = async (n: number) => (await run('select to_jsonb(c) - $2::text[] as row from chats c where id = $1', [chat(n), ['rota_version']]))[0]!['row'] as Json
  test('that changes nothing is not refused, whoever has it, with all of its columns or some', async () => {
    await adopt(SHOP)
    await take(1, ANN)
    const before = await row(1)
    const some = `insert into chats (id, chat_state, assigned_operator_id, last_message_at) select id, chat_state, assigned_operator_id, last_message_at from chats where id = '${chat(1)}'`
    await run(`${some} on conflict (id) do nothing`)
    await run(`${some} on conflict (id) do update set chat_state = excluded.chat_state, assigned_operator_id = excluded.assigned_operator_id, last_message_at = excluded.last_message_at`)
    const columns = Object.keys(before)
    await run(`insert into chats (${columns.join(', ')}) select ${columns.join(', ')} from chats where id = '${chat(1)}' on conflict (id) do update set ${columns.map((c) => `${c} = excluded.${c}`).join(', ')}`)
    await run(`insert into chats (ticket, assigned_operator_id) values (1, '${ANN}') on conflict (ticket) do update set assigned_operator_id = excluded.assigned_operator_id`)
    await run(`insert into chats (id, chat_state) values ('${chat(1)}', 'assigned') on conflict (id) do update set chat_state = excluded.chat_state`)
    expect(await row(1)).toEqual(before)
    await run(`select record_operator_reply('${chat(1)}')`)
    const replied = await row(1)
    await run(`insert into chats (id, chat_state, is_active) values ('${chat(1)}', 'waiting_real_user_reply', true) on conflict (id) do update set chat_state = excluded.chat_state, is_active = excluded.is_active`)
    expect(await row(1)).toEqual(replied)
    expect(await run('select operator_id, released_at is null as open from chat_assignments')).toEqual([{ operator_id: ANN, open: false }])
  })
  test('that changes something is judged by what it becomes', async () => {
    await adopt(SHOP)
    await take(1, ANN)
    const give = (n: number, operator: string) => run(`insert into chats (id, assigned_operator_id) values ('${chat(n)}', '${operator}') on conflict (id) do update set assigned_operator_id = excluded.assigned_operator_id returning chat_state, assigned_operator_id as has`)
    expect(await give(1, BOB)).toEqual([{ chat_state: 'assigned', has: BOB }])
    expect(await give(2, ANN)).toEqual([{ chat_state: 'assigned', has: ANN }])
    await expect(give(3, ANN)).rejects.toMatchObject({ detail: 'capacity-exceeded' })
    await expect(give(7, ANN)).rejects.toMatchObject({ detail: 'capacity-exceeded' })
    await expect(give(7, NEW)).rejects.toMatchObject({ detail: 'unknown-operator' })
    await expect(run(`insert into chats (id, assigned_operator_id) select gen_random_uuid(), '${SARA}' from generate_series(1, 2)`)).rejects.toMatchObject({ detail: 'capacity-exceeded' })
    await run(`insert into chats (id, assigned_operator_id) values ('${chat(8)}', '${SARA}')`)
    expect(await row(8)).toMatchObject({ chat_state: 'assigned', last_operator_id: SARA })
  })
})

describe('an upsert of a slot', () => {
  const SLOT = `'${ANN}', '2026-11-02T09:00', '2026-11-02T12:00'`
  const SLOTS = `create table availability (id uuid primary key default gen_random_uuid(), user_id uuid, starts_at text, ends_at text, note text, unique (user_id, starts_at));
    insert into availability (user_id, starts_at, ends_at) values (${SLOT})`
  test('by its id or by its person and beginning changes what is there', async () => {
    await adopt(SLOTS)
    await run(`insert into availability (user_id, starts_at, ends_at) values (${SLOT}) on conflict do nothing`)
    await run(`insert into availability (user_id, starts_at, ends_at, note) values (${SLOT}, 'again') on conflict (user_id, starts_at) do update set note = excluded.note, ends_at = excluded.ends_at`)
    await run(`insert into availability (id, user_id, starts_at, ends_at) select id, user_id, starts_at, '2026-11-02T13:00' from availability on conflict (id) do update set ends_at = excluded.ends_at`)
    expect(await run('select ends_at, note, is_active from availability')).toEqual([{ ends_at: '2026-11-02T13:00', note: 'again', is_active: true }])
    await expect(run(`insert into availability (user_id, starts_at, ends_at) values ('${ANN}', '2026-11-02T10:00', '2026-11-02T11:00') on conflict do nothing`)).rejects.toMatchObject({ detail: 'overlap' })
    await expect(run(`insert into availability (user_id, starts_at, ends_at) values ('${BOB}', '2026-11-02T10:00', '2026-11-02T09:00') on conflict do nothing`)).rejects.toMatchObject({ detail: 'reversed-slot' })
    await expect(run(`insert into availability (user_id, starts_at, ends_at) values ('${BOB}', '2026-11-02T10:00', '2026-11-02T12:00'), ('${BOB}', '2026-11-02T11:00', '2026-11-02T12:00')`)).rejects.toMatchObject({ detail: 'overlap' })
  })
  test('of before that can not be one stays as it is, and several move at once as if they were one', async () => {
    await adopt(`${SLOTS}; insert into availability (user_id, starts_at, ends_at) values ('${BOB}', '2026-11-02T10:00', '2026-11-02T09:00'), ('${ANN}', '2026-11-02T12:00', '2026-11-02T15:00')`)
    await run(`insert into availability (user_id, starts_at, ends_at) values ('${BOB}', '2026-11-02T10:00', '2026-11-02T09:00') on conflict (user_id, starts_at) do update set ends_at = excluded.ends_at`)
    await run(`update availability set starts_at = replace(starts_at, '-02T', '-03T'), ends_at = replace(ends_at, '-02T', '-03T') where user_id = '${ANN}'`)
    await run(`update availability set starts_at = to_char(starts_at::timestamp + interval '1 hour', 'YYYY-MM-DD"T"HH24:MI'), ends_at = to_char(ends_at::timestamp + interval '1 hour', 'YYYY-MM-DD"T"HH24:MI') where user_id = '${ANN}'`)
    expect(await run(`select starts_at from availability where user_id = '${ANN}' order by 1`)).toEqual([{ starts_at: '2026-11-03T10:00' }, { starts_at: '2026-11-03T13:00' }])
  })
  test('is judged as it is stored, whatever triggers the application has, by whatever name', async () => {
    await adopt(`${SLOTS}; create function snap() returns trigger language plpgsql as $$ begin if new.note = 'snap' then new.ends_at := '2026-11-02T08:30'; end if; return new; end $$;
      create trigger snap before insert or update on availability for each row execute function snap()`)
    await run('create trigger zzz before insert or update on availability for each row execute function snap()')
    for (const write of [`insert into availability (user_id, starts_at, ends_at, note) values ('${BOB}', '2026-11-02T09:30', '2026-11-02T10:30', 'snap')`, `update availability set note = 'snap'`])
      await expect(run(write)).rejects.toMatchObject({ detail: 'reversed-slot' })
  })
})

describe('an upsert of an operator', () => {
  const OWN = `${SHOP} alter table operators enable row level security; grant select, insert, update, delete on operators to authenticated;
    create policy own on operators for all to authenticated using (true)`
  const as = (person: string, columns: string, values: string, set: string) => world.as(person).sql(`insert into operators (${columns}) values (${values}) on conflict (id) do update set ${set} returning name, capacity, role`)
  test('that keeps capacity and role as they are goes through, and one that does not is refused', async () => {
    await adopt(OWN)
    await run(`update operators set capacity = 3 where id = '${ANN}'`)
    expect(await as(ANN, 'id, name, capacity, role', `'${ANN}', 'Ann B.', 3, 'operator'`, 'name = excluded.name, capacity = excluded.capacity, role = excluded.role')).toEqual([{ name: 'Ann B.', capacity: 3, role: 'operator' }])
    await expect(as(ANN, 'id, capacity', `'${ANN}', 4`, 'capacity = excluded.capacity')).rejects.toMatchObject({ code: '42501', message: /only a supervisor/ })
    await expect(as(NEW, 'id, role', `'${NEW}', 'supervisor'`, 'role = excluded.role')).rejects.toMatchObject({ code: '42501' })
    await expect(as(NEW, 'id, capacity', `'${NEW}', 3`, 'role = excluded.role')).rejects.toMatchObject({ code: '42501' })
    expect(await as(NEW, 'id, name', `'${NEW}', 'New'`, 'name = excluded.name')).toEqual([{ name: 'New', capacity: 1, role: 'operator' }])
  })
  test('makes nobody a supervisor while their own row is just being deleted', async () => {
    await adopt(OWN)
    const other = await world.open(ANN)
    await other.query(`delete from operators where id = '${ANN}'`)
    const made = as(ANN, 'id, role', `'${ANN}', 'supervisor'`, 'role = excluded.role').then(() => 'made', (cause: { code: string }) => cause.code)
    await new Promise((done) => setTimeout(done, 300))
    await other.query('commit')
    other.release()
    expect(await made).toBe('42501')
    expect(await run('select 1 from operators where id = $1', [ANN])).toEqual([])
  })
  test('nor in a table whose ids are not unique', async () => {
    await adopt(OWN.replace('operators (id uuid primary key', 'operators (id uuid'))
    await expect(world.as(ANN).sql(`insert into operators (id, role) values ('${ANN}', 'supervisor')`)).rejects.toMatchObject({ code: '42501' })
  })
})

describe('a claim lock of the application’s own', () => {
  const LOCK = 'create unique index claims on chat_assignments (chat_id) where released_at is null;'
  const claim = (n: number, operator: string) => run(`insert into chat_assignments (chat_id, operator_id) values ('${chat(n)}', '${operator}') on conflict (chat_id) where released_at is null do nothing returning 'won' as won`)
  test('goes on: who comes second gets nothing, and the first one’s line and answer stay theirs', async () => {
    await adopt(SHOP + LINES + LOCK)
    expect(await claim(1, ANN)).toEqual([{ won: 'won' }])
    await take(1, ANN)
    expect(await claim(1, BOB)).toEqual([])
    await expect(run(`insert into chat_assignments (chat_id, operator_id) values ('${chat(1)}', '${BOB}')`)).rejects.toMatchObject({ code: '23505' })
    await run(`select record_operator_reply('${chat(1)}')`)
    expect(await run('select operator_id, release_reason from chat_assignments')).toEqual([{ operator_id: ANN, release_reason: 'replied' }])
    expect(await run('select operator_id, messages::int from operator_performance where messages > 0')).toEqual([{ operator_id: ANN, messages: 1 }])
  })
  test('lets nobody win twice, and the application’s line take the place of the kit’s once, in either order', async () => {
    await adopt(SHOP + LINES + LOCK)
    const ids = async () => (await run('select id from chat_assignments where released_at is null')).map(({ id }) => id as string)
    expect(await claim(1, ANN)).toEqual([{ won: 'won' }])
    const [first] = await ids()
    expect(await claim(1, ANN)).toEqual([])
    await take(1, ANN)
    expect(await claim(1, ANN)).toEqual([])
    expect(await ids()).toEqual([first])
    // The kit first: its line gives way to the application's, but not to another operator's, whose try changes nothing.
    await take(2, BOB)
    expect(await claim(2, SARA)).toEqual([])
    expect(await claim(2, BOB)).toEqual([{ won: 'won' }])
    expect(await claim(2, BOB)).toEqual([])
    await take(2, null)
    expect(await claim(2, BOB)).toEqual([{ won: 'won' }])
    expect(await claim(2, BOB)).toEqual([])
    expect(await ids()).toHaveLength(2)
  })
  test('holds what the kit assigned, and is free again when that is over', async () => {
    await adopt(SHOP + LINES + LOCK)
    const [{ got }] = (await run(`select assign_chat_to_operator('${ANN}') as got`)) as [Json]
    expect(got).toBe(chat(1))
    expect(await claim(1, BOB)).toEqual([])
    await run(`select release_and_reassign_chat('${chat(1)}', 'lunch')`)
    expect(await claim(1, BOB)).toEqual([{ won: 'won' }])
    await take(1, BOB)
    expect(await run(`select operator_id, released_at is null as open from chat_assignments order by id`)).toEqual([{ operator_id: ANN, open: false }, { operator_id: BOB, open: true }])
    await move(migrateDown)
    expect(await run(`select indexrelid::regclass::text as name from pg_index where indrelid = 'chat_assignments'::regclass and not indisprimary`)).toEqual([{ name: 'claims' }])
  })
})

describe('activity that the application writes itself', () => {
  for (const [shape, columns, conflict] of [
    ['one row for each operator and chat', 'operator_id uuid, chat_id uuid, seen timestamptz, written int default 0, primary key (operator_id, chat_id)', '(operator_id, chat_id)'],
    ['one row for each chat', 'operator_id uuid not null, chat_id uuid unique, seen timestamptz, written int default 0', '(chat_id)'],
  ] as const)
    test(`in a table with ${shape} goes on as before: inserts, counting upserts, and what the kit assigns`, async () => {
      await adopt(`${SHOP} create table operator_activity (${columns})`)
      const add = (operator: string) => run(`insert into operator_activity (operator_id, chat_id, seen) values ('${operator}', '${chat(1)}', now())`)
      const count = (operator: string) => run(`insert into operator_activity (operator_id, chat_id, written) values ('${operator}', '${chat(1)}', 1) on conflict ${conflict} do update set written = operator_activity.written + 1`)
      const all = () => run('select operator_id, seen is not null as seen, written from operator_activity')
      await take(1, ANN)
      expect(await all()).toEqual([{ operator_id: ANN, seen: false, written: 0 }])
      await add(ANN)
      expect(await all()).toEqual([{ operator_id: ANN, seen: true, written: 0 }])
      await expect(add(ANN)).rejects.toMatchObject({ code: '23505' })
      for (const _ of [1, 2, 3]) await count(ANN)
      expect(await world.as(ANN).sql('select record_operator_activity($1) a', [chat(1)])).toEqual([{ a: true }])
      await run('update operator_activity set seen = now()')
      await count(ANN)
      expect(await all()).toEqual([{ operator_id: ANN, seen: true, written: 4 }])
      // Another operator: its row goes, a new one comes, and an application that is first is first.
      await take(1, BOB)
      await run(`update operator_activity set written = 7`)
      for (const _ of [1, 2]) await count(BOB)
      expect(await all()).toEqual([{ operator_id: BOB, seen: false, written: 9 }])
      await take(1, null)
      expect(await all()).toEqual([])
      await add(ANN)
      await take(1, ANN)
      expect(await all()).toEqual([{ operator_id: ANN, seen: true, written: 0 }])
      await expect(add(ANN)).rejects.toMatchObject({ code: '23505' })
      // What was left behind of somebody gives way to who has the chat.
      await run(`update chats set assigned_operator_id = null; insert into operator_activity (operator_id, chat_id) values ('${BOB}', '${chat(1)}')`)
      await take(1, ANN)
      expect((await all()).map(({ operator_id }) => operator_id as string)).toContain(ANN)
      await move(migrateDown)
      expect((await run(`select column_name as c from information_schema.columns where table_name = 'operator_activity' order by ordinal_position`)).map(({ c }) => c as string)).toEqual(['operator_id', 'chat_id', 'seen', 'written'])
    })
})

describe('triggers and policies of the application’s own find its tables by their bare names', () => {
  const EVENTS = `${SHOP} ${LINES} create table operator_activity (operator_id uuid, chat_id uuid, primary key (operator_id, chat_id));
    create table availability (id uuid primary key default gen_random_uuid(), user_id text, starts_at text, ends_at text);
    create table events (place text, op text);
    create function note_event() returns trigger language plpgsql as $$ begin insert into events values (tg_table_name, tg_op); return null; end $$;
    create function look_up() returns trigger language plpgsql as $$ begin perform from events limit 1; return case tg_op when 'DELETE' then old else new end; end $$;
    ${['chats', 'chat_assignments', 'operator_activity', 'operators', 'availability']
      .map((table) => `create trigger noted after insert or update or delete on ${table} for each row execute function note_event(); create trigger looked before insert or update or delete on ${table} for each row execute function look_up();`)
      .join('')} grant all on chats, operators, availability, chat_assignments to authenticated; grant all on events to authenticated;
    create table members (id text); insert into members values ('${ANN}');
    create function is_member() returns boolean language plpgsql stable security definer as $$ begin return exists (select from members where id = current_setting('request.jwt.claims', true)::jsonb ->> 'sub'); end $$;
    ${['chats', 'chat_assignments', 'availability'].map((table) => `alter table ${table} enable row level security; create policy members on ${table} for all to authenticated using (is_member()) with check (is_member());`).join(' ')}`
  const noted = async () => (await run('with gone as (delete from events returning *) select place || \' \' || op as what, count(*)::int n from gone group by 1 order by 1')).map(({ what, n }) => `${n} ${what}`)
  test('whatever makes them run: plain SQL, operations, functions by hand, a scheduler', async () => {
    await adopt(EVENTS)
    await noted()
    await take(1, ANN)
    expect(await noted()).toEqual(['1 chat_assignments INSERT', '1 chats UPDATE', '1 operator_activity INSERT'])
    await run(`insert into chat_assignments (chat_id, operator_id) values ('${chat(1)}', '${ANN}'); insert into operator_activity (operator_id, chat_id) values ('${ANN}', '${chat(1)}')`)
    expect(await noted()).toEqual(['1 chat_assignments DELETE', '1 chat_assignments INSERT', '1 operator_activity DELETE', '1 operator_activity INSERT'])
    const base = { chat_state: 'assigned', assigned_operator_id: ANN }
    expect(await world.as(ANN).apply(operation({ name: 'release', table: 'chats', key: chat(1), args: { reason: 'lunch' }, base }))).toMatchObject({ outcome: 'confirmed' })
    expect(await noted()).toEqual(['1 chat_assignments UPDATE', '1 chats UPDATE', '1 operator_activity DELETE'])
    await run(`select assign_chat_to_operator('${ANN}'); update rota.adopted set at = now() - interval '1 hour'`)
    expect(await world.as(ANN).sql(`select record_operator_activity('${chat(2)}') a`)).toEqual([{ a: true }])
    await run(`select release_idle_chats('1 microsecond'); select start_chat('{"ticket": 99}'); select record_user_message('${chat(2)}'); delete from chats where id = '${chat(1)}'; truncate chats`)
    expect(await noted()).toContain('1 chats DELETE')
    const starts = { starts_at: '2026-11-03T09:00', ends_at: '2026-11-03T10:00' }
    const id = 'eeeeeeee-0000-4000-8000-000000000001'
    expect(await world.as(ANN).apply(operation({ name: 'insert', table: 'availability', key: id, set: { id, user_id: ANN, time_zone: 'Europe/Berlin', recurrence: null, is_active: true, ...starts } }))).toMatchObject({ outcome: 'confirmed' })
    for (const question of [`free_slots('${ANN}', '2026-11-03', '2026-11-04')`, `who_is_free('2026-11-03 09:00Z', '2026-11-03 09:10Z')`, 'get_assignment_queue_status()', 'detect_stuck_chats(0)', 'chat_state_summary', 'chats_waiting', 'user_assignment_stats()'])
      await world.as(ANN).sql(`select * from ${question}`)
    await run(`insert into chats (id) values ('${chat(1)}')`)
    const waits = { chat_state: 'waiting_assignment', assigned_operator_id: null }
    expect(await world.as(ANN).apply(operation({ name: 'request_next', table: 'chats', key: chat(1), args: { operator: ANN }, base: waits }))).toMatchObject({ outcome: 'confirmed', chosen: chat(1) })
    await move(migrateDown)
  })
})
