// An application's columns may have any name: also those of the parameters, variables and aliases in the kit's functions.
import { afterEach, beforeEach, expect, test } from 'vitest'
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

/** Every name that a function of the kit gives to something of its own, as the database has them. */
async function namesInside(): Promise<string[]> {
  const kit = await createWorld({ demo: false })
  const { rows } = await kit.owner.query(`select coalesce(p.proargnames, '{}') as args, coalesce(p.prosrc, '') as body, l.lanname as language, p.proname as name
    from pg_proc p join pg_language l on l.oid = p.prolang where p.pronamespace in ('rota'::regnamespace, 'public'::regnamespace)`)
  await kit.close()
  const names = new Set<string>('tg_op tg_argv tg_relid tg_name new old found sqlerrm sqlstate'.split(' '))
  for (const { args, body, language } of rows as { args: string[]; body: string; language: string }[]) {
    for (const name of args) if (name !== '') names.add(name)
    for (const [, name] of body.matchAll(/\b(?:from|join|update|into|as)\s+(?:[a-z_]+\.)?[a-z_]+(?:\([^()]*\))?\s+(?:as\s+)?([a-z])\b/g)) names.add(name!)
    const declared = language === 'plpgsql' ? /\bdeclare\b([^]*?)\n *begin\b/.exec(body) : null
    for (const [, name] of declared?.[1]!.matchAll(/^\s*([a-z_]+)\s+(?!:=)[^-]/gm) ?? []) names.add(name!)
    for (const [, name] of body.matchAll(/\bfor ([a-z_]+) in\b/g)) names.add(name!)
  }
  return [...names].sort()
}

const [ANNA, BORIS, SARA] = ['1', '2', '3'].map((n) => `aaaaaaaa-0000-4000-8000-00000000000${n}`) as [string, string, string]
const chat = (n: number) => `cccccccc-0000-4000-8000-00000000000${n}`

/** The columns that the kit reads and writes, which have a meaning: an application that has them has these. */
const MEANT: Record<string, string> = {
  chats: 'id chat_state assigned_operator_id last_operator_id operator_replied_at is_active created_at last_message_at assigned_at state_changed_at',
  operators: 'id name capacity is_active role department',
  chat_assignments: 'id chat_id operator_id assigned_at released_at release_reason assigned_by operation',
  operator_activity: 'operator_id chat_id started_at last_activity_at',
  availability: 'id user_id starts_at ends_at time_zone recurrence is_active notes',
}
const FIRST: Record<string, string> = {
  chats: 'id uuid primary key, assigned_operator_id uuid, is_active boolean default true, created_at timestamptz default now()',
  operators: `id uuid primary key, name text, role text not null default 'operator', capacity int not null default 1`,
  chat_assignments: 'id bigserial primary key, chat_id uuid, operator_id uuid',
  operator_activity: 'line bigserial primary key, chat_id uuid, operator_id uuid',
  availability: 'id text primary key, user_id text, starts_at text, ends_at text',
}

