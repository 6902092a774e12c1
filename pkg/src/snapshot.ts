import { RotaError } from './errors.js'
import { keyFields, keyText, type Tables } from './tables.js'
import type { Key, Operations, Status } from './types.js'
import { plainObject } from './values.js'

/** The form of snapshots that this release writes. */
const FORM = 1

/**
 * What a server has seen of a store's records, for a browser to begin with: `store.snapshot()` there, `initialSnapshot` here. JSON-safe.
 * It holds confirmed records only, as the server's store was allowed to see them: it is for the person it names.
 */
export interface Snapshot {
  /** The form of the snapshot. */
  readonly v: number
  readonly app: string
  readonly user: string
  /** True when the server's store had fetched everything. */
  readonly ready: boolean
  /** Of each table the records, each with its version. */
  readonly tables: Readonly<Record<string, readonly (readonly [version: string, record: object])[]>>
}

/** Writes a snapshot as JSON that may stand inside of a `<script>`: nothing in it can end the element, or begin another. */
export function escapeSnapshot(snapshot: Snapshot): string {
  return JSON.stringify(snapshot).replace(/[<>&\u2028\u2029]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** @internal What a store reads as on a server, and in a browser until what the server rendered was taken over: both render the same. */
export interface FirstReads {
  get(table: string, key: Key): object | undefined
  all(table: string): readonly object[]
  status(): Status
  operations(): Operations
}

/** @internal Nothing that only the one side knows is in it: whether there is a link, what is durable, what is unsent. */
export const FIRST_STATUS: Status = Object.freeze({
  role: 'follower',
  tabs: 'alone',
  link: Object.freeze({ state: 'offline', why: 'starting', sinceMs: 0 }),
  unsent: 0,
  dead: 0,
  conflicts: 0,
  durability: 'memory',
  ready: false,
})

/** @internal */
export const FIRST_OPERATIONS: Operations = Object.freeze({ pending: Object.freeze([]), recent: Object.freeze([]) })

/** @internal A snapshot that was read: nothing in it runs code, and what is in it is the store's own. */
export class InitialSnapshot {
  readonly #tables = new Map<string, { records: Map<string, object>; all: readonly object[] }>()
  /** Table, version and record of each, flat. */
  readonly flat: unknown[] = []
  readonly isReady: boolean

  /** Throws a {@link RotaError} for what is no snapshot of this application and person. */
  constructor(given: unknown, app: string, user: string, tables: Tables) {
    const { v, app: itsApp, user: itsUser, ready, tables: itsTables } = objectOf(given, 'initialSnapshot')
    if (v !== FORM) throw invalid(`initialSnapshot is of form ${String(v)}, and this release reads form ${FORM}`)
    if (itsApp !== app || itsUser !== user) {
      throw new RotaError('foreign-snapshot', 'initialSnapshot is of another application or person; nothing of it was taken')
    }
    if (typeof ready !== 'boolean') throw invalid('initialSnapshot does not say whether it is whole')
    this.isReady = ready
    const rows = objectOf(itsTables, 'initialSnapshot.tables')
    // Of tables that are not declared here, another release of the application knows.
    for (const [name, table] of Object.entries(tables)) if (Object.hasOwn(rows, name)) this.#readTable(name, keyFields(table), rows[name])
  }

  get(table: string, key: string): object | undefined {
    return this.#tables.get(table)?.records.get(key)
  }

  all(table: string): readonly object[] {
    return this.#tables.get(table)?.all ?? NOTHING
  }

  #readTable(name: string, key: readonly string[], rows: unknown): void {
    const records = new Map<string, object>()
    if (!Array.isArray(rows)) throw invalid(`initialSnapshot.tables.${name} is not a list`)
    for (const [index, row] of rows.entries()) {
      const place = `initialSnapshot.tables.${name}[${index}]`
      if (!Array.isArray(row) || typeof row[0] !== 'string') throw invalid(`${place} is not a version and a record`)
      const record = copied(row[1], place)
      const text = keyOf(key, record, place)
      if (records.has(text)) throw invalid(`${place} is a record that is there already`)
      records.set(text, record)
      this.flat.push(name, row[0], record)
    }
    this.#tables.set(name, { records, all: Object.freeze([...records.values()]) })
  }
}

/** @internal Makes a snapshot of what the engine says is confirmed: flat, table, version and record of each. `place` orders the records of a table. */
export function makeSnapshot(app: string, user: string, ready: boolean, tables: Tables, flat: readonly unknown[], place: (table: string, key: string) => number): Snapshot {
  const made = new Map(Object.keys(tables).map((name) => [name, [] as [string, object][]]))
  for (let at = 0; at < flat.length; at += 3) made.get(flat[at] as string)?.push([flat[at + 1] as string, flat[at + 2] as object])
  const listed = Object.entries(tables).map(([name, table]) => {
    const key = keyFields(table)
    const rows = (made.get(name) ?? []).map((row) => ({ row, place: place(name, keyOf(key, row[1], name)) }))
    // Records are listed as they are rendered, so that the browser renders them in this order, too.
    return [name, rows.sort((one, other) => one.place - other.place).map(({ row }) => row)] as const
  })
  return { v: FORM, app, user, ready, tables: Object.fromEntries(listed) }
}

const NOTHING: readonly object[] = Object.freeze([])

function keyOf(fields: readonly string[], record: object, place: string): string {
  try {
    return keyText(fields.map((field) => (record as Record<string, Key>)[field]) as unknown as Key)
  } catch {
    throw invalid(`${place} lacks a part of its key`)
  }
}

function copied(record: unknown, place: string): Record<string, unknown> {
  try {
    return plainObject(record, place)
  } catch (error) {
    throw invalid((error as Error).message)
  }
}

function objectOf(given: unknown, what: string): Record<string, unknown> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw invalid(`${what} is not an object`)
  return given as Record<string, unknown>
}

function invalid(what: string): RotaError {
  return new RotaError('invalid-snapshot', what)
}
