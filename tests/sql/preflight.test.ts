// Before anything is changed: shapes that can't be adopted without harm are refused in words, all at once, and nothing of the
// database is touched; shapes that can are let through.
import type { PoolClient } from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { migrate } from '../../www/server/migrate.js'
import { BEFORE, ROLES } from './populated.js'
import { createWorld, KIT, type World } from './world.js'

let world: World
let client: PoolClient
beforeEach(async () => {
  world = await createWorld({ kit: false })
  client = await world.owner.connect()
  await client.query(ROLES)
})
afterEach(async () => {
  client.release(true)
  await world.close()
})

const EVERYTHING = `select md5(string_agg(x, ',' order by x)) as all from (
  select c.oid::regclass::text || c.relkind::text || coalesce(c.relacl::text, '') as x from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname not in ('pg_catalog', 'pg_toast', 'information_schema', 'rota_migrations')
  union all select attrelid::regclass || attname from pg_attribute where attrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
  union all select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace
  union all select tgname from pg_trigger union all select nspname from pg_namespace where nspname <> 'rota_migrations') v`

/** What the kit says of this database, line by line. */
async function refusal(before: string): Promise<string[]> {
  if (before !== '') await client.query(before)
  const was = (await client.query(EVERYTHING)).rows[0]
  const said = await migrate(client, [KIT]).then(
    () => 'nothing',
    (cause: Error) => cause.message,
  )
  if (said === 'nothing') return []
  expect((await client.query(EVERYTHING)).rows[0]).toEqual(was)
  expect(said).toMatch(/^0000_rota_preflight\.sql.*can't be applied to this database yet, and has changed nothing:/s)
  return said.replace(/\. Nothing of this file was applied\.$/, '').split('\n- ').slice(1)
}

const OPERATORS = 'create table operators (id uuid primary key, name text);'
const CHATS = 'create table chats (id uuid primary key, assigned_operator_id uuid, is_active boolean default true);'
const LINES = 'create table chat_assignments (id bigserial primary key, chat_id uuid, operator_id uuid);'

for (const [shape, before, words] of [
  ['a table without id', 'create table chats (number int primary key)', /^public\.chats has no column id: rename its key/],
  ['ids that are no key', 'create table chats (id uuid)', /needs a primary key.*alter table public\.chats add primary key \(id\)/],
  ['columns of two types', 'create table chats (id uuid primary key, assigned_operator_id text);' + OPERATORS, /must have one type, not text and uuid: chats\.assigned_operator_id, operators\.id/],
  ['chats that are a view', 'create view chats as select gen_random_uuid() id', /public\.chats is not a table that stands alone, but a view/],
  ['operators that are a view', 'create table profiles (id uuid primary key, name text); create view operators as select id, name from profiles', /public\.operators is not a table.*but a view/],
  ['chats that are partitioned', 'create table chats (id uuid primary key) partition by hash (id)', /partitioned/],
  ['states that are too short', 'create table chats (id uuid primary key, chat_state varchar(20))', /chat_state is character varying\(20\), which can't hold 'waiting_real_user_reply': alter table public\.chats alter column chat_state type text/],
  ['states that are an enum of others', `create type mood as enum ('open', 'closed'); create table chats (id uuid primary key, chat_state mood)`, /chat_state is mood, which can't hold 'waiting_assignment'/],
  ['states that are a domain of others', `create domain mood as text check (value in ('open', 'closed')); create table chats (id uuid primary key, chat_state mood)`, /chat_state is mood, which can't hold/],
  ['a check that allows other states', `create table chats (id uuid primary key, chat_state text constraint moods check (chat_state in ('open', 'closed')))`, /the check moods of public\.chats does not let chat_state be 'waiting_assignment': alter table public\.chats drop constraint moods/],
  ['states of its own', `create table chats (id uuid primary key, chat_state text); insert into chats select gen_random_uuid(), s from unnest('{open,open,assigned}'::text[]) s`, /chat_state holds 'open' \(2 chats\), and a chat is one of waiting_assignment/],
  ['a default that is no state of a new chat', `create table chats (id uuid primary key, chat_state text default 'open')`, /has the default 'open'::text, and a new chat is waiting/],
  ['a state that is generated', `create table chats (id uuid primary key, closed boolean, chat_state text generated always as (case when closed then 'completed' else 'waiting_assignment' end) stored)`, /chat_state is generated/],
  ['is_active as a number', 'create table chats (id uuid primary key, is_active int)', /chats\.is_active is integer, and must be boolean/],
  ["operators' is_active as text", 'create table operators (id uuid primary key, is_active text)', /operators\.is_active is text, and must be boolean/],
  ['chats that always have an operator', 'create table chats (id uuid primary key, assigned_operator_id uuid not null)', /assigned_operator_id must be able to be null: alter table public\.chats alter column assigned_operator_id drop not null/],
  ['times that are none', 'create table chats (id uuid primary key, created_at text)', /created_at is text, and must be a timestamp/],
  ['a history that wants more than the kit knows', 'create table chat_assignments (id bigserial primary key, chat_id uuid, operator_id uuid, shift text not null)', /chat_assignments\.shift must be given a default, or be able to be null/],
  ['a history whose ids nobody gives', 'create table chat_assignments (id uuid primary key, chat_id uuid, operator_id uuid)', /chat_assignments\.id must be given a default.*set default gen_random_uuid\(\)/],
  ['a history of one line a chat', 'create table chat_assignments (id bigserial primary key, chat_id uuid constraint once unique, operator_id uuid)', /once lets public\.chat_assignments keep no history.*drop constraint once/],
  ['a history with few reasons', `create table chat_assignments (id bigserial primary key, chat_id uuid, operator_id uuid, release_reason text constraint why check (release_reason in ('done', 'timeout')))`, /the check why of public\.chat_assignments does not let release_reason be 'replied'/],
  ['a history with short reasons', 'create table chat_assignments (id bigserial primary key, chat_id uuid, operator_id uuid, release_reason varchar(40))', /release_reason is character varying\(40\), and must be text of at least 500/],
  ['a trigger that runs after all', `${CHATS} create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger zzz_last before insert on chats for each row execute function f()`, /the trigger zzz_last on public\.chats would run after the kit's own.*alter trigger zzz_last/],
  ['a table of the same name as the kit’s', 'create table assignment_history (id int)', /the kit needs the name of the table public\.assignment_history/],
  ['subscriptions of its own', 'create table push_subscriptions (id int)', /the kit needs the name of the table public\.push_subscriptions/],
  ['a table in place of a view', 'create table chat_state_summary (id int)', /the kit needs the name of the table public\.chat_state_summary/],
  ['a function of the same name as the kit’s', `create function complete_chat(chat uuid) returns void language sql as ''`, /the kit needs the name of the function complete_chat\(uuid\)/],
  ['ids with fractions', 'create table chats (id numeric primary key)', /public\.chats\.id can't be the key, as it is numeric, in which one number has several spellings.*alter column id type numeric\(20, 0\)/],
  ['ids of operators with fractions', `create domain price as numeric(10, 2); create table operators (id price primary key, name text)`, /public\.operators\.id can't be the key/],
  ['ids that are generated', `create table chat_assignments (number int, id int generated always as (number) stored primary key, chat_id uuid, operator_id uuid)`, /public\.chat_assignments\.id can't be the key, as it is generated/],
  ['ids that compare loosely', `create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false); create table chats (id text collate loose primary key)`, /takes values for equal that are spelt differently/],
  ['a key that is deferrable', 'create table chats (id uuid primary key deferrable)', /every unique index over id of public\.chats is deferrable.*replica identity full/],
  ['a version of another kind', 'create table chats (id uuid primary key, rota_version text)', /rota_version is text, and must be bigint/],
  ['slots at moments', 'create table availability (id uuid primary key, user_id uuid, starts_at timestamptz, ends_at timestamp)', /public\.availability\.starts_at is timestamp with time zone, and must be a local time: text or a timestamp without time zone: .*type timestamp using …/],
  ['slots with other columns', 'create table availability (id uuid primary key, user_id uuid, starts_at text, until text)', /public\.availability has no column ends_at: rename what it is called there/],
  ['slots that are a view', `create view availability as select 1 as id`, /public\.availability is not a table that stands alone, but a view/],
  ['slots without a key', `create table availability (id uuid, user_id uuid, starts_at text, ends_at text)`, /public\.availability needs a primary key/],
  ['slots whose ids have fractions', `create table availability (id numeric(10, 2) primary key, user_id uuid, starts_at text, ends_at text)`, /public\.availability\.id can't be the key/],
  ['slots with recurrences of text', `create table availability (id uuid primary key, user_id uuid, starts_at text, ends_at text, recurrence text)`, /public\.availability\.recurrence is text, and must be jsonb/],
  ['slots with switches of their own kind', `create domain switch as boolean; create table availability (id uuid primary key, user_id uuid, starts_at text, ends_at text, is_active switch)`, /public\.availability\.is_active is switch, and must be boolean/],
  ['slots with a trigger that runs after all', `create table availability (id uuid primary key, user_id uuid, starts_at text, ends_at text); create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger zzz_snap before insert or update on availability for each row execute function f()`, /the trigger zzz_snap on public\.availability would run after the kit's own/],
  ['an index of the same name', 'create table shop (id int); create index availability_days on shop (id)', /the kit needs the name of the index public\.availability_days/],
  ['an outbox of its own by the same name', `create function rota_outbox_done(ids bigint[]) returns void language sql as ''`, /the kit needs the name of the function rota_outbox_done\(bigint\[\]\)/],
  ['a schema of the same name', 'create schema rota', /the schema rota is somebody else's/],
] as const)
  test(`${shape}: refused, and what to do is said`, async () => {
    const lines = await refusal(before)
    expect(lines.join('\n')).toMatch(words)
    expect(lines).toHaveLength(1)
  })

test('a publication of somebody else: refused, and what to do is said', async () => {
  const role = `publisher_${Date.now()}`
  const database = (await client.query('select current_database() d')).rows[0].d as string
  await client.query(`create role ${role} superuser; set role ${role}; create publication supabase_realtime; reset role; create role ${role}_k createrole; grant create on database ${database} to ${role}_k; grant create on schema public to ${role}_k; set role ${role}_k`)
  expect(await refusal('')).toEqual([expect.stringMatching(/^the publication supabase_realtime belongs to publisher_\d+, and publisher_\d+_k can't add tables to it/)])
  await client.query(`reset role; alter publication supabase_realtime owner to current_user; drop owned by ${role}_k; drop role ${role}_k; drop role ${role}`)
})

test('where everybody may create objects in public, the first migration warns of it', async () => {
  const said: string[] = []
  client.on('notice', (notice) => void said.push(`${notice.severity} ${notice.message}`))
  await client.query('grant create on schema public to public')
  expect(await refusal('')).toEqual([])
  expect(said.filter((line) => line.startsWith('WARNING'))).toEqual([expect.stringMatching(/everybody may create objects in the schema public.*revoke create on schema public from public/)])
})

test('all that is in the way is said at once', async () => {
  const lines = await refusal(`create table chats (id uuid primary key, chat_state varchar(20), is_active int); create view operators as select 1 as id;
    create table chat_assignments (id uuid primary key, chat_id uuid unique, operator_id uuid); create table assignment_history (id int)`)
  expect(lines.map((line) => /public\.[\w.]+|chat_assignments_\w+/.exec(line)![0]).sort()).toEqual([
    'chat_assignments_chat_id_key', 'public.assignment_history', 'public.chat_assignments.id', 'public.chats.chat_state', 'public.chats.is_active', 'public.operators',
  ])
})

test('what is said to do lets the kit be applied', async () => {
  expect(await refusal(`create table chats (id uuid primary key, chat_state varchar(20) default 'open', is_active int); ${OPERATORS}
    create table chat_assignments (id uuid primary key, chat_id uuid unique, operator_id uuid); create table assignment_history (id int)`)).toHaveLength(6)
  await client.query(`alter table public.chats alter column chat_state type text; alter table public.chats alter column chat_state set default 'waiting_assignment';
    alter table public.chats alter column is_active type boolean using is_active <> 0; alter table public.chat_assignments drop constraint chat_assignments_chat_id_key;
    alter table public.chat_assignments alter column id set default gen_random_uuid(); alter table assignment_history rename to shop_history`)
  expect(await refusal('')).toEqual([])
})

test('times without a zone are taken in a session of UTC alone', async () => {
  await client.query(`set timezone = 'America/New_York'`)
  const [line, more] = await refusal('create table chats (id uuid primary key, created_at timestamp)')
  expect(line).toMatch(/created_at has no time zone, and this session's is America\/New_York.*type timestamptz using created_at at time zone 'America\/New_York'/)
  expect(more).toBeUndefined()
  await client.query(`set timezone = 'UTC'`)
  expect(await refusal('')).toEqual([])
})

test('a role that can not do all of it hears so first', async () => {
  const role = `shopkeeper_${Date.now()}`
  await client.query(`create role ${role}; grant create on database ${(await client.query('select current_database() d')).rows[0].d} to ${role};
    create table chats (id uuid primary key)`)
  await client.query(`set role ${role}`)
  expect((await refusal('')).join('\n')).toMatch(/may not create in the database and in the schema public[^]*public\.chats belongs to postgres, and shopkeeper_\d+ can't alter it: migrate as its owner/)
  await client.query(`reset role; grant create on schema public to ${role}; drop table chats; set role ${role}`)
  expect((await refusal('create table chats (id uuid primary key); alter table chats enable row level security; alter table chats force row level security')).join('\n')).toMatch(
    /^public\.chats forces row-level security on its owner.*alter table public\.chats no force row level security/,
  )
  await client.query(`reset role; drop owned by ${role}; drop role ${role}`)
})

test('shapes that can be adopted are let through', async () => {
  expect(await refusal(BEFORE)).toEqual([])
  for (const shape of [
    '',
    `${OPERATORS} ${CHATS} ${LINES}`,
    `create type state as enum ('waiting_assignment', 'assigned', 'waiting_real_user_reply', 'completed', 'archived');
     create table chats (id bigint primary key, chat_state state not null default 'waiting_assignment', is_active boolean, created_at timestamp default now(), assigned_at timestamp);
     create table operators (id text primary key, name varchar(100), role varchar(20), capacity smallint, is_active boolean);
     create table chat_assignments (id serial primary key, chat_id bigint references chats on update cascade, operator_id text, release_reason varchar(600));
     create unique index one_open on chat_assignments (chat_id) where released_at is null`.replace('release_reason varchar(600)', 'released_at timestamp, release_reason varchar(600)'),
    `create domain number as numeric(20, 0); create table chats (id number primary key, rota_version bigint, rota_op uuid); create table operators (id numeric, name text)`,
    `create table chats (id uuid primary key deferrable); alter table chats replica identity full; create table availability (id uuid unique not null, user_id text, starts_at varchar(30), ends_at timestamp, recurrence jsonb, is_active boolean);
       create function f() returns trigger language plpgsql as 'begin return new; end'; create trigger snap before insert or update on availability for each row execute function f(); create trigger zzz after insert on availability for each row execute function f()`,
    `create table chats (id uuid primary key, chat_state varchar(40) check (chat_state in ('waiting_assignment', 'assigned', 'waiting_real_user_reply', 'completed')), assigned_operator_id uuid,
       operator_replied_at timestamptz, last_operator_id uuid, check (chat_state <> 'assigned' or assigned_operator_id is not null)); create table operator_activity (operator_id uuid primary key)`,
  ]) {
    const other = await createWorld({ kit: false })
    const connection = await other.owner.connect()
    if (shape !== '') await connection.query(shape)
    await migrate(connection, [KIT])
    connection.release()
    await other.close()
  }
})
