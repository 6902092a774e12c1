/**
 * The filter of a binding: `column=op.value`, several joined by commas, all of which must hold. Values are brought into
 * PostgreSQL's own spelling once, at the join, and compared with the spelling of the stream.
 */

import type { Database } from '../database.js'

/** A refusal of a join; the client shows the text. */
export class JoinRefused extends Error {}

/** A row of the stream: each column's text, null, or undefined where the stream does not hold it. */
export type TextRow = Readonly<Record<string, string | null | undefined>>
export type RowTest = (row: TextRow) => boolean

type Op = 'eq' | 'neq' | 'lt' | 'lte' | 'gt' | 'gte' | 'in'

export interface FilterClause {
  column: string
  op: Op
  values: string[]
}

const OPS: ReadonlySet<string> = new Set<Op>(['eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in'])
const CLAUSE = /^([A-Za-z_][A-Za-z0-9_$]*)=([a-z.]+?)\.(.*)$/s
const CLAUSES_MAX = 20
/** As on the real server. */
const LIST_MAX = 100

const NUMERIC = new Set(['int2', 'int4', 'int8', 'oid', 'float4', 'float8', 'numeric'])
/** Their ISO spelling sorts as they do, within the four-digit years of our era. */
const SORTED_AS_TEXT = new Set(['date', 'timestamp', 'timestamptz'])

export function parseFilter(text: string): FilterClause[] {
  const clauses = splitOutside(text).map(parseClause)
  if (clauses.length > CLAUSES_MAX) throw new JoinRefused(`MalformedFilter: more than ${CLAUSES_MAX} clauses`)
  return clauses
}

function parseClause(text: string): FilterClause {
  const [, column, op, value] = CLAUSE.exec(text.trim()) ?? []
  if (column === undefined || op === undefined || value === undefined) throw new JoinRefused(`MalformedFilter: ${text} is not column=operator.value`)
  if (!OPS.has(op)) throw new JoinRefused(`Unsupported: the filter operator ${op} is not served here`)
  if (op !== 'in') return { column, op: op as Op, values: [unquote(value)] }
  if (!value.startsWith('(') || !value.endsWith(')')) throw new JoinRefused(`MalformedFilter: ${text} needs a list in parentheses`)
  const values = splitOutside(value.slice(1, -1)).map(unquote)
  if (values.length > LIST_MAX) throw new JoinRefused(`MalformedFilter: a list of more than ${LIST_MAX} values`)
  return { column, op, values }
}

/** Splits at commas that stand neither in quotes nor in parentheses. */
function splitOutside(text: string): string[] {
  const parts: string[] = []
  let part = ''
  let depth = 0
  let quoted = false
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at)
    if (quoted && char === '\\') {
      part += char + text.charAt(at + 1)
      at += 1
      continue
    }
    if (char === '"') quoted = !quoted
    else if (!quoted && char === '(') depth += 1
    else if (!quoted && char === ')') depth -= 1
    if (char === ',' && !quoted && depth === 0) {
      parts.push(part)
      part = ''
    } else part += char
  }
  if (quoted || depth !== 0) throw new JoinRefused('MalformedFilter: a quote or a parenthesis is left open')
  return [...parts, part]
}

function unquote(text: string): string {
  const value = text.trim()
  return value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1).replace(/\\(.)/gs, '$1') : value
}

export async function compileFilter(db: Database, schema: string, table: string, clauses: FilterClause[]): Promise<RowTest> {
  const tests = await Promise.all(clauses.map((clause) => compileClause(db, schema, table, clause)))
  return (row) => tests.every((test) => test(row))
}

async function compileClause(db: Database, schema: string, table: string, { column, op, values }: FilterClause): Promise<RowTest> {
  const type = await columnType(db, schema, table, column)
  if (type === undefined) throw new JoinRefused(`MalformedFilter: ${schema}.${table} has no column ${column}`)
  const spelled = await spell(db, type.cast, values)
  const first = spelled[0] ?? ''
  const numeric = NUMERIC.has(type.name)
  if (op === 'eq' || op === 'neq' || op === 'in') {
    const same = numeric ? (a: string, b: string): boolean => compareNumbers(a, b) === 0 : (a: string, b: string): boolean => a === b
    const matches = (text: string): boolean => spelled.some((value) => same(text, value))
    return present(column, op === 'neq' ? (text) => !matches(text) : matches)
  }
  if (!numeric && !SORTED_AS_TEXT.has(type.name)) {
    throw new JoinRefused(`Unsupported: ${op} on ${type.name} is not served here (numbers and times only)`)
  }
  const compare = numeric ? compareNumbers : compareTexts
  const holds = { lt: (n: number) => n < 0, lte: (n: number) => n <= 0, gt: (n: number) => n > 0, gte: (n: number) => n >= 0 }[op]
  return present(column, (text) => holds(compare(text, first)))
}

/** As in SQL, nothing compares with null; a column that the stream does not hold counts as null. */
function present(column: string, test: (text: string) => boolean): RowTest {
  return (row) => {
    const text = row[column]
    return typeof text === 'string' && test(text)
  }
}

function compareNumbers(a: string, b: string): number {
  const integers = /^-?\d+$/.test(a) && /^-?\d+$/.test(b)
  const [x, y] = integers ? [BigInt(a), BigInt(b)] : [Number(a), Number(b)]
  return x < y ? -1 : x > y ? 1 : 0
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

async function columnType(db: Database, schema: string, table: string, column: string): Promise<{ name: string; cast: string } | undefined> {
  const { rows } = await db.query<{ name: string; cast: string }>(
    `select t.typname as name, format_type(t.oid, null) as cast
     from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
       join pg_type t on t.oid = a.atttypid
     where n.nspname = $1 and c.relname = $2 and a.attname = $3 and a.attnum > 0 and not a.attisdropped`,
    [schema, table, column],
  )
  return rows[0]
}

async function spell(db: Database, cast: string, values: string[]): Promise<string[]> {
  try {
    // format() and not a cast to text: of a boolean the stream says t, the cast true.
    const { rows } = await db.query<{ values: string[] }>(`select array(select format('%s', v) from unnest($1::text[]::${cast}[]) as v) as values`, [
      values,
    ])
    return rows[0]?.values ?? []
  } catch (error) {
    throw new JoinRefused(`MalformedFilter: ${error instanceof Error ? error.message : 'a value does not fit its column'}`)
  }
}
