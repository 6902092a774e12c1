/**
 * Turns a described SELECT into one statement: identifiers from the catalog and quoted, values always parameters.
 * PostgreSQL builds the JSON, so a bigint stays exactly the number it is.
 */

import pg from 'pg'
import { Problem } from '../problems.js'
import type { Table } from './catalog.js'
import type { Comparison, Filter, IsValue, SelectQuery } from './query.js'

export interface Statement {
  text: string
  values: unknown[]
}

const OPERATORS: Record<Comparison, string> = {
  eq: '=',
  neq: '<>',
  gt: '>',
  gte: '>=',
  lt: '<',
  lte: '<=',
  like: 'like',
  ilike: 'ilike',
}

const IS: Record<IsValue, string> = {
  null: 'is null',
  not_null: 'is not null',
  true: 'is true',
  false: 'is false',
  unknown: 'is unknown',
}

/** Answers one row: `rows`, the JSON array as text, and `count`. `r.*` is the row; `r` would be a column of that name. */
export function selectStatement(table: Table, query: SelectQuery, rowsMax: number): Statement {
  const values: unknown[] = []
  const columns = query.columns.map((column) => (column === '*' ? '*' : known(table, column))).join(', ')
  const order = query.order.map(
    ({ column, direction, nulls }) => `${known(table, column)} ${direction}${nulls === undefined ? '' : ` nulls ${nulls}`}`,
  )
  const limit = Math.min(query.limit ?? rowsMax, rowsMax)
  const inner =
    `select ${columns} from public.${pg.escapeIdentifier(table.name)}${where(table, query.filters, values)}` +
    `${order.length > 0 ? ` order by ${order.join(', ')}` : ''} limit ${parameter(values, limit)}::bigint offset ${parameter(values, query.offset)}::bigint`
  return { text: `select coalesce(json_agg(r.*), '[]')::text as rows, count(*)::int as count from (${inner}) r`, values }
}

export function countStatement(table: Table, query: SelectQuery): Statement {
  const values: unknown[] = []
  const text = `select count(*)::float8 as total from public.${pg.escapeIdentifier(table.name)}${where(table, query.filters, values)}`
  return { text, values }
}

function where(table: Table, filters: Filter[], values: unknown[]): string {
  if (filters.length === 0) return ''
  return ` where ${filters.map((filter) => condition(table, filter, values)).join(' and ')}`
}

function condition(table: Table, filter: Filter, values: unknown[]): string {
  const column = known(table, filter.column)
  const test =
    filter.op === 'is'
      ? `${column} ${IS[filter.value]}`
      : filter.op === 'in'
        ? `${column} = any(${parameter(values, filter.values)})`
        : `${column} ${OPERATORS[filter.op]} ${parameter(values, filter.value)}`
  return filter.negated ? `not (${test})` : test
}

function parameter(values: unknown[], value: unknown): string {
  values.push(value)
  return `$${values.length}`
}

function known(table: Table, column: string): string {
  if (!table.columns.has(column)) throw new Problem(400, '42703', `column ${table.name}.${column} does not exist`)
  return pg.escapeIdentifier(column)
}
