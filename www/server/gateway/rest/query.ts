/**
 * Reads the query string of a SELECT into a plain description. Knows the part of PostgREST's grammar that is listed
 * here and refuses the rest by name; whether the columns exist is decided later, against the catalog.
 */

import { Problem, unsupported } from '../problems.js'

export type Comparison = 'eq' | 'neq' | 'gt' | 'gte' | 'lt' | 'lte' | 'like' | 'ilike'
export type IsValue = 'null' | 'not_null' | 'true' | 'false' | 'unknown'

export type Filter = { column: string; negated: boolean } & (
  { op: Comparison; value: string } | { op: 'in'; values: string[] } | { op: 'is'; value: IsValue }
)

export interface Order {
  column: string
  direction: 'asc' | 'desc'
  nulls: 'first' | 'last' | undefined
}

export interface SelectQuery {
  /** `*` stands for all columns. */
  columns: string[]
  filters: Filter[]
  order: Order[]
  limit: number | undefined
  offset: number
}

const COMPARISONS: ReadonlySet<string> = new Set<Comparison>(['eq', 'neq', 'gt', 'gte', 'lt', 'lte', 'like', 'ilike'])
const IS_VALUES: ReadonlySet<string> = new Set<IsValue>(['null', 'not_null', 'true', 'false', 'unknown'])
const COLUMN = /^[A-Za-z_][A-Za-z0-9_$]{0,62}$/
const LOGIC = new Set(['or', 'and', 'not.or', 'not.and'])
const FILTERS_MAX = 100
const LIST_MAX = 10_000

export function parseSelect(params: URLSearchParams): SelectQuery {
  const query: SelectQuery = { columns: ['*'], filters: [], order: [], limit: undefined, offset: 0 }
  const seen = new Set<string>()
  for (const [name, value] of params) {
    if (name === 'apikey') continue
    const single = name === 'select' || name === 'order' || name === 'limit' || name === 'offset'
    if (single && seen.has(name)) throw malformed(`${name} is given twice`)
    seen.add(name)
    if (name === 'select') query.columns = parseColumns(value)
    else if (name === 'order') query.order = value.split(',').map(parseOrder)
    else if (name === 'limit') query.limit = parseCount(name, value)
    else if (name === 'offset') query.offset = parseCount(name, value)
    else query.filters.push(parseFilter(name, value))
  }
  if (query.filters.length > FILTERS_MAX) throw malformed(`more than ${FILTERS_MAX} filters`)
  return query
}

function parseColumns(text: string): string[] {
  const columns = text.split(',').map((part) => part.trim())
  if (text === '') return ['*']
  for (const column of columns) {
    if (column === '*') continue
    if (/[()!:.>]/.test(column)) throw unsupported(`select=${column} (embedded tables, renaming, casts, JSON paths and aggregates)`)
    if (!COLUMN.test(column)) throw malformed(`select=${column} is not a column name`)
  }
  return columns
}

function parseOrder(text: string): Order {
  const [column = '', ...words] = text.split('.')
  if (!COLUMN.test(column)) throw unsupported(`order=${text}`)
  const order: Order = { column, direction: 'asc', nulls: undefined }
  for (const word of words) {
    if (word === 'asc' || word === 'desc') order.direction = word
    else if (word === 'nullsfirst') order.nulls = 'first'
    else if (word === 'nullslast') order.nulls = 'last'
    else throw malformed(`order=${text}`)
  }
  return order
}

function parseCount(name: string, value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw malformed(`${name} must be a whole number that is not negative`)
  return Number(value)
}

function parseFilter(column: string, text: string): Filter {
  if (LOGIC.has(column)) throw unsupported(`${column}=(…)`)
  if (column === 'columns' || column === 'on_conflict') throw unsupported(`the parameter ${column}`)
  if (!COLUMN.test(column)) throw unsupported(`a filter on ${column} (embedded tables and JSON paths)`)
  const negated = text.startsWith('not.')
  const rest = negated ? text.slice(4) : text
  const dot = rest.indexOf('.')
  const op = dot < 0 ? rest : rest.slice(0, dot)
  const value = dot < 0 ? '' : rest.slice(dot + 1)
  if (dot < 0) throw malformed(`${column}=${text} is not a filter: expected operator.value`)
  if (op === 'in') return { column, negated, op, values: parseList(value) }
  if (op === 'is') {
    const word = value.toLowerCase()
    if (!IS_VALUES.has(word)) throw malformed(`is.${value}: expected null, not_null, true, false or unknown`)
    return { column, negated, op, value: word as IsValue }
  }
  if (!COMPARISONS.has(op)) throw unsupported(`the filter operator ${op}`)
  // PostgREST spells the pattern's % as *, which needs no escaping in a URL.
  const pattern = op === 'like' || op === 'ilike'
  return { column, negated, op: op as Comparison, value: pattern ? value.replaceAll('*', '%') : value }
}

/** `(a,"b,c",d)`: a quoted item may hold commas, and a backslash before a quote or a backslash. */
export function parseList(text: string): string[] {
  if (!text.startsWith('(') || !text.endsWith(')')) throw malformed(`${text} is not a list in parentheses`)
  const inner = text.slice(1, -1)
  if (inner === '') return []
  const items: string[] = []
  let at = 0
  while (at <= inner.length) {
    const item = inner[at] === '"' ? quotedItem(inner, at) : plainItem(inner, at)
    items.push(item.text)
    if (items.length > LIST_MAX) throw malformed(`a list of more than ${LIST_MAX} items`)
    if (item.end < inner.length && inner[item.end] !== ',') throw malformed('a list item is quoted only in part')
    at = item.end + 1
  }
  return items
}

function plainItem(text: string, start: number): { text: string; end: number } {
  const comma = text.indexOf(',', start)
  const end = comma < 0 ? text.length : comma
  return { text: text.slice(start, end), end }
}

function quotedItem(text: string, start: number): { text: string; end: number } {
  let item = ''
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '"') return { text: item, end: at + 1 }
    if (text[at] === '\\' && at + 1 < text.length) at += 1
    item += text[at]
  }
  throw malformed('a quoted list item has no end')
}

function malformed(what: string): Problem {
  return new Problem(400, 'PGRST100', what)
}
