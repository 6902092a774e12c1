/**
 * Who may see which changed rows. Asks PostgreSQL itself, as the caller, by primary key: one query for all rows of one
 * table in one transaction and one set of claims, however many channels share those claims. Also describes tables.
 */

import pg from 'pg'
import type { Pgoutput } from 'pg-logical-replication'
import type { CallerIdentity, Database } from '../database.js'
import type { TextRow } from './filters.js'
import type { StreamColumn } from './values.js'

export interface StreamTable {
  oid: number
  schema: string
  name: string
  columns: StreamColumn[]
  /** In the order of the key; empty for a table without a primary key. */
  keyColumns: StreamColumn[]
}

export type Verdict =
  | { kind: 'unauthorized' }
  /** `visible[i]` belongs to the i-th row asked about. */
  | { kind: 'authorized'; rlsActive: boolean; columns: ReadonlySet<string>; visible: boolean[] }

const ROWS_PER_QUERY = 5_000
const INSUFFICIENT_PRIVILEGE = '42501'

interface ColumnRow {
  name: string
  type: string
  base: string
  is_array: boolean
  cast: string
  key_position: number | null
}

export async function describeTable(db: Database, relation: Pgoutput.MessageRelation): Promise<StreamTable> {
  const { rows } = await db.query<ColumnRow>(
    `select a.attname::text as name, t.typname::text as type, e.typname::text as base, b.typelem <> 0 and b.typlen = -1 as is_array,
       format_type(t.oid, null) as cast, array_position(i.indkey::int2[], a.attnum) as key_position
     from pg_attribute a
       join pg_type t on t.oid = a.atttypid
       join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
       join pg_type e on e.oid = case when b.typelem <> 0 and b.typlen = -1 then b.typelem else b.oid end
       left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum`,
    [relation.relationOid],
  )
  const streamed = new Set(relation.columns.map(({ name }) => name))
  const described = rows.filter(({ name }) => streamed.has(name)).map((row) => ({ row, column: toColumn(row) }))
  const keyed = described.filter(({ row }) => row.key_position !== null)
  keyed.sort((a, b) => (a.row.key_position ?? 0) - (b.row.key_position ?? 0))
  return {
    oid: relation.relationOid,
    schema: relation.schema,
    name: relation.name,
    columns: described.map(({ column }) => column),
    keyColumns: keyed.map(({ column }) => column),
  }
}

function toColumn({ name, type, base, is_array: isArray, cast }: ColumnRow): StreamColumn {
  return { name, type, base, isArray, cast }
}

/** `rows` may be empty: then only the rights to the table and its columns are asked. */
export async function judge(
  db: Database,
  caller: CallerIdentity,
  table: StreamTable,
  rows: readonly TextRow[],
  onQuery: () => void,
): Promise<Verdict> {
  const visible: boolean[] = []
  let start = 0
  let first: Answer | undefined
  try {
    do {
      const slice = rows.slice(start, start + ROWS_PER_QUERY)
      onQuery()
      const answer = await ask(db, caller, table, slice)
      first ??= answer
      const seen = new Set(answer.visible)
      for (let i = 0; i < slice.length; i++) visible.push(!answer.rls_active || seen.has(i + 1))
      start += slice.length
    } while (start < rows.length)
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === INSUFFICIENT_PRIVILEGE) return { kind: 'unauthorized' }
    throw error
  }
  const columns = new Set(first.columns)
  const mayUse = first.may_use_schema && table.keyColumns.every(({ name }) => columns.has(name)) && columns.size > 0
  return mayUse ? { kind: 'authorized', rlsActive: first.rls_active, columns, visible } : { kind: 'unauthorized' }
}

interface Answer {
  rls_active: boolean
  may_use_schema: boolean
  columns: string[]
  visible: number[]
}

async function ask(db: Database, caller: CallerIdentity, table: StreamTable, rows: readonly TextRow[]): Promise<Answer> {
  const values: unknown[] = [table.oid, table.schema]
  const visible = rows.length === 0 || table.keyColumns.length === 0 ? "'{}'::int[]" : visibleRows(table, rows, values)
  const { rows: answers } = await db.asCaller(caller, 'read only', (tx) =>
    tx.query<Answer>(
      `select row_security_active($1::oid) as rls_active, has_schema_privilege($2, 'usage') as may_use_schema,
         array(select attname::text from pg_attribute where attrelid = $1::oid and attnum > 0 and not attisdropped
           and has_column_privilege(attrelid, attnum, 'select')) as columns,
         ${visible} as visible`,
      values,
    ),
  )
  const answer = answers[0]
  if (answer === undefined) throw new Error('the visibility query answered no row')
  return answer
}

function visibleRows(table: StreamTable, rows: readonly TextRow[], values: unknown[]): string {
  const keys = table.keyColumns.map(({ name, cast }) => {
    values.push(rows.map((row) => row[name] ?? null))
    return `$${values.length}::text[]::${cast}[]`
  })
  const names = table.keyColumns.map((_, i) => `k${i}`)
  const same = table.keyColumns.map(({ name }, i) => `r.${pg.escapeIdentifier(name)} = k.k${i}`).join(' and ')
  const from = `${pg.escapeIdentifier(table.schema)}.${pg.escapeIdentifier(table.name)}`
  return `array(select k.n::int from unnest(${keys.join(', ')}) with ordinality as k(${names.join(', ')}, n)
    where exists (select from ${from} as r where ${same}))`
}
