// Tables as applications have them: odd column names, keys of every type, no primary key, numbers beyond a double's reach.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { callStatement } from '../../www/server/gateway/rest/rpc.js'
import { selectStatement } from '../../www/server/gateway/rest/select.js'
import { createWorld, insert, JONAS, MAYA, operation, type Json, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

const run = (text: string) => world.owner.query(text)
const me = () => world.as(JONAS)

test('a table whose columns are named like the aliases of a query is synced, read and changed like any other', async () => {
  await run(`create table odd (t text primary key, r text, there boolean, f int, s text, k text, c text, rota_row text, value text, key text, "row" text);
    grant select, insert, update, delete on odd to authenticated; insert into odd (t, r, there, f) values ('a', 'one', false, 1);
    select rota.sync_table('odd', '{t}', '{r,there,f,s,k,c,rota_row,value,key,row}', 'r')`)
  const whole = await me().pull({ tables: ['odd'] })
  expect(whole['records'].odd).toMatchObject([{ t: 'a', r: 'one', there: false, f: 1, rota_row: null }])
  const at = { table: 'odd', key: 'a' }
  const base = { r: 'one', there: false, rota_row: null, row: null }
  const set = { r: 'two', there: null, rota_row: 'x', row: 'y' }
  expect(await me().apply(operation({ ...at, base, set }))).toMatchObject({ outcome: 'confirmed', record: { t: 'a', ...set } })
  expect(await me().apply(operation({ ...at, name: 'assign', args: { to: 'z' }, base: { r: 'two' } }))).toMatchObject({ outcome: 'confirmed' })
  expect(await me().apply(operation({ ...at, name: 'insert', key: 'b', set: { t: 'b', r: 'b' } }))).toMatchObject({ outcome: 'confirmed' })
  expect(await me().apply(operation({ ...at, name: 'delete', base: { there: null, r: 'z' } }))).toMatchObject({ outcome: 'confirmed', record: null })
  const since = await me().pull({ tables: ['odd'], cursor: whole['cursor'] })
  expect(since).toMatchObject({ records: { odd: [{ t: 'b', r: 'b' }] }, gone: [{ table: 'odd', key: 'a' }] })
})

test('a select and a function of the gateway answer whole rows where a column is named like the query alias', async () => {
  await run(`create table aliases (r text, a int); insert into aliases values ('x', 1);
    create function some_aliases(a int) returns setof aliases language sql as 'select * from aliases where aliases.a = $1';
    create function some_texts() returns setof text language sql as $$ select 'x' $$`)
  const table = { name: 'aliases', columns: new Map([['r', 'text'], ['a', 'int']]) } as never
  const query = { columns: ['*'], filters: [], order: [], offset: 0 } as never
  const results: unknown[] = []
  for (const { text, values } of [
    selectStatement(table, query, 10),
    callStatement({ name: 'some_aliases', args: [{ name: 'a', type: 'int', required: true }], returnsSet: true } as never, ['a'], '{"a": 1}'),
    callStatement({ name: 'some_texts', args: [], returnsSet: true } as never, [], ''),
  ])
    results.push(JSON.parse(Object.values((await world.owner.query(text, values)).rows[0])[0] as string))
  expect(results).toEqual([[{ r: 'x', a: 1 }], [{ r: 'x', a: 1 }], ['x']])
})

const identity = async (table: string) =>
  (
    await run(`select c.relreplident as kind, (select indexrelid::regclass::text from pg_index i where i.indrelid = c.oid and i.indisreplident) as index
      from pg_class c where c.oid = '${table}'::regclass`)
  ).rows[0]

test('a table without a primary key, or with another one than its key, can be changed after it is synced, and its deletes carry the key', async () => {
  await run(`create table plain (code text not null, words text); create unique index plain_code on plain (code);
    create table other_key (id serial primary key, code text not null unique, words text);
    create table mute (code text primary key, words text); alter table mute replica identity nothing;
    create table told (code text primary key, words text); alter table told replica identity full`)
  for (const table of ['plain', 'other_key', 'mute', 'told']) {
    const before = await identity(table)
    await run(`select rota.sync_table('${table}', '{code}', '{words}'); select rota.sync_table('${table}', '{code}', '{}')`)
    const key = { plain: 'plain_code', other_key: 'other_key_code_key', mute: 'mute_pkey' }[table]
    expect(await identity(table)).toEqual(key === undefined ? { kind: 'f', index: null } : { kind: 'i', index: key })
    await run(`insert into ${table} (code, words) values ('a', '1'); update ${table} set words = '2'; delete from ${table}`)
    await run(`select rota.unsync_table('${table}')`)
    expect(await identity(table)).toEqual(before)
  }
  await run(`select rota.sync_table('plain', '{code}', '{}'); drop index plain_code; select rota.unsync_table('plain')`)
  expect(await identity('plain')).toEqual({ kind: 'd', index: null })
})

test('a key that the change stream could not carry is refused with a remedy', async () => {
  await run(`create table put_off (code text primary key deferrable)`)
  await expect(run(`select rota.sync_table('put_off', '{code}', '{}')`)).rejects.toMatchObject({
    code: '55000',
    hint: expect.stringContaining('replica identity full'),
  })
  await run(`alter table put_off replica identity full; select rota.sync_table('put_off', '{code}', '{}')`)
  await run(`create table half (code text not null, words text); create unique index on half (code, lower(words))`)
  await expect(run(`select rota.sync_table('half', '{code}', '{}')`)).rejects.toMatchObject({ code: '42830' })
})

test("one record has one key, whatever the writer's session is set to", async () => {
  await run(`create table moments (at timestamptz, raw bytea, x float8, span tsrange, primary key (at, raw, x, span), words text);
    grant select, insert, update, delete on moments to authenticated; set timezone = 'Asia/Tokyo';
    insert into moments values ('2026-11-01T10:00:00Z', '\\xab01', 0.1, '[2026-11-02,2026-11-03)', 'old'); reset timezone;
    select rota.sync_table('moments', '{at,raw,x,span}', '{words}')`)
  const key = '["2026-11-01T10:00:00+00:00","\\\\xab01","0.1","[\\"2026-11-02 00:00:00\\",\\"2026-11-03 00:00:00\\")"]'
  const { cursor } = await me().pull({ tables: ['moments'] })
  const odd = `set local timezone = 'America/New_York'; set local bytea_output = 'escape'; set local datestyle = 'German, DMY'; set local extra_float_digits = -5`
  await run(`begin; ${odd}; update moments set words = 'new'; commit`)
  const keys = await run(`select key from rota.feed where table_name = 'moments'`)
  expect(keys.rows).toEqual([{ key }])
  const settings: Json = { timezone: 'Asia/Tokyo', bytea_output: 'escape', datestyle: 'SQL, DMY', extra_float_digits: '-5' }
  const set = Object.keys(settings).map((name) => `set_config('${name}', '${settings[name]}', true)`)
  const op = operation({ table: 'moments', key, base: { words: 'new' }, set: { words: 'newer' } })
  const answer = (await me().sql(`select ${set.join(', ')}, null::jsonb as a union all select '', '', '', '', apply_operation($1)`, [op]))[1]!['a']
  expect(answer).toMatchObject({ outcome: 'confirmed', record: { at: '2026-11-01T10:00:00+00:00', raw: '\\xab01', words: 'newer' } })
  const request = { protocol: 1, tables: ['moments'], cursor, pending: [] }
  const seen = (await me().sql(`select ${set.join(', ')}, null::jsonb as a union all select '', '', '', '', rota_pull($1)`, [request]))[1]!['a']
  expect(seen).toMatchObject({ gone: [], records: { moments: [{ raw: '\\xab01', x: 0.1, words: 'newer' }] } })
  expect(seen['records'].moments).toHaveLength(1)
})

test('a numeric with a fraction can be no key, one without can', async () => {
  await run(`create domain price as numeric(8, 2); create table priced (amount price primary key); create table loose (amount numeric primary key);
    create table counted (amount numeric(20) primary key); grant select on counted to authenticated`)
  for (const table of ['priced', 'loose'])
    await expect(run(`select rota.sync_table('${table}', '{amount}', '{}')`)).rejects.toMatchObject({
      code: '42P16',
      message: expect.stringContaining('1.5 and 1.50'),
      hint: expect.stringContaining('numeric(20, 0)'),
    })
  await run(`select rota.sync_table('counted', '{amount}', '{}'); insert into counted values (12345678901234567890), (7)`)
  const { records, gone } = await me().pull({ tables: ['counted'], keys: { counted: ['12345678901234567890', '7'] } })
  expect(records.counted.map((row: Json) => row['amount']).sort()).toEqual(['12345678901234567890', 7])
  expect(gone).toEqual([])
})

test('two first calls of sync_table at the same moment both succeed', async () => {
  const fresh = await createWorld({ demo: false })
  try {
    await fresh.owner.query('drop publication supabase_realtime') // the kit's own tables had made it
    for (const table of ['one', 'two', 'three']) await fresh.owner.query(`create table ${table} (id int primary key)`)
    await Promise.all(['one', 'two', 'three'].map((table) => fresh.owner.query(`select rota.sync_table('${table}', '{id}', '{}'), pg_sleep(0.1)`)))
    expect((await fresh.owner.query('select count(*)::int n from pg_publication_tables')).rows).toEqual([{ n: 3 }])
  } finally {
    await fresh.close()
  }
})

test('a renamed table comes under its new name after sync_table, to old cursors too', async () => {
  await run(`create table before_name (id int primary key); grant select on before_name to authenticated; insert into before_name values (1);
    select rota.sync_table('before_name', '{id}', '{}')`)
  const { cursor } = await me().pull({ tables: ['before_name'] })
  await run(`alter table before_name rename to after_name; insert into after_name values (2)`)
  expect((await me().pull({ tables: ['before_name'], cursor }))['records'].before_name).toMatchObject([{ id: 2 }])
  await run(`select rota.sync_table('after_name', '{id}', '{}'); insert into after_name values (3)`)
  const { records, gone } = await me().pull({ tables: ['after_name'], cursor })
  expect(records.after_name.map((row: Json) => row['id']).sort()).toEqual([1, 2, 3])
  expect(gone).toEqual([])
  await expect(me().pull({ tables: ['before_name'] })).rejects.toMatchObject({ code: '42P01' })
  await run(`select rota.unsync_table('after_name')`)
  expect((await run(`select from rota.feed where table_name in ('before_name', 'after_name')`)).rowCount).toBe(0)
})

test("what can't be synced is refused in words: a generated key, a partitioned table, a table with children, a view", async () => {
  await run(`create table made (a int not null, b int generated always as (a + 1) stored primary key);
    create table split (id int primary key) partition by range (id); create table split_1 partition of split for values from (0) to (9);
    create table parent (id int primary key); create table child (primary key (id)) inherits (parent);
    create view companies_seen as select * from companies`)
  const refused = (table: string, key: string, code: string, words: string) =>
    expect(run(`select rota.sync_table('${table}', '{${key}}', '{}')`)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words),
      hint: expect.stringMatching(/./),
    })
  await refused('made', 'b', '42P16', 'generated column b')
  await refused('split', 'id', '0A000', 'partitioned')
  await refused('split_1', 'id', '0A000', 'partition')
  await refused('parent', 'id', '0A000', 'inherited')
  await refused('companies_seen', 'id', '42809', 'not a table')
})

