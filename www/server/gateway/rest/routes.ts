/**
 * `/rest/v1`: SELECT from tables and calls of functions, each in one transaction as the caller. Writing to tables, and
 * every other form of PostgREST's, is answered 400 with what is not supported.
 */

import { Hono, type Context } from 'hono'
import type { Database } from '../database.js'
import type { Limits } from '../options.js'
import { Problem, toProblem, unsupported } from '../problems.js'
import { TokenError, type Caller, type Tokens } from '../tokens.js'
import { Catalog } from './catalog.js'
import { parseSelect } from './query.js'
import { argumentNames, callStatement, chooseFunction } from './rpc.js'
import { countStatement, selectStatement } from './select.js'

type Env = { Variables: { caller: Caller } }

const OBJECT = 'application/vnd.pgrst.object+json'
const CATALOG_MOVED = new Set(['42703', '42P01', '42883'])

export interface RestParts {
  db: Database
  tokens: Tokens
  limits: Limits
  log: (line: string) => void
}

export function restRoutes({ db, tokens, limits, log }: RestParts): Hono<Env> {
  const catalog = new Catalog(db)
  const routes = new Hono<Env>()

  routes.use('*', async (c, next) => {
    c.set('caller', await requireCaller(c, tokens))
    await next()
  })

  routes.get('/rpc/*', () => {
    throw unsupported('GET and HEAD on /rpc (call with POST)')
  })

  routes.post('/rpc/:name', async (c) => {
    refuseOdd(c, [])
    if (new URL(c.req.url).searchParams.size > 0) throw unsupported('query parameters on /rpc')
    const body = await c.req.text()
    const given = argumentNames(body)
    const fn = chooseFunction(c.req.param('name'), await catalog.functions(c.req.param('name')), given)
    const statement = callStatement(fn, given, body)
    const answer = await db.asCaller(c.get('caller'), 'read write', async (tx) => {
      const { rows } = await tx.query<{ body: string | null; count: number }>(statement.text, statement.values)
      return rows[0]
    })
    if (fn.returnsVoid) return c.body(null, 204)
    const text = answer?.body ?? 'null'
    return json(c, fn.returnsSet && wantsObject(c) ? onlyRow(text, answer?.count ?? 0) : text, 200)
  })

  routes.get('/:table', async (c) => {
    refuseOdd(c, ['count=exact'])
    const name = c.req.param('table')
    const table = await catalog.table(name)
    if (table === undefined) throw new Problem(404, 'PGRST205', `Could not find the table 'public.${name}' in the schema cache`)
    const query = parseSelect(new URL(c.req.url).searchParams)
    const select = selectStatement(table, query, limits.rowsPerAnswer)
    const counting = preferences(c).includes('count=exact')
    const { rows, count, total } = await db.asCaller(c.get('caller'), 'read only', async (tx) => {
      const found = (await tx.query<{ rows: string; count: number }>(select.text, select.values)).rows[0]
      const tally = counting ? countStatement(table, query) : undefined
      const counted = tally && (await tx.query<{ total: number }>(tally.text, tally.values)).rows[0]
      return { rows: found?.rows ?? '[]', count: found?.count ?? 0, total: counted?.total }
    })
    if (total !== undefined && query.offset > total) throw new Problem(416, 'PGRST103', 'Requested range not satisfiable')
    const text = wantsObject(c) ? onlyRow(rows, count) : rows
    const range = count > 0 ? `${query.offset}-${query.offset + count - 1}` : '*'
    c.header('Content-Range', `${range}/${total ?? '*'}`)
    return json(c, text, total !== undefined && count < total ? 206 : 200)
  })

  routes.all('*', (c) => {
    throw unsupported(`${c.req.method} ${c.req.path}`)
  })

  routes.onError((error, c) => {
    const problem = toProblem(error, c.get('caller')?.role ?? 'anon')
    if (CATALOG_MOVED.has(problem.code)) catalog.forget()
    if (problem.status >= 500) log(`rest: ${problem.code} ${problem.message}${problem.details === null ? '' : ` (${problem.details})`}`)
    if (problem.status === 401) c.header('WWW-Authenticate', 'Bearer')
    return c.json(problem.body(), problem.status as 400)
  })

  return routes
}

async function requireCaller(c: Context, tokens: Tokens): Promise<Caller> {
  const header = c.req.header('authorization')
  const token = header === undefined ? tokens.anonKey : /^Bearer (.+)$/i.exec(header)?.[1]
  if (token === undefined) throw new Problem(401, 'PGRST301', 'the Authorization header is not a bearer token')
  try {
    return await tokens.verify(token)
  } catch (error) {
    throw new Problem(401, 'PGRST301', error instanceof TokenError ? error.message : 'JWT could not be verified')
  }
}

/** Headers that would change the meaning of the answer, and that nobody here would obey. */
function refuseOdd(c: Context, supportedPreferences: readonly string[]): void {
  if (c.req.header('range') !== undefined) throw unsupported('the Range header (use limit and offset)')
  const profile = c.req.header('accept-profile') ?? 'public'
  const contentProfile = c.req.header('content-profile') ?? 'public'
  if (profile !== 'public' || contentProfile !== 'public') throw new Problem(406, 'PGRST106', 'The schema must be one of the following: public')
  const odd = preferences(c).find((preference) => !supportedPreferences.includes(preference))
  if (odd !== undefined) throw unsupported(`Prefer: ${odd}`)
  const accepted = (c.req.header('accept') ?? '*/*').split(',').map((type) => type.split(';q=')[0]?.trim())
  if (!accepted.some((type) => type === '*/*' || type === 'application/json' || type === OBJECT)) {
    throw unsupported(`Accept: ${c.req.header('accept')}`)
  }
}

function preferences(c: Context): string[] {
  const header = c.req.header('prefer') ?? ''
  return header
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function wantsObject(c: Context): boolean {
  return (c.req.header('accept') ?? '').includes(OBJECT)
}

/** The one element of a JSON array of rows that PostgreSQL has written as text: its brackets are taken off. */
function onlyRow(rows: string, count: number): string {
  if (count !== 1) {
    const details = `The result contains ${count} rows`
    throw new Problem(406, 'PGRST116', 'Cannot coerce the result to a single JSON object', details)
  }
  return rows.trim().slice(1, -1)
}

function json(c: Context, text: string, status: 200 | 206): Response {
  return c.body(text, status, { 'Content-Type': 'application/json; charset=utf-8' })
}
