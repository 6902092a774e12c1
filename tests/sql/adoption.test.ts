// Chats and slots that were there before the kit: what it makes of odd rows, that the application in use goes on working, and
// that the way back leaves everything as it was, byte by byte.
import { readdirSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { migrate, migrateDown } from '../../www/server/migrate.js'
import { BEFORE, LOOK, ROLES } from './populated.js'
import { createWorld, KIT, operation, type Json, type World } from './world.js'

let world: World
beforeEach(async () => {
  world = await createWorld({ kit: false })
  await world.owner.query(ROLES)
})
afterEach(() => world.close())

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const look = async () => (await run(LOOK))[0]!['all'] as string
const move = async (work: typeof migrate | typeof migrateDown) => {
  const client = await world.owner.connect()
  try {
    return await work(client, [KIT])
  } finally {
    client.release()
  }
}

test('a populated chats table is adopted and given back byte by byte, twice', async () => {
  await run(BEFORE)
  const before = await look()
  for (let turn = 0; turn < 2; turn += 1) {
    await move(migrate)
    expect(await look()).not.toBe(before)
    await move(migrateDown)
    expect(await look()).toBe(before)
  }
})

test('every adopted chat has a state that fits, and nothing else of it has changed', async () => {
  await run(BEFORE)
  const plain = await run('select * from chats order by id')
  await move(migrate)
  const wrong = await run(`select * from chats where chat_state is null
    or chat_state <> case when is_active is false then 'completed' when assigned_operator_id is not null then 'assigned' else 'waiting_assignment' end
    or (chat_state = 'assigned') <> (assigned_operator_id is not null)`)
  expect(wrong).toEqual([])
  const now = new Map((await run('select * from chats')).map((chat) => [chat['id'], chat]))
  for (const { assigned_operator_id: had, ...chat } of plain) {
    expect(now.get(chat['id'])).toMatchObject({ ...chat, last_operator_id: had })
    const gone = `${had}`.startsWith('9999') || chat['is_active'] === false
    expect(now.get(chat['id'])!['assigned_operator_id']).toBe(gone ? null : had)
  }
  const open = await run(`select c.id from chats c left join chat_assignments a on a.chat_id = c.id and a.released_at is null
    group by c.id, c.chat_state, c.assigned_operator_id
    having count(a.id) <> (c.chat_state = 'assigned')::int or bool_or(a.operator_id <> c.assigned_operator_id)`)
  expect(open).toEqual([])
  expect(await run('select count(*)::int n, count(distinct version)::int d from rota.feed')).toMatchObject([{ n: expect.any(Number) }])
  expect((await run(`select count(*)::int n from rota.feed where table_name = 'chats'`))[0]).toEqual({ n: 500 })
})

test('the application that knows nothing of states goes on assigning and unassigning, with history and feed', async () => {
  await run(BEFORE)
  await move(migrate)
  const [chat] = await run(`select id from chats where chat_state = 'waiting_assignment' and is_active limit 1`)
  const [free] = await run(`select id from operators o where not exists (select from chats c where c.assigned_operator_id = o.id) limit 1`)
  const version = async () => BigInt((await run('select rota_version v from chats where id = $1', [chat!['id']]))[0]!['v'])
  const before = await version()
  await run('update chats set assigned_operator_id = $2 where id = $1', [chat!['id'], free!['id']])
  expect(await run('select chat_state, last_operator_id from chats where id = $1', [chat!['id']])).toEqual([{ chat_state: 'assigned', last_operator_id: free!['id'] }])
  expect(await version()).toBeGreaterThan(before)
  const other = await run(`select id from chats where chat_state = 'waiting_assignment' and is_active limit 1`)
  await expect(run('update chats set assigned_operator_id = $2 where id = $1', [other[0]!['id'], free!['id']])).rejects.toMatchObject({ code: 'RT001', detail: 'capacity-exceeded' })
  await run('update chats set assigned_operator_id = null where id = $1', [chat!['id']])
  expect(await run(`select operator_id, release_reason from chat_assignments where chat_id = $1 and release_reason is distinct from 'adopted' and operator_id = $2`, [chat!['id'], free!['id']])).toEqual([
    { operator_id: free!['id'], release_reason: 'by hand' },
  ])
  await run(`insert into chats (id, real_user_id, assigned_operator_id) values (gen_random_uuid(), gen_random_uuid(), $1)`, [free!['id']])
  expect(await run(`select chat_state from chats where assigned_operator_id = $1`, [free!['id']])).toEqual([{ chat_state: 'assigned' }])
})

test('what happened since is kept on the way back, and only what adopting had changed is given back', async () => {
  await run(BEFORE)
  await move(migrate)
  const [chat] = await run(`select id, subject from chats where chat_state = 'waiting_assignment' and is_active and last_operator_id::text like '9999%' limit 1`)
  const [free] = await run(`select id from operators o where not exists (select from chats c where c.assigned_operator_id = o.id) limit 1`)
  await run(`update chats set subject = 'Changed since' where id = $1`, [chat!['id']])
  await run('select rota.chat_by_hand($1, $2, $3, null)', [chat!['id'], 'claim', free!['id']])
  const made = await run('insert into chats (id, real_user_id, subject) values (gen_random_uuid(), gen_random_uuid(), $1) returning id', ['New'])
  await move(migrateDown)
  expect(await run('select subject, assigned_operator_id from chats where id = $1', [chat!['id']])).toEqual([{ subject: 'Changed since', assigned_operator_id: free!['id'] }])
  expect(await run('select subject from chats where id = $1', [made[0]!['id']])).toEqual([{ subject: 'New' }])
})

test('chats whose key is no uuid, and whose operators are nowhere, are adopted with the operators they name', async () => {
  await run(`create table chats (id bigint primary key, assigned_operator_id text, assigned_at timestamp);
    insert into chats select i, case when i < 4 then 'op-' || i end, null from generate_series(1, 12) i;
    grant select, update on chats to authenticated`)
  await move(migrate)
  expect(await run('select id, name from operators order by id')).toEqual([1, 2, 3].map((at) => ({ id: `op-${at}`, name: `op-${at}` })))
  await run(`update operators set capacity = 2; insert into operators (id, name) values ('op-9', 'Nine')`)
  const op = operation({ name: 'request_next', table: 'chats', key: '12', args: { operator: 'op-9' }, base: { chat_state: 'waiting_assignment', assigned_operator_id: null } })
  // No times at all: the tie goes by the key as text, so 10 is before 4.
  expect(await world.as('op-9').apply(op)).toMatchObject({ outcome: 'confirmed', chosen: '10', code: 'assigned-other' })
  expect(await run(`select assign_chat_to_operator('op-1') a, release_and_reassign_chat(10, 'by hand') b`)).toEqual([{ a: '11', b: true }])
  await move(migrateDown)
  expect(await run(`select count(*)::int n from information_schema.columns where table_name = 'chats'`)).toEqual([{ n: 3 }])
  expect(await run(`select to_regclass('operators') t`)).toEqual([{ t: null }])
})

test('what can not be adopted is refused in words, and nothing is left of the attempt', async () => {
  for (const [before, message] of [
    ['create table chats (number int primary key)', /no column id/],
    ['create table chats (id uuid, assigned_operator_id text); create table operators (id uuid primary key)', /must have one type, not text and uuid/],
    ['create table chats (id uuid)', /needs a primary key/],
    ['create view chats as select gen_random_uuid() id', /chats is not a table/],
    ['create table availability (id int primary key, user_id text, starts_at text)', /public\.availability has no column ends_at/],
    ['create table availability (id int primary key, user_id text, starts_at timestamptz, ends_at timestamptz)', /public\.availability\.starts_at is timestamp with time zone/],
    ['create table availability (id int, user_id text, starts_at text, ends_at text)', /needs a primary key/],
  ] as const) {
    const kit = await createWorld({ kit: false })
    await kit.owner.query(before)
    const client = await kit.owner.connect()
    await expect(migrate(client, [KIT])).rejects.toThrow(message)
    const left = (await client.query(`select to_regnamespace('rota') is null as nothing`)).rows[0]
    expect(left).toEqual({ nothing: true })
    client.release()
    await kit.close()
  }
})

test('slots of before are adopted as they are; those that can not be count no longer, and are listed with the reason', async () => {
  await run(BEFORE)
  const plain = await run('select * from availability order by id')
  await move(migrate)
  expect(await run('select code, count(*)::int n from rota.adoption_faults group by 1 order by 1')).toEqual([
    { code: 'empty-slot', n: 10 }, { code: 'invalid', n: 10 }, { code: 'overlap', n: 12 }, { code: 'reversed-slot', n: 10 },
  ])
  const bad = new Set((await run('select key from rota.adoption_faults')).map(({ key }) => key as string))
  const now = new Map((await run('select * from availability')).map((slot) => [slot['id'], slot]))
  expect(now.size).toBe(plain.length)
  for (const { is_active: was, ...slot } of plain)
    expect(now.get(slot['id'])).toMatchObject({ ...slot, time_zone: 'UTC', recurrence: null, is_active: was !== false && !bad.has(slot['id'] as string) })
  expect((await run(`select message from rota.adoption_faults where code = 'overlap' order by key limit 1`))[0]!['message']).toMatch(/^it overlaps with slot \d+ of the same person, first at 2026-03-\d\dT10:00:00Z$/)
  const [first] = plain
  expect(await run('select * from free_slots($1, $2, $3)', [first!['user_id'], '2026-03-02T00:00Z', '2026-03-03T00:00Z'])).toEqual([
    { slot_id: '1', starts_at: new Date('2026-03-02T09:00Z'), ends_at: new Date('2026-03-02T12:00Z') },
  ])
  expect(await run('select who_is_free($1, $2) who', ['2026-03-02T10:00Z', '2026-03-02T11:30Z'])).toEqual([{ who: first!['user_id'] }])
  expect((await run(`select count(*)::int n from rota.feed where table_name = 'availability'`))[0]).toEqual({ n: plain.length })
})

test('the application goes on with its slots: what is put right counts again, and what can not be is refused whoever writes', async () => {
  await run(BEFORE)
  await run('grant select, insert, update, delete on availability to authenticated; grant usage on all sequences in schema public to authenticated')
  await move(migrate)
  const [reversed] = await run(`select key from rota.adoption_faults where code = 'reversed-slot' order by key limit 1`)
  const key = reversed!['key'] as string
  await run(`update availability set label = 'seen' where id = $1`, [key])
  await expect(run('update availability set is_active = true where id = $1', [key])).rejects.toMatchObject({ code: 'RT001', detail: 'reversed-slot' })
  const [slot] = await run(`select user_id, starts_at::date::text as day, to_char(ends_at, 'YYYY-MM-DD"T"HH24:MI') as ends_at from availability where id = $1`, [key])
  const right = operation({ name: 'patch', table: 'availability', key, base: { ends_at: slot!['ends_at'], is_active: false }, set: { ends_at: `${slot!['day']}T10:00`, is_active: true } })
  expect(await world.as(slot!['user_id']).apply(right)).toMatchObject({ outcome: 'confirmed', record: { is_active: true, starts_at: `${slot!['day']}T09:00:00` } })
  await run(`insert into availability (user_id, starts_at, ends_at) values ($1, '2026-12-01 09:00', '2026-12-01 10:00')`, [slot!['user_id']])
  await expect(run(`insert into availability (user_id, starts_at, ends_at) values ($1, '2026-12-01 09:30', '2026-12-01 11:00')`, [slot!['user_id']])).rejects.toMatchObject({ detail: 'overlap' })
  await move(migrateDown)
  expect(await run('select label, is_active, ends_at::text from availability where id = $1', [key])).toEqual([{ label: 'seen', is_active: true, ends_at: `${slot!['day']} 10:00:00` }])
  expect(await run(`select count(*)::int n from availability where starts_at = '2026-12-01 09:00'`)).toEqual([{ n: 1 }])
})

test('slots whose times are text and recur are adopted, in the zone that they name', async () => {
  await run(`create table availability (id text primary key, user_id text not null, starts_at text, ends_at text, time_zone text, recurrence jsonb, is_active boolean not null);
    insert into availability values ('a', 'maya', '2026-11-02T09:00', '2026-11-02T12:00', 'Europe/Berlin', '{"freq": "weekly", "byDay": ["MO"]}', true),
      ('b', 'maya', '2026-11-09T11:00', '2026-11-09T13:00', 'Europe/Berlin', null, true), ('c', 'maya', 'tomorrow', 'later', 'Europe/Berlin', null, true),
      ('d', 'maya', '2026-11-03T09:00', '2026-11-03T12:00', 'Europe/Atlantis', null, true), ('e', 'maya', '2026-11-03T09:00', '2026-11-03T12:00', 'UTC', '{"freq": "daily"}', false)`)
  const before = await run('select a::text from availability a order by id')
  await move(migrate)
  expect(await run('select key, code from rota.adoption_faults order by key')).toEqual([
    { key: 'b', code: 'overlap' }, { key: 'c', code: 'invalid' }, { key: 'd', code: 'unknown-zone' }, { key: 'e', code: 'invalid-recurrence' },
  ])
  expect(await run(`select slot_id from free_slots('maya', '2026-11-09T00:00Z', '2026-11-10T00:00Z')`)).toEqual([{ slot_id: 'a' }])
  await move(migrateDown)
  expect(await run('select a::text from availability a order by id')).toEqual(before)
})

test('each migration has a way back', () => {
  const files = readdirSync(KIT)
  for (const file of files.filter((name) => !name.endsWith('.down.sql'))) expect(files).toContain(file.replace('.sql', '.down.sql'))
})
