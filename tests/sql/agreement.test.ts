// Client and server keep the same rules: whatever is done, in whatever order, the engine predicts the record that the database
// then has, and refuses what it would refuse, with the same code. What a person can't see, the client leaves to the server;
// the few cases of that are named below, and nothing else is let through.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ChatWorld, createChatWorld, OWN, STRANGER } from './chatting.js'
import { type Predictor, startPredictor } from './predict.js'
import { Chance, chatTry, jobTry, OPERATORS, slotTry, type Try, waitingChat, ZONES } from './scenes.js'
import { type Json, operation } from './world.js'

const SEQUENCES = Number(process.env['AGREEMENT_SEQUENCES'] ?? 40)
const STEPS = 60
/** Fields that hold the time of the side that wrote them. */
const TIMES = new Set(['assigned_at', 'operator_replied_at', 'last_message_at', 'state_changed_at'])
const CHAT = ['id', 'chat_state', 'assigned_operator_id', 'last_operator_id', 'operator_replied_at', 'is_active', 'created_at', 'last_message_at', 'assigned_at', 'state_changed_at']
const TABLES = [
  { name: 'chats', key: ['id'], fields: CHAT, domain: { kind: 'chat', operators: 'operators' } },
  { name: 'operators', key: ['id'], fields: ['id', 'name', 'capacity', 'is_active', 'role', 'department'] },
  { name: 'jobs', key: ['id'], fields: ['id', 'owner_id'], owner: 'owner_id' },
  { name: 'availability', key: ['id'], fields: ['id', 'user_id', 'starts_at', 'ends_at', 'time_zone', 'recurrence', 'is_active', 'notes'], domain: { kind: 'availability' } },
]
/** The engine's words for what has another name on the wire. */
const CODES: Record<string, string> = { 'invalid-operation': 'invalid', 'unknown-record': 'not-found', 'record-exists': 'exists', 'unknown-field': 'invalid' }

let world: ChatWorld
let predictor: Predictor
let facts: Json
const counts: Record<string, number> = {}

beforeAll(async () => {
  predictor = await startPredictor()
  world = await createChatWorld()
  // Everybody sees all and may try all, so that only the rules decide.
  await world.owner.query(`create policy everybody on public.chats for all to authenticated using (true);
    create policy everybody on public.operators for select to authenticated using (true);
    grant insert on public.chats to authenticated;
    create table public.jobs (id text primary key, owner_id text); grant select, update on public.jobs to authenticated;
    select rota.sync_table('public.jobs', '{id}', '{owner_id}', 'owner_id')`)
  facts = Object.fromEntries(await Promise.all(ZONES.map(async (zone) => [`zone:${zone}`, await rulesOf(zone)])))
}, 600_000)
afterAll(async () => {
  predictor.close()
  await world.close()
})

/** A zone's rules over the years that matter here, read out of the database's own. */
async function rulesOf(zone: string): Promise<Json> {
  const { rows } = await world.owner.query(
    `select at, seconds from (select m, extract(epoch from m)::float8 * 1000 as at, extract(epoch from (m at time zone $1) - (m at time zone 'UTC'))::float8 as seconds,
       lag(extract(epoch from (m at time zone $1) - (m at time zone 'UTC'))) over (order by m) as before
     from generate_series('2025-01-01Z'::timestamptz, '2030-01-01Z', '30 minutes') m) s where before is distinct from seconds order by at`,
    [zone],
  )
  return { until: Date.UTC(2030, 0, 1), transitions: rows.map(({ at, seconds }) => [at, seconds]) }
}

/** The rows of each table as a client gets them, by `table/key`. */
async function rowsNow(): Promise<Map<string, Json>> {
  const { records } = await world.as(OPERATORS[0]!).pull({ tables: TABLES.map(({ name }) => name) })
  return new Map(Object.entries(records as Record<string, Json[]>).flatMap(([table, rows]) => rows.map((row): [string, Json] => [`${table}/${row['id']}`, declared(table, row)])))
}

