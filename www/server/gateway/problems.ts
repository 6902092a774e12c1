/**
 * Every way a request can end badly, as PostgREST spells it: a status and `{code, message, details, hint}`. PostgreSQL's
 * own errors are translated by one table; what the gateway does not know is said to be unsupported, never left silent.
 */

import pg from 'pg'
import type { Role } from './tokens.js'

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: string | null = null,
    readonly hint: string | null = null,
  ) {
    super(message)
  }

  body(): Record<string, unknown> {
    return { code: this.code, message: this.message, details: this.details, hint: this.hint }
  }
}

export function unsupported(what: string): Problem {
  return new Problem(
    400,
    'unsupported',
    `unsupported here: ${what}`,
    null,
    'This is a development stand-in that speaks a part of the protocol; the real service may support it.',
  )
}

export function toProblem(error: unknown, role: Role): Problem {
  if (error instanceof Problem) return error
  if (error instanceof pg.DatabaseError && error.code !== undefined) {
    return new Problem(statusOf(error.code, role), error.code, error.message, error.detail ?? null, error.hint ?? null)
  }
  if (error instanceof RangeError) return new Problem(400, 'PGRST102', 'the request is nested too deeply')
  return new Problem(503, 'PGRST000', 'the database could not be reached', error instanceof Error ? error.message : null)
}

const STATUS_BY_CODE: Record<string, number> = {
  '23503': 409,
  '23505': 409,
  '25006': 405,
  '42P01': 404,
  '42P17': 500,
  '42883': 404,
  '57014': 500,
  '57P01': 503,
  '57P02': 503,
  '57P03': 503,
}

const STATUS_BY_CLASS: Record<string, number> = {
  '08': 503,
  '09': 500,
  '0L': 403,
  '0P': 403,
  '25': 500,
  '28': 403,
  '2D': 500,
  '38': 500,
  '39': 500,
  '3B': 500,
  '40': 500,
  '53': 503,
  '54': 413,
  '55': 500,
  '57': 500,
  '58': 500,
  F0: 500,
  HV: 500,
  XX: 500,
}

/** 22P02, 23502, 23514, P0001 and all the rest that blame the request are 400. */
function statusOf(code: string, role: Role): number {
  if (code === '42501') return role === 'anon' ? 401 : 403
  // `raise sqlstate 'PT409'` is PostgREST's way for a function to choose its status.
  const chosen = /^PT([2-5]\d\d)$/.exec(code)?.[1]
  if (chosen !== undefined) return Number(chosen)
  return STATUS_BY_CODE[code] ?? STATUS_BY_CLASS[code.slice(0, 2)] ?? 400
}
