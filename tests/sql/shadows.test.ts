// Whoever may connect may make types, views and functions in a temporary schema of their own, and name them as they like. None of
// them comes before what the kit means, so nothing of theirs ever runs under the kit's rights.
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createWorld, insert, JONAS, operation, operationId, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

/** What runs triggers, policies and checks of the application's, which expect to find its tables. */
const FOR_THE_APPLICATION = 'search_path=public, pg_temp'
/** These write the application's tables under the kit's rights. */
const WRITERS = ['join_activity', 'join_assignment', 'note_activity', 'note_chat', 'note_truncate', 'record_operator_activity', 'stamp_owed', 'start_chat']

test('every pinned path says where the temporary schema comes: last, behind the catalogue', async () => {
  const { rows } = await world.owner.query(`select p.proname as name, p.prosecdef as definer, s.setting
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace left join lateral (select c as setting from unnest(p.proconfig) c where c like 'search_path=%') s on true
    where (n.nspname in ('rota', 'demo') or n.nspname = 'public' and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')) and p.prosqlbody is null order by 1`)
  expect(rows.length).toBeGreaterThan(100)
  const others = rows.filter(({ setting }) => setting !== 'search_path=pg_catalog, pg_temp')
  expect(others.filter(({ setting }) => setting !== FOR_THE_APPLICATION)).toEqual([])
  expect(others.filter(({ definer }) => definer as boolean).map(({ name }) => name as string)).toEqual(WRITERS)
})

const EVIL = `create temp table caught (place text, by text);
  create function pg_temp.evil(place text) returns boolean language plpgsql as $$ begin insert into pg_temp.caught values (place, current_user); return true; end $$;`
/** What a temporary schema can hold under a name that the kit uses. The functions cast to pg_catalog's own, or the trap would catch itself. */
const shadow = (kind: string, name: string) =>
  kind === 'type'
    ? `create domain pg_temp.${name} as pg_catalog.${name} check (pg_temp.evil('type ${name}'::pg_catalog.text));`
    : `create view pg_temp.${name} as select ${name === 'pg_attribute' ? 'attrelid, attname, attnum, atttypid, atttypmod, attnotnull, attisdropped, attgenerated' : 't.*'} from pg_catalog.${name} t where pg_temp.evil('view ${name}'::pg_catalog.text);`
const TYPES = ['jsonb', 'uuid', 'regclass', 'timestamptz', 'date', 'name', 'text']
const VIEWS = ['pg_class', 'pg_attribute', 'pg_index', 'pg_database', 'pg_timezone_names', 'pg_roles', 'pg_proc', 'pg_type', 'pg_trigger']

/** What ran as somebody else while a signed-in person made these calls in a session full of traps. */
async function caught(role: string, sets: readonly string[], calls: readonly (readonly [string, ...unknown[]])[], expected?: unknown): Promise<unknown[]> {
  const { rows: [{ d }] } = await world.owner.query('select current_database() d')
  const url = new URL((world.owner as unknown as { options: { connectionString: string } }).options.connectionString)
  expect(url.pathname).toBe(`/${d}`)
  const client = new pg.Client(url.href)
  await client.connect()
  try {
    await client.query(`set role ${role}; select set_config('request.jwt.claims', '{"sub": "${JONAS}", "role": "authenticated"}', false)`)
    await client.query(EVIL)
    for (const set of sets) await client.query(set)
    const answers = []
    for (const [text, ...values] of calls) {
      await client.query('begin')
      answers.push(await client.query(text, values as unknown[]).then(({ rows }) => rows, (cause: Error) => cause.message))
      await client.query('commit')
    }
    const { rows } = await client.query('select distinct place, by from pg_temp.caught where by <> current_user order by 1')
    if (expected !== undefined) expect(answers[0]).toEqual(expected)
    return rows.length === 0 ? [] : [...rows, ...answers]
  } finally {
    await client.end()
  }
}

test('a role that may only insert runs nothing of its own as the owner of the kit', async () => {
  const role = `writer_${Date.now()}`
  await world.owner.query(`create role ${role}; grant insert on companies to ${role}; grant usage on schema public to ${role}; create policy ${role} on companies for insert to ${role} with check (true)`)
  for (const type of TYPES)
    expect(await caught(role, [shadow('type', type)], [[`insert into public.companies (id, name, city, department) values ('c-77${TYPES.indexOf(type)}7', 'X', 'Y', 'Sales')`]], []), type).toEqual([])
  expect((await world.owner.query(`select count(*)::int n from companies where id like 'c-77%'`)).rows).toEqual([{ n: TYPES.length }])
  await world.owner.query(`drop owned by ${role}; drop role ${role}`)
})

test('nor does anybody signed in, whatever they call, or write by plain SQL', async () => {
  await world.owner.query(`insert into operators (id, name) values ('${JONAS}', 'Jonas') on conflict do nothing`)
  const { rows: [{ id: waiting }] } = await world.owner.query('insert into chats default values returning id')
  const claim = (name: string, args: object, base: object) => [`select public.apply_operation($1::pg_catalog.jsonb)`, JSON.stringify(operation({ name, table: 'chats', key: waiting, args, base }))] as const
  const calls = (n: string, seat: number): (readonly [string, ...unknown[]])[] => [
    ['select rota.incarnation()'],
    ['select public.rota_pull($1::pg_catalog.jsonb)', JSON.stringify({ protocol: 1, tables: ['companies', 'chats', 'availability', 'assignment_history'], cursor: null, pending: [operationId()] })],
    ['select public.apply_operation($1::pg_catalog.jsonb)', JSON.stringify(insert(`c-66${seat}6`, { name: 'S', city: 'Bonn', department: 'Sales' }))],
    claim('claim', { operator: JONAS }, { chat_state: 'waiting_assignment', assigned_operator_id: null }),
    [`select public.record_operator_activity('${waiting}')`],
    claim('release', { reason: 'lunch' }, { chat_state: 'assigned', assigned_operator_id: JONAS }),
    [`insert into public.availability (id, user_id, starts_at, ends_at, time_zone) values ('s-${n}', '${JONAS}', '2026-11-01T09:00', '2026-11-01T10:00', 'europe/nowhere')`],
    [`insert into public.availability (id, user_id, starts_at, ends_at, time_zone) values ('s-${n}', '${JONAS}', '2026-11-01T09:00', '2026-11-01T10:00', 'Europe/Berlin')`],
    [`delete from public.availability where id = 's-${n}'`],
    [`select * from public.free_slots('${JONAS}', now(), now() + interval '1 day')`],
    ['select * from public.who_is_free(now(), now() + interval \'1 hour\')'],
    ['select * from public.user_assignment_stats()'],
    [`select * from public.unassigned_records('companies')`],
    [`select public.save_push_subscription('https://push.example/${n}', 'key', 'auth')`],
    ['select * from public.get_assignment_queue_status()'],
    ['select * from public.detect_stuck_chats(1)'],
    ['select * from public.chat_state_summary'],
  ]
  for (const [kind, names] of [['type', TYPES], ['view', VIEWS]] as const)
    for (const name of names) expect(await caught('authenticated', [shadow(kind, name)], calls(`${kind}-${name}`, names.indexOf(name) + (kind === 'view' ? 10 : 0))), `${kind} ${name}`).toEqual([])
  expect((await world.owner.query(`select count(*)::int n from chat_assignments where release_reason = 'lunch'`)).rows).toEqual([{ n: TYPES.length + VIEWS.length }])
})
