// Chats that were there before the kit: what it makes of odd rows, that the application in use goes on working, and that
// the way back leaves everything as it was, byte by byte.
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
  ] as const) {
    const kit = await createWorld({ kit: false })
    await kit.owner.query(before)
    const client = await kit.owner.connect()
    await expect(migrate(client, [KIT])).rejects.toThrow(message)
    expect((await client.query(`select to_regclass('rota.adopted') t, to_regclass('chat_assignments') a`)).rows[0]).toEqual({ t: null, a: null })
    client.release()
    await kit.close()
  }
})

test('each migration has a way back', () => {
  const files = readdirSync(KIT)
  for (const file of files.filter((name) => !name.endsWith('.down.sql'))) expect(files).toContain(file.replace('.sql', '.down.sql'))
})