test('an insert that ends in on conflict do nothing leaves the feed as if it had not been', async () => {
  await run(`create table quiet (id int primary key, code text unique, reader text); alter table quiet enable row level security;
    create policy own on quiet for select to authenticated using (reader is not null); grant select, delete on quiet to authenticated;
    create policy cut on quiet for delete to authenticated using (true);
    select rota.sync_table('quiet', '{id}', '{}'); insert into quiet values (1, 'a', null), (2, 'b', 'x'), (3, 'c', 'x'); delete from quiet where id = 3`)
  const feed = async () => (await run(`select key, version, deleted from rota.feed where table_name = 'quiet' order by key`)).rows as Json[]
  const before = await feed()
  const { cursor } = await me().pull({ tables: ['quiet'] })
  await run(`insert into quiet values (1, 'z', null) on conflict do nothing; insert into quiet values (3, 'a', null) on conflict do nothing`)
  expect(await feed()).toEqual(before)
  expect(await me().pull({ tables: ['quiet'], cursor })).toMatchObject({ records: {}, gone: [] })
  const { rows } = await run(`select rota_version from quiet where id = 1`)
  expect((await me().pull({ tables: [], keys: { quiet: ['1'] } }))['gone']).toEqual([{ table: 'quiet', key: '1', version: rows[0].rota_version }])
  await run(`insert into quiet values (4, 'a', null) on conflict do nothing`)
  expect(await me().apply(operation({ name: 'delete', table: 'quiet', key: '4' }))).toMatchObject({ outcome: 'confirmed', record: null })
  await run(`insert into quiet values (4, 'd', 'x'), (3, 'c', 'x'); insert into quiet values (2, 'b', 'y') on conflict (id) do update set reader = excluded.reader`)
  const { records } = await me().pull({ tables: ['quiet'], cursor })
  expect(records.quiet.map((row: Json) => row['id']).sort()).toEqual([2, 3, 4])
  expect((await run(`select from rota.feed f join quiet q on f.key = q.id::text and f.table_name = 'quiet' where f.version = q.rota_version and not f.deleted`)).rowCount).toBe(4)
})

