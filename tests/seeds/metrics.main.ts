// Measures what the live interaction document promises, over a run with faults, on the real backend: how soon a change of
// status is seen by others, whether everybody ends with the same, how many operations on state fail, how many that met a
// fault are recovered, and how many conflicts are decided by the declared rules.
// Run with: cargo xtask metrics
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import type { Mutated } from 'rota-engine'
import { startPostgres } from '../../www/server/postgres.js'
import { openBackend, until, type Backend, type Session } from './backend.js'
import { tables } from './tables.js'

const { values: options } = parseArgs({ options: { updates: { type: 'string', default: '600' }, conflicts: { type: 'string', default: '100' } } })
const RECORDS = 40

/** What of a hundred conflicts are of which kind. Free text has no rule: there, a person decides. */
const MIX = { status: 34, tags: 26, seen_at: 20, meta: 16, note: 4 } as const

interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly wanted: string
  readonly holds: boolean
}
const figures: Figure[] = []
const figure = (name: string, value: number, unit: string, wanted: string, holds: boolean) => void figures.push({ name, value, unit, wanted, holds })
const percent = (part: number, of: number) => (of === 0 ? 0 : (100 * part) / of)

const key = (n: number) => `i-${1 + (n % RECORDS)}`
const change = ({ store }: Session, record: string, set: object): Mutated => store.mutate({ name: 'patch', table: 'interactions', key: record, set })

/** From the call to the moment at which somebody else's store shows it, one after the other. */
async function statusUpdates(from: Session, to: Session, count: number): Promise<void> {
  const took: number[] = []
  for (let n = 0; n < count; n += 1) {
    const [record, status] = [key(n), `live ${n}`]
    const seen = new Promise<number>((resolve) => {
      const stop = to.store.subscribe('interactions', record, () => {
        if (to.store.get('interactions', record)?.status !== status) return
        stop()
        resolve(performance.now())
      })
    })
    const made = performance.now()
    change(from, record, { status })
    took.push((await seen) - made)
  }
  took.sort((a, b) => a - b)
  const at = (share: number) => took[Math.min(took.length - 1, Math.floor(took.length * share))]!
  console.log(`status updates, seen by another person: median ${at(0.5).toFixed(1)} ms, 95 % ${at(0.95).toFixed(1)} ms, 99 % ${at(0.99).toFixed(1)} ms, slowest ${at(1).toFixed(1)} ms, of ${count}`)
  figure('status updates below 500 ms', percent(took.filter((ms) => ms < 500).length, count), '%', '100 %', at(1) < 500)
}

/** Everybody works while calls are cut, answers lost, frames dropped and repeated, and the gateway dies and comes back. */
async function faults(backend: Backend, sessions: Session[], count: number): Promise<void> {
  const made: { mutated: Mutated; session: Session; retried: boolean }[] = []
  const over = new AbortController()
  // A call that was cut shows as another try of its operation.
  const hit = new Set<string>()
  const watch = (async () => {
    while (!over.signal.aborted) {
      for (const { store } of sessions) for (const { id, tries } of store.operations().pending) if (tries > 0) hit.add(id)
      await sleep(2)
    }
  })()
  let outages = 0
  for (let n = 0; n < count; n += 1) {
    if (n % 20 === 0) Object.assign(backend.gateway().faults, { dropNextRest: 2, dropNextRestAnswer: 2, duplicateFrames: 3, dropFrames: n % 60 === 0 ? 1 : 0, delayRestMs: n % 100 === 0 ? 40 : 0 })
    if (n % 150 === 75) {
      for (const { store } of sessions) for (const { id } of store.operations().pending) hit.add(id)
      await backend.stop()
      outages += 1
      setTimeout(() => void backend.start(), 300)
    }
    const session = sessions[n % sessions.length]!
    // Each person has records of their own here: what is lost or repeated would be seen, and no conflict hides it.
    const record = `own-${n % sessions.length}-${Math.floor(n / sessions.length) % 10}`
    const mutated = change(session, record, { turn: n })
    if (session.store.status().link.state !== 'live') hit.add(mutated.id)
    made.push({ mutated, session, retried: false })
    await sleep(4)
  }
  await backend.start()
  for (const { store } of sessions) store.reconnect()
  const ends = await Promise.all(made.map(({ mutated }) => mutated.settled))
  over.abort()
  await watch
  const failed = ends.filter(({ outcome }) => outcome !== 'confirmed')
  const recovered = ends.filter(({ id, outcome }) => hit.has(id) && outcome === 'confirmed').length
  const met = ends.filter(({ id }) => hit.has(id)).length
  console.log(`${count} operations on state, ${outages} outages; ${met} met a fault: ${failed.length} failed, ${recovered} recovered`)
  figure('operations on state that failed', percent(failed.length, count), '%', 'below 1 %', percent(failed.length, count) < 1)
  figure('recovered of those that met a fault', percent(recovered, met), '%', 'above 99 %', met > 0 && percent(recovered, met) > 99)
}

