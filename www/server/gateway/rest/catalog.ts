/**
 * What schema `public` holds, read from PostgreSQL's own catalog: tables with their columns, functions with their
 * arguments. Nothing a client names reaches a statement before it has been found here.
 */

import type { Database } from '../database.js'

export interface Table {
  name: string
  columns: ReadonlySet<string>
}

export interface SqlFunction {
  name: string
  /** Input arguments in order; `type` is safe to write into a statement. */
  args: readonly { name: string; type: string; required: boolean }[]
  returnsSet: boolean
  returnsVoid: boolean
}

/** Long enough to spare a query a request, short enough that a migration is seen at once by a person. */
const FRESH_MS = 2_000
const ENTRIES_MAX = 500

interface Entry {
  value: unknown
  readAt: number
}

export class Catalog {
  readonly #entries = new Map<string, Entry>()

  constructor(readonly db: Database) {}

  table(name: string): Promise<Table | undefined> {
    return this.#cached(`table ${name}`, async () => {
      const { rows } = await this.db.query<{ columns: string[] }>(
        `select array(select attname::text from pg_attribute
           where attrelid = c.oid and attnum > 0 and not attisdropped order by attnum) as columns
         from pg_class c where c.relnamespace = 'public'::regnamespace and c.relname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f')`,
        [name],
      )
      return rows[0] && { name, columns: new Set(rows[0].columns) }
    })
  }

  /** All overloads of a name; empty when there is none. */
  async functions(name: string): Promise<SqlFunction[]> {
    const found = await this.#cached(`function ${name}`, async () => {
      const { rows } = await this.db.query<FunctionRow>(
        `select p.proretset as returns_set, p.prorettype = 'void'::regtype as returns_void, p.pronargs as inputs,
           p.pronargdefaults as defaults, coalesce(p.proargnames, '{}') as names,
           array(select format_type(t.oid, null) from unnest(p.proargtypes::oid[]) with ordinality as t(oid, n) order by n) as types,
           p.proargmodes::text[] as modes
         from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname = $1 and p.prokind = 'f' and p.provariadic = 0`,
        [name],
      )
      return rows.map((row) => toFunction(name, row))
    })
    return found ?? []
  }

  /** After an error that says the catalog has moved on. */
  forget(): void {
    this.#entries.clear()
  }

  async #cached<T>(key: string, read: () => Promise<T | undefined>): Promise<T | undefined> {
    const known = this.#entries.get(key)
    if (known !== undefined && performance.now() - known.readAt < FRESH_MS) return known.value as T
    const value = await read()
    // What is not there is not remembered: a table must be usable the moment it is made.
    if (value === undefined || (Array.isArray(value) && value.length === 0)) return value
    if (this.#entries.size >= ENTRIES_MAX) this.#entries.clear()
    this.#entries.set(key, { value, readAt: performance.now() })
    return value
  }
}

interface FunctionRow {
  returns_set: boolean
  returns_void: boolean
  inputs: number
  defaults: number
  names: string[]
  types: string[]
  modes: string[] | null
}

function toFunction(name: string, row: FunctionRow): SqlFunction {
  const inputNames = row.modes === null ? row.names : row.names.filter((_, i) => row.modes?.[i] === 'i' || row.modes?.[i] === 'b')
  return {
    name,
    args: row.types.map((type, i) => ({ name: inputNames[i] ?? '', type, required: i < row.inputs - row.defaults })),
    returnsSet: row.returns_set,
    returnsVoid: row.returns_void,
  }
}
