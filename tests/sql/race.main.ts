// Sixty-four operators on as many connections empty a queue of chats at random: once undisturbed, to see how fast they are,
// and once while connections are killed and everything is looked at; then everything is counted. Beside it, in the same run,
// a plain SKIP LOCKED queue without any rule.
// Run with: cargo xtask race
import { mkdtempSync, rmSync, chmodSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { migrate } from '../../www/server/migrate.js'
import { startPostgres } from '../../www/server/postgres.js'
import { hlc, type Json, KIT, operationId } from './plain.js'

const { values: options } = parseArgs({
  options: { operators: { type: 'string', default: '64' }, chats: { type: 'string', default: '10000' }, seed: { type: 'string', default: '1' } },
})
const OPERATORS = Number(options.operators)
const CHATS = Number(options.chats)
const NOBODY = '00000000-0000-4000-8000-000000000000'

/** Mulberry32: the order in which connections are served is chance all the same, but what each decides is not. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
const draw = chance(Number(options.seed))
const operatorId = (at: number) => `cccccccc-0000-4000-8000-${String(at).padStart(12, '0')}`
const capacity = (at: number) => (at % 4 === 0 ? 3 : 1)
const pick = <T>(list: readonly T[]): T | undefined => list[Math.floor(draw() * list.length)]

const tally = new Map<string, number>()
const count = (what: string, more = 1) => tally.set(what, (tally.get(what) ?? 0) + more)
const heard = new Map<string, string>() // operation id → its answer, without what may differ
let chats = 0
const faults: string[] = []
const fault = (what: string) => {
  if (faults.length < 20) faults.push(what)
}

/** One person's connection, made anew whenever it dies. An operation without an answer is sent again, as it was. */
class Racer {
  #client: pg.Client | undefined
  pid = 0
  constructor(
    readonly url: string,
    readonly id: string,
  ) {}

  async #connected(): Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client
    const client = new pg.Client(this.url)
    client.on('error', () => undefined)
    await client.connect()
    this.pid = (await client.query('select pg_backend_pid() p')).rows[0].p
    await client.query('set role authenticated')
    await client.query(`select set_config('request.jwt.claims', $1, false)`, [JSON.stringify({ sub: this.id })])
    return (this.#client = client)
  }

  async apply(name: string, key: string, args: Json, base: Json): Promise<Json> {
    const op = { protocol: 1, id: operationId(), name, table: 'chats', key, args, set: {}, base, baseVersion: null, hlc: hlc(), tab: 'race', after: [] }
    for (;;) {
      try {
        const client = await this.#connected()
        const answer: Json = (await client.query('select apply_operation($1::jsonb) a', [JSON.stringify(op)])).rows[0].a
        if (answer['replayed']) count('answers that were lost and told again')
        if (answer['outcome'] !== 'retry') {
          count(`${name}: ${answer['code'] ?? answer['outcome']}`)
          heard.set(op.id, JSON.stringify({ ...answer, replayed: null, atMs: undefined }))
          return answer
        }
        count('told to retry')
        await sleep(5 + draw() * 20)
      } catch (cause) {
        if (!isCut(cause)) throw cause
        await this.cut()
        count('calls cut off')
      }
    }
  }

  async cut(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    await client?.end().catch(() => undefined)
  }
  /** Dies at this end: the server may or may not have decided. */
  break(): void {
    ;(this.#client as unknown as { connection?: { stream?: { destroy(): void } } } | undefined)?.connection?.stream?.destroy()
  }
}
const isCut = (cause: unknown) => /terminat|ECONNRESET|closed|not queryable|EPIPE|57P01/.test(`${(cause as Error).message} ${(cause as { code?: string }).code}`)

async function work(racer: Racer, at: number, replied: string[]): Promise<void> {
  let empty = 0
  while (empty < 3) {
    const asked = await racer.apply('request_next', NOBODY, { operator: racer.id }, { chat_state: 'waiting_assignment', assigned_operator_id: null })
    const mine = { chat_state: 'assigned', assigned_operator_id: racer.id }
    if (asked['outcome'] === 'confirmed') {
      empty = 0
      const chat = asked['chosen'] as string
      const dice = draw()
      if (dice < 0.3) {
        if ((await racer.apply('reply', chat, {}, mine))['outcome'] === 'confirmed') replied.push(chat)
      } else if (dice < 0.4) await racer.apply('release', chat, { reason: 'at random' }, mine)
      else if (dice < 0.55) await racer.apply('transfer', chat, { to: operatorId(Math.floor(draw() * OPERATORS)) }, mine)
      else if (dice < 0.6) await racer.apply('user_message', chat, {}, mine)
      else if (dice < 0.95) await racer.apply('complete', chat, {}, mine)
    } else if (asked['code'] === 'capacity-exceeded') {
      await settle(racer)
    } else if (asked['code'] === 'queue-empty') {
      empty += 1
      await sleep(20)
    } else fault(`operator ${at} asked for work and heard ${JSON.stringify(asked)}`)
    if (draw() < 0.3) {
      const chat = replied.splice(Math.floor(draw() * replied.length), 1)[0]
      if (chat !== undefined) await racer.apply(draw() < 0.5 ? 'user_message' : 'complete', chat, {}, { chat_state: 'waiting_real_user_reply', assigned_operator_id: null })
    }
  }
}

let look: pg.Pool
/** Ends what the operator has, as somebody who looks at their screen would. */
async function settle(racer: Racer): Promise<void> {
  const { rows } = await look.query(`select id from chats where assigned_operator_id = $1 and chat_state = 'assigned'`, [racer.id])
  for (const { id } of rows) await racer.apply('complete', id, {}, { chat_state: 'assigned', assigned_operator_id: racer.id })
}

async function hireOperators(): Promise<void> {
  await look.query(`insert into operators (id, name, capacity, role) select * from unnest($1::uuid[], $2::text[], $3::int[], $4::text[])`, [
    Array.from({ length: OPERATORS }, (_, at) => operatorId(at)),
    Array.from({ length: OPERATORS }, (_, at) => `Operator ${at}`),
    Array.from({ length: OPERATORS }, (_, at) => capacity(at)),
    Array.from({ length: OPERATORS }, (_, at) => (at < 4 ? 'supervisor' : 'operator')),
  ])
}

interface Phase {
  seconds: number
  assigned: number
  operations: number
}

/** A queue of chats, emptied once. */
async function race(url: string, disturbed: boolean): Promise<Phase> {
  await look.query(`insert into chats (created_at) select now() - i * interval '1 second' from generate_series(1, $1) i`, [CHATS])
  await look.query('analyze chats')
  chats += CHATS
  const before = { assigned: await assignments(), operations: heard.size }
  const racers = Array.from({ length: OPERATORS }, (_, at) => new Racer(url, operatorId(at)))
  const replied: string[] = []
  const over = new AbortController()
  const meanwhile = async (disturb: () => Promise<void>) => {
    while (!over.signal.aborted) await disturb()
  }
  const kill = async () => {
    await sleep(60 + draw() * 120)
    const victim = pick(racers)
    if (victim === undefined || over.signal.aborted) return
    if (draw() < 0.5) await look.query('select pg_terminate_backend($1)', [victim.pid])
    else victim.break()
    count('connections killed')
  }
  const lookAtAll = async () => {
    const began = performance.now()
    await watch()
    await sleep(Math.max(200, 20 * (performance.now() - began))) // else the looks would be most of what there is to do
  }
  const releaseIdle = async () => {
    await sleep(700)
    const { rows } = await look.query(`select * from release_idle_chats('1 second')`)
    count('released as idle', rows.length)
  }
  const disturbances = disturbed ? [kill, lookAtAll, releaseIdle].map(meanwhile) : []
  const started = performance.now()
  await Promise.all(racers.map((racer, at) => work(racer, at, replied)))
  const seconds = (performance.now() - started) / 1000
  over.abort()
  await Promise.all(disturbances)
  await drain(racers[0])
  await Promise.all(racers.map((racer) => racer.cut()))
  return { seconds, assigned: (await assignments()) - before.assigned, operations: heard.size - before.operations }
}

const assignments = async (): Promise<number> => (await look.query<{ n: number }>('select count(*)::int n from chat_assignments')).rows[0]?.n ?? 0

/** What came back into the queue after the last operator had gone. */
async function drain(racer: Racer | undefined): Promise<void> {
  if (racer === undefined) return
  await settle(racer)
  for (;;) {
    const { chosen } = await racer.apply('request_next', NOBODY, { operator: racer.id }, { chat_state: 'waiting_assignment', assigned_operator_id: null })
    if (chosen === undefined) return
    await racer.apply('complete', chosen, {}, { chat_state: 'assigned', assigned_operator_id: racer.id })
  }
}

/** What must hold at every moment. */
async function watch(): Promise<void> {
  const { rows } = await look.query(`
    select 'above capacity: ' || o.name as what from operators o join chats c on c.assigned_operator_id = o.id and c.chat_state = 'assigned' group by o.id having count(*) > o.capacity
    union all select 'two operators: ' || chat_id from chat_assignments where released_at is null group by chat_id having count(*) > 1
    union all select 'chat and history differ: ' || c.id from chats c left join chat_assignments a on a.chat_id = c.id and a.released_at is null
      where a.operator_id is distinct from c.assigned_operator_id
    union all select 'lost: ' || count(*) from chats having count(*) <> ${chats}`)
  count('looks at all of it')
  for (const { what } of rows) fault(what)
}

/** What must hold in the end: ledger, history, feed and what each operator heard agree. */
async function audit(): Promise<void> {
  await watch()
  const checks: [string, string][] = [
    ['an assignment that the ledger does not confirm', `select a.operation from chat_assignments a left join rota.ledger l on l.id = a.operation and l.answer ->> 'outcome' = 'confirmed' where l.id is null`],
    ['an operation that was confirmed and is not in the history once', `select l.id from rota.ledger l left join chat_assignments a on a.operation = l.id
      where l.answer ->> 'outcome' = 'confirmed' and (l.op ->> 'name' = 'request_next' or l.op ->> 'name' = 'transfer' and l.op #>> '{args,to}' <> l.actor) group by l.id having count(a.id) <> 1`],
    ['an end of an assignment without its operation', `select x from (select
      (select count(*) from chat_assignments where release_reason = 'replied') - (select count(*) from rota.ledger where op ->> 'name' = 'reply' and answer ->> 'outcome' = 'confirmed') as x) d where x <> 0`],
    ['assignments of one chat that overlap', `select a.chat_id from (select chat_id, released_at, lead(assigned_at) over (partition by chat_id order by assigned_at) as next_at from chat_assignments) a where a.next_at < a.released_at or a.next_at is not null and a.released_at is null`],
    ['a feed entry of another version than its row', `select c.id from chats c join rota.feed f on f.table_name = 'chats' and f.key = c.id::text where f.version <> c.rota_version or f.deleted`],
    ['an entry of the ledger without an answer', `select id from rota.ledger where answer is null`],
    ['a chat that still waits', `select id from chats where chat_state = 'waiting_assignment' and is_active`],
    ['activity of a chat that is not assigned', `select a.chat_id from operator_activity a left join chats c on c.id = a.chat_id and c.assigned_operator_id = a.operator_id where c.id is null`],
  ]
  for (const [what, query] of checks) {
    const { rows } = await look.query(query)
    if (rows.length > 0) fault(`${what}: ${rows.length}, such as ${JSON.stringify(rows[0])}`)
  }
  const { rows } = await look.query<{ id: string; answer: Json }>('select id, answer from rota.ledger')
  const ledger = new Map(rows.map(({ id, answer }) => [id, JSON.stringify({ ...answer, replayed: null })]))
  for (const [id, answer] of heard) if (ledger.get(id) !== answer) fault(`somebody heard what the ledger does not say: ${answer}`)
  for (const id of ledger.keys()) if (!heard.has(id)) fault(`an operation in the ledger that nobody heard of: ${id}`)
}

/** The same number of connections and chats, two statements a chat, and nothing else. */
async function plainQueue(url: string): Promise<number> {
  await look.query(`create table plain_queue (id uuid primary key default gen_random_uuid(), state text not null default 'waiting', owner uuid, created_at timestamptz);
    create index on plain_queue (created_at) where state = 'waiting'`)
  await look.query(`insert into plain_queue (created_at) select now() - i * interval '1 second' from generate_series(1, $1) i`, [CHATS])
  await look.query('analyze plain_queue')
  const started = performance.now()
  await Promise.all(
    Array.from({ length: OPERATORS }, async (_, at) => {
      const client = new pg.Client(url)
      await client.connect()
      for (;;) {
        const { rows } = await client.query(
          `update plain_queue set state = 'assigned', owner = $1 where id = (select id from plain_queue where state = 'waiting' order by created_at limit 1 for update skip locked) returning id`,
          [operatorId(at)],
        )
        if (rows.length === 0) break
        await client.query(`update plain_queue set state = 'done' where id = $1`, [rows[0].id])
      }
      await client.end()
    }),
  )
  return (performance.now() - started) / 1000
}

async function main(): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'rota-race-'))
  chmodSync(folder, 0o755) // PostgreSQL's user has to enter it
  const server = await startPostgres({ dataDir: path.join(folder, 'data') })
  try {
    const admin = new pg.Client(server.url)
    await admin.connect()
    const name = `rota_race_${process.pid}`
    await admin.query(`create database ${name}`)
    const url = new URL(server.url)
    url.pathname = `/${name}`
    look = new pg.Pool({ connectionString: url.href, max: 8 })
    look.on('error', () => undefined)
    const client = await look.connect()
    await migrate(client, [KIT])
    const version = (await client.query('show server_version')).rows[0].server_version
    client.release()
    console.log(`PostgreSQL ${version}: ${OPERATORS} operators on as many connections, ${CHATS} chats, seed ${options.seed}`)
    await hireOperators()
    const undisturbed = await race(url.href, false)
    const disturbed = await race(url.href, true)
    await audit()
    const { rows: states } = await look.query<{ chat_state: string; n: number }>('select chat_state, chats::int n from chat_state_summary')
    const plain = await plainQueue(url.href)
    for (const [what, times] of [...tally].sort()) console.log(`  ${String(times).padStart(7)}  ${what}`)
    console.log(`  in the end: ${states.map(({ chat_state, n }) => `${n} ${chat_state}`).join(', ')}`)
    console.log('  with all rules, history, feed and ledger:')
    for (const [what, phase] of [['undisturbed', undisturbed], ['with kills and looks', disturbed]] as const) {
      const { seconds, assigned, operations } = phase
      console.log(`    ${what}: ${assigned} assignments, ${operations} operations in ${seconds.toFixed(1)} s: ${(assigned / seconds).toFixed(0)} chats assigned a second, ${(operations / seconds).toFixed(0)} operations a second`)
    }
    // A chat of the plain queue is two statements, each a transaction, as each operation is one.
    const against = ({ seconds, operations }: Phase) => ((2 * CHATS) / plain / (operations / seconds)).toFixed(1)
    console.log(`  a plain SKIP LOCKED queue without rules: ${CHATS} in ${plain.toFixed(1)} s: ${(CHATS / plain).toFixed(0)} a second, ${((2 * CHATS) / plain).toFixed(0)} statements: ${against(undisturbed)} times as many as operations undisturbed, ${against(disturbed)} with kills and looks`)
    await look.end()
    await admin.query(`drop database ${name} with (force)`)
    await admin.end()
  } finally {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  for (const line of faults) console.error(`  ✗ ${line}`)
  console.log(faults.length === 0 ? '  no chat with two operators, none above capacity, no lost chat; ledger, history, feed and what was heard agree' : `  ${faults.length} faults`)
  process.exitCode = faults.length === 0 ? 0 : 1
}

await main()
