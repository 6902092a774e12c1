/**
 * From the stream's text to JSON, the way PostgreSQL's own `to_json` writes it, so that a row of the stream and the same
 * row of a pull hold equal values.
 */

import pg from 'pg'

/** A column of a streamed table. `base` is the type below any domain; arrays carry their element's. */
export interface StreamColumn {
  name: string
  /** What clients are told: pg_type.typname. */
  type: string
  base: string
  isArray: boolean
  /** A type's name that is safe to write into a statement. */
  cast: string
}

const INTEGERS = new Set(['int2', 'int4', 'int8', 'oid'])
const FRACTIONS = new Set(['float4', 'float8', 'numeric'])

export function toJsonValue(text: string, column: StreamColumn): unknown {
  return column.isArray ? parseArray(text, (element) => scalar(element, column.base)) : scalar(text, column.base)
}

function scalar(text: string, type: string): unknown {
  if (type === 'bool') return text === 't'
  if (INTEGERS.has(type)) return safeNumber(text)
  if (FRACTIONS.has(type)) {
    const number = Number(text)
    // NaN and the infinities have no JSON number; to_json writes them as text too.
    return Number.isFinite(number) ? number : text
  }
  if (type === 'json' || type === 'jsonb') return JSON.parse(text) as unknown
  if (type === 'timestamp') return text.replace(' ', 'T')
  if (type === 'timestamptz') return text.replace(' ', 'T').replace(/([+-]\d\d)$/, '$1:00')
  return text
}

/** Beyond 2^53 the digits stay text: a client that wants a number makes the same one of them, another keeps them all. */
function safeNumber(text: string): number | string {
  const number = Number(text)
  return Number.isSafeInteger(number) ? number : text
}

interface ArrayParser {
  create(source: string, transform: (element: string) => unknown): { parse(): unknown[] }
}

function parseArray(text: string, transform: (element: string) => unknown): unknown[] {
  // Typed as a plain function by its package, which it is not.
  const parser = pg.types.arrayParser as unknown as ArrayParser
  return parser.create(text, transform).parse()
}
