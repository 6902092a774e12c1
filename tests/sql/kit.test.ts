// The kit as an installation: who may call what, what sync_table adds and takes away, the ledger's keeping, migrations.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { PoolClient } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { migrate, migrateDown } from '../../www/server/migrate.js'
import { resetDemo, seed } from '../../www/server/seed.js'
import { assign, createWorld, DEMO, hlc, JONAS, KIT, ledgerSize, MAYA, operationId, patch, TOMAS, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

const kitFiles = () => readdirSync(KIT).filter((name) => /^\d{4}_\w+\.sql$/.test(name)).sort()
const rejects = (work: Promise<unknown>, code: string) => expect(work).rejects.toMatchObject({ code })
const withClient = async <T>(of: World, work: (client: PoolClient) => Promise<T>): Promise<T> => {
  const client = await of.owner.connect()
  try {
    return await work(client)
  } finally {
    client.release()
  }
}

test('who has not signed in can call neither function, nor can a token without a person', async () => {
  for (const person of [world.as(null, 'anon'), world.as(JONAS, 'anon'), world.as(null), world.as('')]) {
    await rejects(person.apply(patch('c-0001', {}, {})), '42501')
    await rejects(person.pull(), '42501')
  }
  await rejects(world.as(null).apply(5), '42501')
  const { rows } = await world.owner.query(`select r.role, has_function_privilege(r.role, f.f, 'execute') may
    from (values ('anon'), ('authenticated')) r(role), (values ('apply_operation(jsonb)'), ('rota_pull(jsonb)')) f(f) order by 1, f.f`)
  expect(rows.map((row) => `${row.role} ${row.may}`)).toEqual(['anon false', 'anon false', 'authenticated true', 'authenticated true'])
})

test("clients reach neither the feed nor the kit's own tools", async () => {
  const calls = [
    'select * from rota.feed',
    'select * from rota.server',
    `select rota.unsync_table('companies')`,
    `select rota.sync_table('companies', '{id}', '{}')`,
    'select rota.prune_ledger()',
    `select rota.record_change('companies', 'c-0001', true)`,
    `delete from rota.ledger`,
    `update rota.ledger set actor = '${JONAS}'`,
    `insert into rota.tables select * from rota.tables`,
  ]
  for (const call of calls) await rejects(world.as(JONAS).sql(call), '42501')
})

test('no search path changes what a function of the kit means: it is pinned, or all names were looked up when it was made', async () => {
  const { rows } = await world.owner.query(`select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where (n.nspname in ('rota', 'demo') or p.proname in ('apply_operation', 'rota_pull')) and p.prokind = 'f' and p.prosqlbody is null and not coalesce(array_to_string(p.proconfig, ',') like '%search_path%', false)`)
  expect(rows).toEqual([])
  const { rows: entry } = await world.owner.query(
    `select proname, prosecdef, provolatile from pg_proc where proname in ('apply_operation', 'rota_pull') order by 1`,
  )
  expect(entry).toEqual([
    { proname: 'apply_operation', prosecdef: false, provolatile: 'v' },
    { proname: 'rota_pull', prosecdef: false, provolatile: 's' },
  ])
})

test('every object of the kit says in the database what it is', async () => {
  const own = await createWorld({ kit: false })
  // An application's own table, so that the kit needs one more of its own; and a table with an owner, for its triggers.
  await own.owner.query(`create table operator_activity (operator_id uuid primary key); comment on table operator_activity is 'x'; comment on column operator_activity.operator_id is 'x';
    comment on constraint operator_activity_pkey on operator_activity is 'x'; comment on index operator_activity_pkey is 'x'`)
  await withClient(own, (client) => migrate(client, [KIT]))
  await own.owner.query(`create schema shop; create table shop.things (id int primary key, owner_id text); select rota.sync_table('shop.things', '{id}', '{}', 'owner_id')`)
  const { rows } = await own.owner.query(`
    with ours as (select oid from pg_namespace where nspname in ('rota', 'public'))
    select 'schema' as what, 'rota' as name where obj_description('rota'::regnamespace, 'pg_namespace') is null
    union all select 'relation', c.oid::regclass::text from pg_class c where c.relnamespace in (select oid from ours) and c.relkind in ('r', 'v', 'S', 'i')
      and obj_description(c.oid, 'pg_class') is null
    union all select 'column', c.oid::regclass || '.' || a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where c.relnamespace in (select oid from ours) and c.relkind = 'r' and col_description(c.oid, a.attnum) is null
    union all select 'constraint', k.conname || ' on ' || k.conrelid::regclass from pg_constraint k where k.connamespace in (select oid from ours) and k.contype <> 'n'
      and obj_description(k.oid, 'pg_constraint') is null -- PostgreSQL itself names what is not null
    union all select 'function', p.oid::regprocedure::text from pg_proc p where p.pronamespace in (select oid from ours) and obj_description(p.oid, 'pg_proc') is null
    union all select 'trigger', t.tgname || ' on ' || t.tgrelid::regclass from pg_trigger t where not t.tgisinternal and obj_description(t.oid, 'pg_trigger') is null
    union all select 'policy', p.polname || ' on ' || p.polrelid::regclass from pg_policy p where obj_description(p.oid, 'pg_policy') is null
    order by 1, 2`)
  expect(rows.map(({ what, name }) => `${what} ${name}`)).toEqual([])
  await own.close()
})

test('the lines of the package’s README bring each migration to the Supabase CLI once, in order, and none of the ways back', () => {
  const readme = readFileSync(new URL('../../pkg/README.md', import.meta.url), 'utf8')
  const script = /```sh\n(for file[^`]*supabase[^`]*)```/.exec(readme)![1]!
  const folder = mkdtempSync(path.join(tmpdir(), 'rota-readme-'))
  mkdirSync(path.join(folder, 'supabase/migrations'), { recursive: true })
  mkdirSync(path.join(folder, 'node_modules/rota-engine'), { recursive: true })
  symlinkSync(KIT, path.join(folder, 'node_modules/rota-engine/sql'))
  execFileSync('sh', ['-c', script], { cwd: folder })
  const names = readdirSync(path.join(folder, 'supabase/migrations')).sort()
  expect(names.map((name) => name.slice(10))).toEqual(kitFiles())
  expect(readme).toContain(`\`0000_…\` to \`${kitFiles().at(-1)!.slice(0, 5)}…\``)
  expect(names.every((name) => /^\d{14}_\w+\.sql$/.test(name))).toBe(true)
  rmSync(folder, { recursive: true })
})

test('what is an application’s keeps its own words, and what the kit adds to it has some', async () => {
  const own = await createWorld({ kit: false })
  await own.owner.query(`create table chats (id uuid primary key, is_active boolean); comment on column chats.is_active is 'of the shop'; create table chat_assignments (id bigserial primary key)`)
  await withClient(own, (client) => migrate(client, [KIT]))
  const words = async (column: string) =>
    (await own.owner.query(`select col_description(attrelid, attnum) w from pg_attribute where attrelid = 'chats'::regclass and attname = $1`, [column])).rows[0].w
  expect([await words('id'), await words('is_active'), await words('chat_state') !== null, await words('rota_version') !== null]).toEqual([null, 'of the shop', true, true])
  await own.close()
})

test('nobody draws from a sequence of the kit, not even where sequences are granted to all by default', async () => {
  const own = await createWorld({ kit: false })
  await own.owner.query(`do $$ begin create role anon nologin; exception when duplicate_object or unique_violation then null; end $$;
    alter default privileges in schema public grant all on sequences to public, anon`)
  await withClient(own, (client) => migrate(client, [KIT]))
  const { rows } = await own.owner.query(`select c.oid::regclass::text as s, r.role from pg_class c cross join unnest('{anon,authenticated}'::text[]) r(role)
    where c.relkind = 'S' and c.relnamespace in ('public'::regnamespace, 'rota'::regnamespace) and has_sequence_privilege(r.role, c.oid, 'usage, select, update')`)
  expect(rows).toEqual([])
  await own.close()
})

test("one person's id sent by another, or with another operation, is a mismatch and changes nothing", async () => {
  await world.company('c-4001')
  const op = assign('c-4001', null, JONAS)
  const answer = await world.as(JONAS).apply(op)
  const before = await ledgerSize(world)
  for (const [person, other] of [
    [MAYA, op],
    [JONAS, { ...op, args: { to: MAYA } }],
    [JONAS, { ...op, after: [operationId()] }],
  ] as const) {
    const told = await world.as(person).apply(other)
    expect(told).toMatchObject({ outcome: 'refused', code: 'operation-mismatch', replayed: false })
    expect(told).not.toHaveProperty('record')
  }
  expect(await ledgerSize(world)).toBe(before)
  expect(await world.as(JONAS).apply({ ...op, trace: 'of a proxy' })).toEqual({ ...answer, replayed: true })
})

test('a person reads only the own entries of the ledger, and can change none', async () => {
  await world.company('c-4002')
  await world.as(MAYA).apply(patch('c-4002', { city: 'Bremen' }, { city: 'Kiel' }))
  const mine = await world.as(MAYA).sql('select actor from rota.ledger')
  expect(mine.length).toBeGreaterThan(0)
  expect(mine.every((entry) => entry['actor'] === MAYA)).toBe(true)
  expect(await world.as(TOMAS).sql('select * from rota.ledger')).toEqual([])
  await rejects(world.as(TOMAS).sql(`insert into rota.ledger (id, actor, op) values (gen_random_uuid(), $1, '{}')`, [MAYA]), '42501')
  expect(await world.as(MAYA).sql(`update rota.ledger set answer = '{"outcome":"forged"}' returning id`)).toEqual([])
})

test('the ledger forgets what is thirty days old, but no id that could still be sent', async () => {
  const old = Date.now() - 31 * 86_400_000
  const [both, youngId] = [operationId(old), operationId()]
  for (const id of [both, youngId])
    await world.owner.query(`insert into rota.ledger values ($1, $2, '{}', '{}', now() - interval '31 days')`, [id, JONAS])
  expect((await world.owner.query('select rota.prune_ledger() n')).rows[0].n).toBe('1')
  expect((await world.owner.query('select id from rota.ledger where id = any ($1)', [[both, youngId]])).rows).toEqual([{ id: youngId }])
  expect(await world.as(JONAS).apply(assign('c-4001', null, JONAS, { id: both, hlc: hlc(old) }))).toMatchObject({ code: 'expired' })
  await rejects(world.owner.query(`select rota.prune_ledger('1 day')`), '22023')
})

test('a table is synced, changed and unsynced without harm to its own columns, rows or triggers', async () => {
  await world.owner
    .query(`create schema shop; create table shop.things (id int primary key, label text); insert into shop.things select i, 'thing ' || i from generate_series(1, 500) i;
    create function shop.never() returns trigger language plpgsql as $$ begin raise exception 'the table''s own trigger ran'; end $$;
    create trigger never before update on shop.things for each row execute function shop.never()`)
  const look = async () =>
    (
      await world.owner.query(
        `select (select json_agg(t order by id) from shop.things t)::text as rows, (select json_agg(tgname order by tgname) from pg_trigger where tgrelid = 'shop.things'::regclass)::text as triggers`,
      )
    ).rows[0]
  const before = await look()
  await world.owner.query(`select rota.sync_table('shop.things', '{id}', '{label}'); select rota.sync_table('shop.things', '{id}', '{}')`)
  const { rows } = await world.owner.query(
    `select count(distinct t.rota_version)::int as n, count(*) filter (where f.version = t.rota_version)::int as same from shop.things t join rota.feed f on f.table_name = 'things' and f.key = t.id::text`,
  )
  expect(rows).toEqual([{ n: 500, same: 500 }])
  expect(
    (await world.owner.query(`select count(*)::int n from pg_publication_tables where pubname = 'supabase_realtime' and tablename = 'things'`))
      .rows[0].n,
  ).toBe(1)
  const {
    rows: [server],
  } = await world.owner.query('select incarnation from rota.server')
  await world.owner.query(`select rota.unsync_table('shop.things')`)
  expect(await look()).toEqual(before)
  expect((await world.owner.query('select incarnation from rota.server')).rows[0].incarnation).not.toBe(server.incarnation)
  expect((await world.owner.query(`select count(*)::int n from pg_publication_tables where tablename = 'things'`)).rows[0].n).toBe(0)
})

test('a wrong call of sync_table says what is wrong', async () => {
  await world.owner.query(`create schema other; create table other.companies (id text primary key); create table keyless (id int)`)
  const sync = (args: string) => world.owner.query(`select rota.sync_table(${args})`)
  await rejects(sync(`'keyless', '{id}', '{}'`), '42830')
  await rejects(sync(`'companies', '{id}', '{colour}'`), '42703')
  await rejects(sync(`'companies', '{id}', '{rota_version}'`), '42703')
  await rejects(sync(`'companies', '{id}', '{}', 'boss'`), '42703')
  await rejects(sync(`'other.companies', '{id}', '{}'`), '42710')
  await rejects(sync(`'companies', '{id}', '{}', null, 'lower(text)'`), '42883')
  await rejects(world.owner.query(`select rota.unsync_table('keyless')`), '42704')
})

test('a table that was dropped and made anew under its name can be synced again', async () => {
  for (const _ of [1, 2]) {
    await world.owner.query(
      `create table brief (id int primary key); grant select on brief to authenticated; insert into brief values (1); select rota.sync_table('brief', '{id}', '{}')`,
    )
    expect((await world.as(JONAS).pull({ tables: ['brief'] }))['records'].brief).toHaveLength(1)
    await world.owner.query('drop table brief')
  }
})

test('the way down leaves tables with their own rows and columns, and up again works', async () => {
  const own = await createWorld({ demo: false })
  await own.owner.query(`create table mine (id int primary key, label text); insert into mine values (1, 'one')`)
  const look = async () =>
    (
      await own.owner.query(
        `select (select json_agg(t) from mine t)::text as rows, (select count(*) from pg_trigger where tgrelid = 'mine'::regclass) as triggers`,
      )
    ).rows[0]
  const before = await look()
  await own.owner.query(`select rota.sync_table('mine', '{id}', '{label}')`)
  const files = await withClient(own, (client) => migrateDown(client, [KIT]))
  expect(files).toEqual(kitFiles().reverse())
  expect(await look()).toEqual(before)
  expect((await own.owner.query(`select count(*)::int n from pg_namespace where nspname = 'rota'`)).rows[0].n).toBe(0)
  expect((await own.owner.query(`select count(*)::int n from pg_proc where proname in ('apply_operation', 'rota_pull')`)).rows[0].n).toBe(0)
  expect(await withClient(own, (client) => migrate(client, [KIT, DEMO]))).toEqual([...kitFiles(), '0001_demo.sql'])
  expect(await withClient(own, (client) => migrateDown(client, [KIT, DEMO], 2))).toEqual(['0001_demo.sql', kitFiles().at(-1)])
  await own.close()
})

test('migrations apply once, also when two processes begin together, and a changed file is an error', async () => {
  const own = await createWorld({ demo: false })
  const dir = mkdtempSync(path.join(tmpdir(), 'rota-migrations-'))
  writeFileSync(path.join(dir, '0001_first.sql'), 'create table first_one (id int);')
  writeFileSync(path.join(dir, '0001_first.down.sql'), 'drop table first_one;')
  const both = await Promise.all([1, 2].map(() => withClient(own, (client) => migrate(client, [dir]))))
  expect(both.flat()).toEqual(['0001_first.sql'])
  writeFileSync(path.join(dir, '0002_second.sql'), 'create table second_one (id int);\nselect nonsense;')
  await expect(withClient(own, (client) => migrate(client, [dir]))).rejects.toThrow(/0002_second\.sql, line 2: column "nonsense" does not exist/)
  expect((await own.owner.query(`select to_regclass('second_one') t`)).rows[0].t).toBe(null)
  writeFileSync(path.join(dir, '0001_first.sql'), 'create table first_one (id bigint);')
  await expect(withClient(own, (client) => migrate(client, [dir]))).rejects.toThrow(/0001_first\.sql was changed after it was applied/)
  await withClient(own, (client) => migrateDown(client, [dir]))
  writeFileSync(path.join(dir, '0001_other.sql'), 'select 1')
  await expect(withClient(own, (client) => migrate(client, [dir]))).rejects.toThrow(/number 0001/)
  rmSync(dir, { recursive: true })
  await own.close()
})

test('the demo is seeded once and can be put back, touching only what differs', async () => {
  const own = await createWorld()
  const newest = async () => (await own.owner.query('select max(version) v from rota.feed')).rows[0].v
  const rows = async () =>
    (await own.owner.query(`select json_agg(to_jsonb(c) - 'rota_version' - 'rota_op' order by id)::text t from companies c`)).rows[0].t
  const [at, before] = [await newest(), await rows()]
  const made: string[] = []
  expect(await withClient(own, (client) => seed(client, async (_, user) => made.push(user.email)))).toBe(false)
  await withClient(own, resetDemo)
  expect([await newest(), made]).toEqual([at, []])
  await own.owner.query(
    `update companies set city = 'X', owner_id = null where id = 'c-0001'; delete from companies where id = 'c-0002'; insert into companies (id, name, department) values ('c-9999', 'New', 'Sales')`,
  )
  const changed = BigInt(await newest())
  await withClient(own, resetDemo)
  expect(await rows()).toBe(before)
  expect(BigInt(await newest()) - changed).toBeLessThan(10n)
  await own.close()
})

test('row-level security holds for plain SQL as it does for operations', async () => {
  await world.company('c-4003')
  const change = (person: string, set: string) => world.as(person).sql(`update companies set ${set} where id = 'c-4003' returning id`)
  expect(await change(TOMAS, `city = 'X'`)).toEqual([])
  await rejects(change(JONAS, `owner_id = '${TOMAS}'`), '42501')
  await rejects(change(JONAS, `department = 'Support'`), '42501')
  await rejects(change(JONAS, `rota_version = 1`), '42501')
  expect(await change(JONAS, `city = 'Kiel'`)).toEqual([{ id: 'c-4003' }])
  expect(await world.as(JONAS).sql(`delete from companies where id = 'c-4003' returning id`)).toEqual([])
  await rejects(world.as(JONAS).sql(`insert into companies (id, name, department) values ('c-4004', 'N', 'Sales')`), '42501')
  await rejects(world.as(null, 'anon').sql('select * from companies'), '42501')
})