test("a row that the table's own trigger deletes or changes right after its insert is in the feed as it ended", async () => {
  await run(`create table brief (id int primary key, words text); select rota.sync_table('brief', '{id}', '{}');
    create function brief_end() returns trigger language plpgsql as $$ begin
      if new.id = 1 then delete from brief where id = 1; else update brief set words = 'changed' where id = new.id; end if; return null; end $$;
    create trigger aaa after insert on brief for each row execute function brief_end(); insert into brief values (1), (2)`)
  const { rows } = await run(`select f.key, f.deleted, f.version = q.rota_version as same from rota.feed f left join brief q on q.id::text = f.key
    where f.table_name = 'brief' order by f.key`)
  expect(rows).toEqual([
    { key: '1', deleted: true, same: null },
    { key: '2', deleted: false, same: true },
  ])
})

test('a number that a client could not read travels as a string, at any depth, and comes back as what it is', async () => {
  await run(`create domain big as bigint; create domain money_like as numeric(30, 10); create type pair as (a bigint, b text);
    create table numbers (id int primary key, doc jsonb, text_doc json, many bigint[], amounts numeric[], one big, fine money_like, price numeric(12, 2),
      x float8, two pair, words text);
    grant select, insert, update, delete on numbers to authenticated;
    insert into numbers values (1, '{"a": [9007199254740993, 1], "9007199254740993": "say \\"9007199254740993\\" \\\\", "b": -12345678901234567890, "c": 0.1, "d": 1e-320}',
      '{"a": 9007199254740993}', '{9007199254740993,7}', '{1.5,0.12345678901234567890}', 9007199254740993, 12345678901234567890.5, 1234567890.50, 1e300,
      (9007199254740993, 'x'), '12345678901234567890');
    insert into numbers values (2, '[[]]', null, '{}', '{0.1234567890123456}', 9007199254740991, 0.5, 0.5, 0.30000000000000004, null, null);
    select rota.sync_table('numbers', '{id}', '{doc,text_doc,many,amounts,one,fine,price,x,two,words}')`)
  const sent = {
    doc: {
      a: ['9007199254740993', 1],
      '9007199254740993': 'say "9007199254740993" \\',
      b: '-12345678901234567890',
      c: 0.1,
      d: expect.stringMatching(/^0\.0{319}1$/),
    },
    text_doc: { a: '9007199254740993' },
    many: ['9007199254740993', 7],
    amounts: [1.5, '0.12345678901234567890'],
    one: '9007199254740993',
    fine: '12345678901234567890.5000000000',
    price: 1234567890.5,
    x: `1${'0'.repeat(300)}`,
    two: { a: '9007199254740993', b: 'x' },
    words: '12345678901234567890',
  }
  const rows = (await me().pull({ tables: ['numbers'] }))['records'].numbers.sort((a: Json, b: Json) => a['id'] - b['id'])
  expect(rows[0]).toMatchObject(sent)
  expect(rows[1]).toMatchObject({ doc: [[]], text_doc: null, many: [], amounts: [0.1234567890123456], one: 9007199254740991, fine: 0.5, x: 0.30000000000000004 })
  const { id, rota_version: version, rota_op: _, ...seen } = rows[0]
  const at = { table: 'numbers', key: '1' }
  expect(await me().apply(operation({ ...at, base: seen, set: seen }))).toMatchObject({ outcome: 'confirmed', version, record: { id } })
  const changed = await me().apply(operation({ ...at, base: seen, set: { words: 'new', one: '9007199254740995', fine: '0.1234567891' } }))
  expect(changed).toMatchObject({ outcome: 'confirmed', record: { ...sent, words: 'new', one: '9007199254740995', fine: 0.1234567891 } })
  const late = { ...seen, doc: { ...seen.doc, a: ['9007199254740995', 1] }, words: 'new', one: '9007199254740995', fine: 0.1234567891 }
  expect(await me().apply(operation({ ...at, name: 'delete', base: late }))).toMatchObject({ outcome: 'conflicted', fields: ['doc'] })
  expect(await me().apply(operation({ ...at, name: 'delete', base: { ...late, doc: seen.doc } }))).toMatchObject({ outcome: 'confirmed', record: null })
})

test('a document that nests a thousand lists around a big number is still answered', async () => {
  await run(`create table deep (id int primary key, doc jsonb); grant select on deep to authenticated; select rota.sync_table('deep', '{id}', '{}');
    insert into deep values (1, (repeat('[', 1000) || '9007199254740993' || repeat(']', 1000))::jsonb)`)
  const [row] = (await me().pull({ tables: ['deep'] }))['records'].deep
  expect(JSON.stringify(row.doc)).toBe(`${'['.repeat(1000)}"9007199254740993"${']'.repeat(1000)}`)
})

test('an insert into the demo without a name or a department is told what is missing', async () => {
  const tries: [Json, string][] = [
    [{ department: 'Sales' }, 'A new record needs a name.'],
    [{ name: 'Nobody & Sons', department: '' }, 'A new record needs a department.'],
    [{}, 'A new record needs a name and a department.'],
  ]
  for (const [set, message] of tries)
    expect(await world.as(MAYA).apply(insert('c-5001', set))).toMatchObject({ outcome: 'refused', code: 'invalid', message })
})