test('columns that are named like anything inside the kit change nothing, for the whole life of a chat and a slot', { timeout: 120_000 }, async () => {
  const names = await namesInside()
  for (const expected of ['reason', 'chat_id', 'operator_id', 'at', 'operation', 'operator', 'hours', 'p_chat_id', 'due', 'c', 'asker', 'clash', 'slot', 'stood']) expect(names).toContain(expected)
  for (const [table, columns] of Object.entries(FIRST)) {
    const own = names.filter((name) => !MEANT[table]!.split(' ').includes(name) && !columns.includes(`${name} bigserial`) && !/^rota_(op|version|noted)$/.test(name))
    await run(`create table ${table} (${columns}, ${own.map((name) => `"${name}" text default 'own'`).join(', ')}); grant all on ${table} to authenticated`)
  }
  await run(`insert into operators (id, name, role, capacity) values ('${ANNA}', 'Anna', 'operator', 2), ('${BORIS}', 'Boris', 'operator', 1), ('${SARA}', 'Sara', 'supervisor', 1);
    insert into chats (id) select ('cccccccc-0000-4000-8000-00000000000' || i)::uuid from generate_series(1, 4) i;
    update chats set assigned_operator_id = '${BORIS}' where id = '${chat(4)}';
    insert into availability (id, user_id, starts_at, ends_at) values ('early', '${ANNA}', '2026-11-02T09:00', '2026-11-02T12:00'), ('inside', '${ANNA}', '2026-11-02T10:00', '2026-11-02T11:00'), ('never', '${ANNA}', 'soon', 'later')`)
  const before = await run('select id, reason, chat_id, at from chats order by id')
  await move(migrate)
  expect(await run('select key, code from rota.adoption_faults order by key')).toEqual([{ key: 'inside', code: 'overlap' }, { key: 'never', code: 'invalid' }])

  const state = async (n: number) => (await run('select chat_state, assigned_operator_id from chats where id = $1', [chat(n)]))[0]!
  const act = async (person: string, name: string, n: number, args: Json = {}) => (await world.as(person).apply(operation({ name, table: 'chats', key: chat(n), args, base: await state(n) })))
  const fine = { outcome: 'confirmed' }
  expect(await act(BORIS, 'reply', 4)).toMatchObject(fine)
  expect(await act(ANNA, 'claim', 1, { operator: ANNA })).toMatchObject(fine)
  expect(await act(BORIS, 'claim', 1, { operator: BORIS })).toMatchObject({ code: 'illegal-transition' })
  expect(await act(ANNA, 'request_next', 2, { operator: ANNA })).toMatchObject(fine)
  expect(await act(ANNA, 'request_next', 3, { operator: ANNA })).toMatchObject({ code: 'capacity-exceeded' })
  expect(await act(ANNA, 'transfer', 2, { to: BORIS })).toMatchObject(fine)
  expect(await world.as(BORIS).sql('select record_operator_activity($1) a', [chat(2)])).toEqual([{ a: true }])
  expect(await act(BORIS, 'release', 2, { reason: 'lunch' })).toMatchObject(fine)
  expect(await act(SARA, 'unassign_chat', 1)).toMatchObject(fine)
  expect(await act(SARA, 'user_message', 4)).toMatchObject(fine)
  expect(await act(SARA, 'complete', 4)).toMatchObject(fine)
  expect(await run(`select release_reason, count(*)::int n from chat_assignments where released_at is not null group by 1 order by 1`)).toEqual(
    ['lunch', 'replied', 'supervisor', 'transferred'].map((release_reason) => ({ release_reason, n: 1 })),
  )

  // By hand, and by the application's own SQL.
  await run(`update chats set assigned_operator_id = '${BORIS}', reason = 'of the shop' where id = '${chat(1)}'`)
  expect(await run(`select transfer_chat('${chat(1)}', '${ANNA}'), record_operator_reply('${chat(1)}'), record_user_message('${chat(1)}')`)).toHaveLength(1)
  const [{ taken }] = (await run(`select assign_chat_to_operator('${ANNA}') as taken`)) as [Json]
  expect(await run(`select release_and_reassign_chat('${taken}', 'by hand'), complete_chat('${taken}'), start_chat('{"id": "${chat(5)}"}')`)).toMatchObject([{ start_chat: chat(5) }])
  await run(`update chats set assigned_operator_id = '${BORIS}' where id = '${chat(5)}'; insert into chat_assignments (chat_id, operator_id) values ('${chat(5)}', '${BORIS}')`)
  await run(`alter table chats disable trigger user; update chats set assigned_at = now() - interval '2 hours', state_changed_at = now() - interval '2 hours'; alter table chats enable trigger user;
    update rota.adopted set at = now() - interval '2 hours'; update rota.activity set last_activity_at = now() - interval '2 hours'`)
  expect((await run('select chat_id from detect_stuck_chats(1)')).length).toBe((await run(`select id from chats where chat_state <> 'completed'`)).length)
  expect(await run('select chat_id, operator_id from release_idle_chats()')).toEqual([{ chat_id: chat(5), operator_id: BORIS }])
  await run(`update chats set assigned_operator_id = '${BORIS}' where id = '${chat(5)}'; update chats set id = '${chat(9)}' where id = '${chat(5)}'; delete from chats where id = '${chat(9)}'`)
  for (const view of 'chat_state_summary chats_waiting operator_assignment_history chats_often_reassigned operator_performance idle_incidents'.split(' ')) await run(`select * from ${view}`)
  expect(await run('select waiting::int, assigned::int from get_assignment_queue_status()')).toEqual([{ waiting: 2, assigned: 0 }])
  const pulled = await world.as(SARA).pull({ tables: ['chats', 'operators', 'chat_assignments', 'availability', 'assignment_history'] })
  expect(JSON.stringify(pulled)).toContain(chat(1))
  await world.as(SARA).sql('select * from user_assignment_stats()')
  await world.as(SARA).sql(`update operators set capacity = 3 where id = '${BORIS}'`)
  await run('truncate chats')
  expect(await run('select 1 from chat_assignments where released_at is null')).toEqual([])

  // A slot.
  const slot = (name: string, key: string, parts: Json) => world.as(ANNA).apply(operation({ name, table: 'availability', key, ...parts }))
  const starts = { starts_at: '2026-11-03T09:00', ends_at: '2026-11-03T10:00' }
  expect(await slot('insert', 'new', { set: { id: 'new', user_id: ANNA, time_zone: 'Europe/Berlin', recurrence: null, is_active: true, ...starts } })).toMatchObject(fine)
  expect(await slot('insert', 'again', { set: { id: 'again', user_id: ANNA, time_zone: 'Europe/Berlin', recurrence: null, is_active: true, ...starts } })).toMatchObject({ code: 'overlap' })
  expect(await slot('patch', 'new', { set: { ends_at: '2026-11-03T11:00' }, base: { ends_at: '2026-11-03T10:00' } })).toMatchObject(fine)
  await run(`insert into availability (id, user_id, starts_at, ends_at, recurrence) values ('weekly', '${BORIS}', '2026-11-02T09:00', '2026-11-02T10:00', '{"freq": "weekly", "byDay": ["MO"]}')`)
  expect(await run(`select slot_id from free_slots('${ANNA}', '2026-11-03', '2026-11-04')`)).toEqual([{ slot_id: 'new' }])
  expect(await run(`select who_is_free('2026-11-09 09:00Z', '2026-11-09 09:30Z') as who`)).toEqual([{ who: BORIS }])
  expect(await slot('delete', 'new', {})).toMatchObject(fine)

  await move(migrateDown)
  expect(before.every(({ reason, chat_id, at }) => reason === 'own' && chat_id === 'own' && at === 'own')).toBe(true)
})

test('a column that the application adds later may have such a name, too', async () => {
  await run(`create table chats (id uuid primary key, assigned_operator_id uuid); create table operators (id uuid primary key, name text); grant all on chats, operators to authenticated;
    insert into operators values ('${ANNA}', 'Anna'); insert into chats values ('${chat(1)}')`)
  await move(migrate)
  await run(`alter table chats add column chat_id uuid, add column at timestamptz default now(), add column operation text; alter table operators add operator_id int, add operator text; alter table chat_assignments add reason text`)
  const base = { chat_state: 'waiting_assignment', assigned_operator_id: null }
  expect(await world.as(ANNA).apply(operation({ name: 'claim', table: 'chats', key: chat(1), args: { operator: ANNA }, base }))).toMatchObject({ outcome: 'confirmed' })
  await run(`update chats set assigned_operator_id = null`)
  expect(await run('select release_reason from chat_assignments')).toEqual([{ release_reason: 'by hand' }])
})