/** The fields that a client has declared. */
const declared = (table: string, row: Json): Json => {
  const fields = TABLES.find(({ name }) => name === table)!.fields
  return Object.fromEntries(Object.entries(row).filter(([name]) => name.startsWith('rota_') || fields.includes(name)))
}
const toRow = ([at, row]: [string, Json]): Json => {
  const [table, key] = [at.slice(0, at.indexOf('/')), at.slice(at.indexOf('/') + 1)]
  return { table, key, version: row['rota_version'], op: null, record: Object.fromEntries(Object.entries(row).filter(([name]) => !name.startsWith('rota_'))) }
}
/** A record without what only its writer knows: each time is none, the one before, or a new one. */
const shape = (record: Json | null | undefined, before: Json | undefined): Json | null =>
  record
    ? Object.fromEntries(
        Object.entries(record)
          .filter(([name]) => !name.startsWith('rota_'))
          .map(([name, value]) => [name, TIMES.has(name) && value !== null ? (value === before?.[name] ? 'as before' : 'new') : value]),
      )
    : null

interface Scene {
  chance: Chance
  seed: number
  rows: Map<string, Json>
  /** How the rows were at some earlier moment. */
  earlier: Map<string, Json>
}

/** What the server says that no client with these rows could know. */
const isUnseen = (tried: Try, code: string): boolean => {
  const named = tried.command['args']?.['operator'] ?? tried.command['args']?.['to']
  return (code === 'unknown-operator' && !OPERATORS.includes(named)) || (code === 'forbidden' && tried.person === STRANGER)
}

async function step(scene: Scene, tried: Try, isStale: boolean, at: string): Promise<void> {
  const { person, command } = tried
  const seen = isStale ? scene.earlier : scene.rows
  const question = { user: person, seed: scene.chance.below(2 ** 31), nowMs: Date.now(), tables: TABLES, facts, seen: [...seen].map(toRow), now: isStale ? [...scene.rows].map(toRow) : [], command }
  const said = await predictor.ask(question)
  if (said['refused'] && isStale) return // a client does not send it
  const key: string = said['operation']?.key ?? command['key'] ?? command['set']?.id ?? '00000000-0000-4000-8000-000000000000'
  const row = scene.rows.get(`${command['table']}/${key}`)
  const base = command['table'] === 'chats' ? { chat_state: (row ?? OWN)['chat_state'], assigned_operator_id: (row ?? OWN)['assigned_operator_id'] } : { owner_id: row?.['owner_id'] ?? null }
  const byHand = { ...command, key, args: command['args'] ?? {}, set: command['set'] ?? {}, base: command['set'] ? Object.fromEntries(Object.keys(command['set']).map((field) => [field, row?.[field] ?? null])) : base }
  const answer = await world.as(person).apply(said['operation'] ?? operation(command['name'] === 'insert' || command['name'] === 'delete' ? { ...byHand, base: {} } : byHand))
  const now = await rowsNow()
  const told = JSON.stringify({ at, isStale, person, command, said, answer, row }, null, 1)
  const outcome = answer['outcome'] as string
  count(said['refused'] ? `refused as ${answer['code']}` : isStale ? `stale ${command['name']}: ${outcome}` : `${command['name']}: ${outcome}`)
  if (!said['refused']) count(`${isStale ? 'stale ' : ''}${command['name']} ${command['table']}: ${outcome}`)
  if (said['refused']) {
    expect(outcome, told).toBe('refused')
    // Of a record that it does not see, a client says so before it looks at what is to be done to it.
    const isNowhere = said['refused'] === 'unknown-record' && row === undefined
    if (!isUnseen(tried, answer['code']) && !isNowhere) expect(CODES[said['refused']] ?? said['refused'], told).toBe(answer['code'])
  } else if (outcome === 'confirmed') {
    const chosen = answer['chosen'] ?? key
    if (!isStale) expect(chosen, told).toBe(key)
    const is = shape(now.get(`${command['table']}/${key}`), row)
    // Of a chat that begins, the client predicts what it sets; with what else it begins is the table's.
    const isBegun = command['table'] === 'chats' && command['name'] === 'insert'
    if (chosen === key && isBegun) expect(is, told).toMatchObject(shape(said['record'], row)!)
    else if (chosen === key) expect(shape(said['record'], row), told).toEqual(is)
  } else if (outcome === 'conflicted') {
    expect(isStale, told).toBe(true)
    // A person's change goes on showing until the answer; a named operation that no longer applies is hidden before it.
    if (command['name'] !== 'patch') expect(shape(said['record'], row), told).toEqual(shape(row, row))
  } else {
    // Who saw the chats as they were may ask for what another rule refuses by now; never for what no such chat allowed.
    const later = ['capacity-exceeded', 'inactive', 'queue-empty', 'overlap', 'forbidden', 'not-found', 'exists']
    // Half of a slot that was right beside its other half of then can be wrong beside that of now.
    const halves = ['reversed-slot', 'empty-slot', 'invalid-recurrence', 'invalid']
    const isHalf = command['table'] === 'availability' && command['name'] === 'patch' && halves.includes(answer['code'])
    expect(isUnseen(tried, answer['code']) || (isStale && (later.includes(answer['code']) || isHalf)), told).toBe(true)
  }
  // What has not been written is as it was, on the server too.
  if (outcome !== 'confirmed') expect(now, told).toEqual(scene.rows)
  if (scene.chance.percent(20)) scene.earlier = scene.rows
  scene.rows = now
}