/** Two people change the same field of the same record at the same moment, without having seen the other's. */
async function conflicts(one: Session, other: Session, count: number): Promise<void> {
  const kinds = Object.entries(MIX).flatMap(([kind, share]) => Array.from({ length: Math.round((share * count) / 100) }, () => kind as keyof typeof MIX))
  const value = (kind: keyof typeof MIX, who: string, n: number): object =>
    ({
      status: { status: `${who} ${n}` },
      tags: { tags: [`${who} ${n}`] },
      seen_at: { seen_at: new Date(1_763_715_600_000 + n * 1000 + (who === 'one' ? 1 : 2)).toISOString() },
      meta: { meta: { [who]: n, both: { [who]: n } } },
      note: { note: `${who} ${n}` },
    })[kind]
  const before = [one, other].map(({ store }) => store.audit().entries.length)
  for (const [n, kind] of kinds.entries()) {
    const record = key(n)
    const made = [change(one, record, value(kind, 'one', n)), change(other, record, value(kind, 'other', n))]
    await Promise.race([Promise.all(made.map(({ settled }) => settled)), sleep(3_000)])
    const isQuiet = () => [one, other].every(({ store }) => store.operations().pending.every(({ state }) => state === 'conflicted'))
    await until(isQuiet, 'what the rules decided is sent')
    const shown = ({ store }: Session) => tables.interactions.fields.map((field) => store.get('interactions', record)?.[field])
    const latest = () => isDeepStrictEqual(shown(one), shown(other))
    await until(() => latest() || one.store.conflicts().length + other.store.conflicts().length > 0, 'both see the same')
    // A person decides what no rule can, so that the next pair meets a settled record.
    for (const { store } of [one, other]) for (const { id } of store.conflicts()) await store.resolve(id, 'server')?.settled
    await until(latest, 'both see the same')
  }
  const entries = [one, other].flatMap(({ store }, at) => store.audit().entries.slice(before[at]))
  const byRule = entries.filter(({ by }) => by === null).length
  console.log(`${entries.length} conflicts from ${kinds.length} pairs (${Object.entries(MIX).map(([kind, share]) => `${kind} ${share} %`).join(', ')}): ${byRule} by rule, ${entries.length - byRule} by a person`)
  figure('conflicts decided by rule', percent(byRule, entries.length), '%', 'at least 95 %', entries.length >= kinds.length * 0.9 && percent(byRule, entries.length) >= 95)
}

/** Of all records in all stores, how many are as the database has them. */
async function agreement(backend: Backend, sessions: Session[]): Promise<void> {
  const rows = await backend.sql('select id, status, turn, tags, meta, note from interactions')
  const isSame = ({ store }: Session, row: Record<string, unknown>) => {
    const record = store.get('interactions', row['id'] as string) as Record<string, unknown> | undefined
    return record !== undefined && Object.keys(row).every((field) => isDeepStrictEqual(record[field], row[field]))
  }
  const same = () => sessions.reduce((sum, session) => sum + rows.filter((row) => isSame(session, row)).length, 0)
  await until(() => same() === rows.length * sessions.length, 'all agree', 20_000).catch(() => undefined)
  console.log(`${same()} of ${rows.length * sessions.length} records in ${sessions.length} stores are as the database has them`)
  figure('records in step', percent(same(), rows.length * sessions.length), '%', '100 %', same() === rows.length * sessions.length)
}

async function measure(backend: Backend): Promise<void> {
  const people = [await backend.person('Dana'), await backend.person('Pat'), await backend.person('Quinn')]
  await backend.sql(`insert into interactions (id, status, turn) select 'i-' || n, 'waiting', 0 from generate_series(1, $1) n`, [RECORDS])
  await backend.sql(`insert into interactions (id, status, turn) select 'own-' || p || '-' || n, 'waiting', 0 from generate_series(0, 3) p, generate_series(0, 9) n`)
  const sessions = await Promise.all([...people, people[0]!].map((person) => backend.session(person, { retry: { retryDelay: 100, maxRetries: 8 } })))
  await statusUpdates(sessions[0]!, sessions[1]!, 200)
  await faults(backend, sessions, Number(options.updates))
  await until(() => sessions.every(({ store }) => store.status().link.state === 'live'), 'all are live again', 60_000)
  Object.assign(backend.gateway().faults, { dropNextRest: 0, dropNextRestAnswer: 0, duplicateFrames: 0, dropFrames: 0, delayRestMs: 0 })
  await agreement(backend, sessions)
  await conflicts(sessions[0]!, sessions[1]!, Number(options.conflicts))
  await agreement(backend, sessions)
}

const folder = mkdtempSync(path.join(tmpdir(), 'rota-metrics-'))
chmodSync(folder, 0o755) // PostgreSQL's user has to enter it
const server = await startPostgres({ dataDir: path.join(folder, 'data') })
try {
  const backend = await openBackend(server.url)
  try {
    await measure(backend)
  } finally {
    await backend.close()
  }
} finally {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
}
console.log('')
for (const { name, value, unit, wanted, holds } of figures) console.log(`${holds ? 'holds ' : 'BROKEN'}  ${name.padEnd(36)} ${value.toFixed(2).padStart(7)} ${unit}   (${wanted})`)
process.exit(figures.every(({ holds }) => holds) ? 0 : 1)
