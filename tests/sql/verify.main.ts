// Applies, takes back and applies again every migration of the kit, on an empty database and on one with chats and slots in use,
// and says what it did; in each version of PostgreSQL that is asked for. With DATABASE_URL it does so in databases of its own on
// that server alone.
// Run with: cargo xtask sql
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { migrate, migrateDown } from '../../www/server/migrate.js'
import { startPostgres } from '../../www/server/postgres.js'
import { KIT } from './plain.js'
import { BEFORE, LOOK, ROLES } from './populated.js'
import { INSTALLED, programsOf } from './versions.js'

const { values: options } = parseArgs({ options: { postgres: { type: 'string', default: `15,${INSTALLED}` } } })

const faults: string[] = []
const say = (line: string) => console.log(`  ${line}`)
const check = (what: string, holds: boolean) => {
  say(`${holds ? '✓' : '✗'} ${what}`)
  if (!holds) faults.push(what)
}

async function applied(client: pg.Client): Promise<void> {
  for (const file of await migrate(client, [KIT])) say(`  applied ${file}`)
}
async function back(client: pg.Client): Promise<void> {
  for (const file of await migrateDown(client, [KIT])) say(`  took back ${file}`)
}
const look = async (client: pg.Client): Promise<string> => (await client.query(LOOK)).rows[0].all
const one = async (client: pg.Client, query: string): Promise<unknown> => Object.values((await client.query(query)).rows[0])[0]

async function onEmpty(client: pg.Client): Promise<void> {
  const nothing = `select (select count(*) from pg_class where relnamespace = 'public'::regnamespace) + (select count(*) from pg_proc where pronamespace = 'public'::regnamespace)
    + (select count(*) from pg_namespace where nspname = 'rota')`
  for (let turn = 0; turn < 2; turn += 1) {
    await applied(client)
    check('the queue status answers', (await one(client, 'select waiting from get_assignment_queue_status()')) === '0')
    await back(client)
    check('nothing is left of it', (await one(client, nothing)) === '0')
  }
  await applied(client)
}

async function onPopulated(client: pg.Client): Promise<void> {
  await client.query(BEFORE)
  const before = await look(client)
  say(`  ${await one(client, 'select count(*) from chats')} chats, ${await one(client, 'select count(*) from operators')} operators, ${await one(client, 'select count(*) from chat_assignments')} assignments, ${await one(client, 'select count(*) from availability')} slots of before`)
  await applied(client)
  const { rows } = await client.query('select chat_state, chats from chat_state_summary')
  say(`  states: ${rows.map(({ chat_state, chats }) => `${chats} ${chat_state}`).join(', ')}`)
  check('every chat is in the feed', (await one(client, `select count(*) from chats c join rota.feed f on f.table_name = 'chats' and f.key = c.id::text and f.version = c.rota_version`)) === '500')
  check('every assigned chat has one open line of history, and no other has', (await one(client, `select count(*) from chats c left join chat_assignments a on a.chat_id = c.id and a.released_at is null
    where a.operator_id is distinct from c.assigned_operator_id`)) === '0')
  say(`  slots that count no longer: ${await one(client, `select string_agg(n || ' ' || code, ', ' order by code) from (select code, count(*) n from rota.adoption_faults group by 1) f`)}`)
  check('every slot is in the feed', (await one(client, `select count(*) from availability a join rota.feed f on f.table_name = 'availability' and f.key = a.id::text and f.version = a.rota_version`)) === '112')
  check('nobody who was assigned before counts as silent', (await one(client, 'select count(*) from release_idle_chats()')) === '0')
  check("what depends on the application's own functions and views goes on", (await one(client, 'select n is not null from chats_at_a_glance')) === true)
  await back(client)
  check('given back byte by byte: rows, columns, indexes, constraints, triggers, policies, views, functions, comments', (await look(client)) === before)

  await applied(client)
  const operator = await one(client, `select o.id from operators o where not exists (select from chats c where c.assigned_operator_id = o.id) limit 1`)
  const chat = (await client.query('select assign_chat_to_operator($1) c', [operator])).rows[0].c
  await client.query('insert into chat_assignments (chat_id, operator_id) values ($1, $2)', [chat, operator])
  check("the application's own line of history is the line of the assignment", (await one(client, `select count(*) from chat_assignments where released_at is null and chat_id = '${chat}'`)) === '1')
  await client.query('select record_operator_reply($1)', [chat])
  await client.query('select record_user_message($1)', [chat])
  await client.query(`update chats set subject = 'changed since' where id = $1`, [chat])
  await back(client)
  check('what was changed since is still there', (await one(client, `select count(*) from chats where subject = 'changed since'`)) === '1')
  check('and no chat is missing', (await one(client, 'select count(*) from chats')) === '500')
  await applied(client)
}

async function onUnfit(client: pg.Client): Promise<void> {
  await client.query(`create table chats (id uuid primary key, chat_state varchar(20), is_active int); create view operators as select 1 as id;
    create table chat_assignments (id bigserial primary key, chat_id uuid unique, operator_id uuid); create table availability (id numeric primary key, user_id uuid, starts_at timestamptz, until text)`)
  const before = await one(client, `select string_agg(oid::regclass::text, ',' order by oid) from pg_class where relnamespace = 'public'::regnamespace`)
  const said = await applied(client).then(() => '', (cause: Error) => cause.message)
  check('all seven hindrances are named at once', said.split('\n- ').length === 8)
  check('and nothing was changed', (await one(client, `select string_agg(oid::regclass::text, ',' order by oid) from pg_class where relnamespace = 'public'::regnamespace`)) === before
    && (await one(client, `select to_regnamespace('rota') is null`)) === true)
}

async function verify(programs: string | undefined): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'rota-verify-'))
  chmodSync(folder, 0o755) // PostgreSQL's user has to enter it
  const server = await startPostgres({ dataDir: path.join(folder, 'data'), programs })
  const admin = new pg.Client(server.url)
  await admin.connect()
  try {
    console.log(`PostgreSQL ${await one(admin, 'show server_version')}`)
    for (const [words, work] of [['an empty database', onEmpty], ['a database with chats and slots in use', onPopulated], ['a database with what can not be adopted', onUnfit]] as const) {
      const name = `rota_verify_${process.pid}`
      await admin.query(`create database ${name}`)
      const url = new URL(server.url)
      url.pathname = `/${name}`
      const client = new pg.Client(url.href)
      await client.connect()
      await client.query(ROLES)
      console.log(`${words}:`)
      await work(client).finally(() => client.end())
      await admin.query(`drop database ${name} with (force)`)
    }
  } finally {
    await admin.end()
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<void> {
  const versions = process.env['DATABASE_URL'] ? [INSTALLED] : options.postgres.split(',')
  for (const major of versions) await verify(programsOf(major.trim()))
  console.log(faults.length === 0 ? 'all migrations go forward, back and forward again' : `${faults.length} faults`)
  process.exitCode = faults.length === 0 ? 0 : 1
}

await main()