const count = (what: string) => (counts[what] = (counts[what] ?? 0) + 1)

async function sequence(seed: number): Promise<void> {
  const chance = new Chance(seed)
  await world.clear()
  await world.owner.query('delete from availability; delete from jobs')
  await world.owner.query(`insert into jobs select 'job-' || n from generate_series(1, 3) n`)
  for (let n = 1; n <= 3 + chance.below(5); n += 1) await world.chat(0, waitingChat(chance, `00000000-0000-4000-8000-0000000000${10 + n}`))
  const rows = await rowsNow()
  const scene: Scene = { chance, seed, rows, earlier: rows }
  for (let at = 0; at < STEPS; at += 1) {
    const of = (table: string) => [...scene.rows].filter(([key]) => key.startsWith(`${table}/`)).map(([, row]) => row)
    const which = chance.below(10)
    // Where chats begin all the time, the queue is never empty.
    const next = seed % 2 === 1 ? `00000000-0000-4000-8000-0000000001${String(at).padStart(2, '0')}` : undefined
    const tried = which < 5 ? chatTry(chance, of('chats'), next) : which < 6 ? jobTry(chance, of('jobs')) : slotTry(chance, of('availability'), `slot-${at}`)
    await step(scene, tried, chance.percent(20), `seed ${seed}, step ${at}`)
  }
}

test('any sequence of domain operations gives the same record in the engine and in SQL, and the same refusals', async () => {
  const first = Number(process.env['AGREEMENT_SEED'] ?? 0)
  for (let seed = first; seed < first + SEQUENCES; seed += 1) await sequence(seed)
  if (process.env['AGREEMENT_TELL']) console.log(counts)
  // A run in which something was never tried would show nothing about it.
  for (const name of ['claim', 'request_next', 'reply', 'user_message', 'release', 'unassign_chat', 'transfer', 'complete', 'assign', 'insert', 'patch', 'delete']) {
    expect(counts[`${name}: confirmed`] ?? 0, name).toBeGreaterThan(0)
  }
  for (const tried of ['insert chats: confirmed', 'stale patch availability: confirmed', 'stale patch availability: conflicted', 'stale insert availability: refused']) expect(counts[tried] ?? 0, tried).toBeGreaterThan(0)
  for (const code of ['invalid', 'illegal-transition', 'forbidden', 'inactive', 'capacity-exceeded', 'queue-empty', 'overlap', 'unknown-zone', 'reversed-slot', 'empty-slot', 'invalid-recurrence', 'not-found']) {
    expect(counts[`refused as ${code}`] ?? 0, code).toBeGreaterThan(0)
  }
}, 300_000)
