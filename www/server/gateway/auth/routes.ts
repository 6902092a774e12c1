/**
 * `/auth/v1`: sign in with a password, refresh, who am I, sign out. The shapes are GoTrue's; everything else of GoTrue
 * is refused by name.
 */

import { Hono, type Context } from 'hono'
import type { Database } from '../database.js'
import { TokenError, type Caller, type Tokens } from '../tokens.js'
import { checkPassword, findUser, publicUser, type UserRow } from '../users.js'
import type { SignInAttempts } from './attempts.js'
import { AuthProblem, authProblem } from './problems.js'
import { closeSessions, openSession, refreshSession, sessionExists, type Grant, type LogoutScope } from './sessions.js'

export interface AuthParts {
  db: Database
  tokens: Tokens
  attempts: SignInAttempts
  secret: string
  log: (line: string) => void
}

const SCOPES = ['global', 'local', 'others'] as const satisfies readonly LogoutScope[]

export function authRoutes(parts: AuthParts): Hono {
  const { db, tokens, attempts } = parts
  const routes = new Hono()

  routes.post('/token', async (c) => {
    const grantType = c.req.query('grant_type')
    if (grantType === 'password') {
      const { email, password } = await bodyStrings(c, ['email', 'password'])
      const user = await attempts.attempt(email, () => checkPassword(db, email, password))
      if (user === undefined) throw authProblem(400, 'invalid_credentials', 'Invalid login credentials')
      return c.json(await sessionAnswer(tokens, await openSession(db, user.id), user))
    }
    if (grantType === 'refresh_token') {
      const { refresh_token: token } = await bodyStrings(c, ['refresh_token'])
      const grant = await refreshSession(db, parts.secret, token)
      return c.json(await sessionAnswer(tokens, grant, await requireUser(db, grant.userId)))
    }
    throw authProblem(400, 'unsupported', 'unsupported here: only the grants password and refresh_token')
  })

  routes.get('/user', async (c) => {
    const { userId } = await requireSession(c, parts)
    return c.json(publicUser(await requireUser(db, userId)))
  })

  routes.post('/logout', async (c) => {
    const scope = SCOPES.find((known) => known === (c.req.query('scope') ?? 'global'))
    if (scope === undefined) throw authProblem(400, 'validation_failed', 'scope must be global, local or others')
    const { userId, sessionId } = await requireSession(c, parts)
    await closeSessions(db, userId, sessionId, scope)
    return c.body(null, 204)
  })

  routes.all('*', (c) => {
    throw authProblem(400, 'unsupported', `unsupported here: ${c.req.method} ${c.req.path}`)
  })

  routes.onError((error, c) => {
    const problem = error instanceof AuthProblem ? error : authProblem(500, 'unexpected_failure', 'the database could not be reached')
    if (problem.status >= 500) parts.log(`auth: ${error.message}`)
    return c.json(problem.body(), problem.status as 400)
  })

  return routes
}

async function sessionAnswer(tokens: Tokens, grant: Grant, user: UserRow): Promise<Record<string, unknown>> {
  const access = await tokens.issueAccess({
    sub: user.id,
    email: user.email,
    sessionId: grant.sessionId,
    appMetadata: user.raw_app_meta_data,
    userMetadata: user.raw_user_meta_data,
  })
  return {
    access_token: access.token,
    token_type: 'bearer',
    expires_in: access.expiresIn,
    expires_at: access.expiresAt,
    refresh_token: grant.refreshToken,
    user: publicUser(user),
  }
}

async function bodyStrings<N extends string>(c: Context, names: readonly N[]): Promise<Record<N, string>> {
  const body: unknown = await c.req.json().catch(() => undefined)
  if (typeof body !== 'object' || body === null) throw authProblem(400, 'bad_json', 'Could not parse request body as JSON')
  const found = {} as Record<N, string>
  for (const name of names) {
    const value: unknown = (body as Record<string, unknown>)[name]
    // PostgreSQL keeps no NUL in a text: such a value can belong to nobody.
    if (typeof value !== 'string' || value === '' || value.includes('\0')) throw authProblem(400, 'validation_failed', `${name} is required`)
    found[name] = value
  }
  return found
}

async function requireUser(db: Database, id: string): Promise<UserRow> {
  const user = await findUser(db, id)
  if (user === undefined) throw authProblem(403, 'user_not_found', 'User from sub claim in JWT does not exist')
  return user
}

async function requireSession(c: Context, { db, tokens }: AuthParts): Promise<{ userId: string; sessionId: string }> {
  const token = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
  if (token === undefined) throw authProblem(401, 'no_authorization', 'This endpoint requires a valid Bearer token')
  const caller = await verified(tokens, token)
  if (caller.sub === undefined || caller.sessionId === undefined) {
    throw authProblem(403, 'bad_jwt', 'invalid claim: missing sub claim')
  }
  if (!(await sessionExists(db, caller.sub, caller.sessionId))) {
    throw authProblem(403, 'session_not_found', 'Session from session_id claim in JWT does not exist')
  }
  return { userId: caller.sub, sessionId: caller.sessionId }
}

async function verified(tokens: Tokens, token: string): Promise<Caller> {
  try {
    return await tokens.verify(token)
  } catch (error) {
    const why = error instanceof TokenError && error.reason === 'expired' ? 'token is expired' : 'signature is invalid'
    throw authProblem(403, 'bad_jwt', `invalid JWT: unable to parse or verify signature, ${why}`)
  }
}
