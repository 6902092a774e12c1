/**
 * `POST /rpc/<function>` with named arguments as a JSON object. The body goes to PostgreSQL as it came and is taken apart
 * there, by the types of the function's own arguments: no number passes through a JavaScript one.
 */

import pg from 'pg'
import { Problem } from '../problems.js'
import type { SqlFunction } from './catalog.js'
import type { Statement } from './select.js'

/** The overload that takes exactly these names, as PostgREST chooses it. */
export function chooseFunction(name: string, overloads: readonly SqlFunction[], given: readonly string[]): SqlFunction {
  const fitting = overloads.filter(
    ({ args }) =>
      given.every((key) => args.some((arg) => arg.name === key)) &&
      args.every((arg) => arg.name !== '' && (!arg.required || given.includes(arg.name))),
  )
  const [chosen, ...others] = fitting
  if (chosen === undefined) {
    const spelled = given.length > 0 ? `(${[...given].sort().join(', ')})` : ' without parameters'
    throw new Problem(404, 'PGRST202', `Could not find the function public.${name}${spelled} in the schema cache`)
  }
  if (others.length > 0) throw new Problem(300, 'PGRST203', `Could not choose the best candidate function for public.${name}`)
  return chosen
}

export function argumentNames(body: string): string[] {
  if (body.trim() === '') return []
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    throw new Problem(400, 'PGRST102', 'Empty or invalid json')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new Problem(400, 'PGRST102', 'the arguments must be one JSON object')
  }
  return Object.keys(parsed)
}

/** Answers one row: `body`, JSON as text, and `count` for a function that returns a set. */
export function callStatement(fn: SqlFunction, given: readonly string[], body: string): Statement {
  const used = fn.args.filter((arg) => given.includes(arg.name))
  const quoted = pg.escapeIdentifier(fn.name)
  const passed = used.map(({ name }) => `${pg.escapeIdentifier(name)} => a.${pg.escapeIdentifier(name)}`).join(', ')
  const record = used.map(({ name, type }) => `${pg.escapeIdentifier(name)} ${type}`).join(', ')
  const source = used.length > 0 ? ` from json_to_record($1::json) as a(${record})` : ''
  const values = used.length > 0 ? [body] : []
  const call = `public.${quoted}(${passed})`
  if (fn.returnsSet) {
    const from = used.length > 0 ? `json_to_record($1::json) as a(${record}), ${call} as r` : `${call} as r`
    return { text: `select coalesce(json_agg(r.*), '[]')::text as body, count(*)::int as count from ${from}`, values }
  }
  const result = fn.returnsVoid ? call : `to_json(${call})::text`
  return { text: `select ${result} as body, 1 as count${source}`, values }
}
