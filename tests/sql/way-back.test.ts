// The way back goes through whatever became of the tables meanwhile, and where only a part of the migrations was applied.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { migrate, migrateDown } from '../../www/server/migrate.js'
import { ROLES } from './populated.js'
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
const left = async () =>
  (await run(`select c.oid::regclass::text as name from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind <> 'i'
    union all select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'public'::regnamespace
    union all select tgname from pg_trigger where not tgisinternal union all select nspname from pg_namespace where nspname = 'rota' order by 1`)).map(({ name }) => name as string)
const columns = async (table: string) => (await run('select column_name as c from information_schema.columns where table_name = $1 order by ordinal_position', [table])).map(({ c }) => c as string)

const OWN = `create table availability (id uuid primary key default gen_random_uuid(), user_id uuid, starts_at text, ends_at text, is_active boolean);
  insert into availability (user_id, starts_at, ends_at, is_active) values (gen_random_uuid(), '2026-11-02T09:00', '2026-11-02T08:00', true)`

for (const [whose, before] of [
  ['the application’s', OWN],
  ['the kit’s', ''],
] as const) {
  test(`slots that were dropped meanwhile are no hindrance: ${whose}`, async () => {
    if (before !== '') await run(before)
    await move(migrate)
    await run('drop table availability cascade')
    await move(migrateDown)
    expect(await left()).toEqual([])
    await move(migrate)
  })
  test(`nor are slots that were renamed: ${whose} are kept`, async () => {
    if (before !== '') await run(before)
    await move(migrate)
    if (before === '') await run(`insert into availability (user_id, starts_at, ends_at, time_zone) values ('a', '2026-11-02T09:00', '2026-11-02T10:00', 'Europe/Berlin')`)
    await run('alter table availability rename to old_slots')
    await move(migrateDown)
    expect(await left()).toEqual(['old_slots'])
    expect(await run('select starts_at, is_active from old_slots')).toEqual([{ starts_at: '2026-11-02T09:00', is_active: true }])
    if (before !== '') expect(await columns('old_slots')).toEqual(['id', 'user_id', 'starts_at', 'ends_at', 'is_active'])
    await run(`insert into old_slots select * from old_slots where false`)
  })
}

test('nor are those that were moved to another schema', async () => {
  await run(`${OWN}; create policy read_all on availability for select using (true); grant select on availability to authenticated`)
  await move(migrate)
  await run('create schema shop; alter table availability set schema shop')
  await move(migrateDown)
  expect(await left()).toEqual([])
  expect(await run(`select has_table_privilege('authenticated', 'shop.availability', 'select') as may, (select count(*)::int from pg_policies where schemaname = 'shop') as policies`)).toEqual([{ may: true, policies: 1 }])
  await run('insert into shop.availability (user_id) values (null)')
})

test('one that is a view of another table by now stays one', async () => {
  await run(OWN)
  await move(migrate)
  await run('alter table availability rename to slots; create view availability as select id, user_id from slots')
  await move(migrateDown)
  expect(await left()).toEqual(['availability', 'slots'])
})

test('chats of before lose the kit’s triggers under the name that they have by now', async () => {
  await run('create table operator_activity (operator_id uuid, chat_id uuid, primary key (operator_id, chat_id))')
  await move(migrate)
  await run('alter table operator_activity rename to activity_of_before')
  await move(migrateDown)
  expect(await left()).toEqual(['activity_of_before'])
})

// Each way back by itself, also of what was never applied: as somebody does who has heard of an error and runs them all.
for (const applied of [8, 9, 10, 12])
  test(`all ways back in a row clear a database in which the first ${applied} were applied`, async () => {
    const files = readdirSync(KIT).filter((file) => file.endsWith('.sql')).sort()
    const read = (name: string) => readFileSync(path.join(KIT, name), 'utf8')
    for (const name of files.filter((file) => !file.endsWith('.down.sql') && Number(file.slice(0, 4)) <= applied)) await run(`begin; ${read(name)}; commit`)
    for (const name of files.filter((file) => file.endsWith('.down.sql')).reverse()) await run(`begin; ${read(name)}; commit`)
    expect(await left()).toEqual([])
  })
