/**
 * Sessions and their refresh tokens. A refresh token is spent once and replaced by one successor; whoever presents a
 * spent token later than the reuse interval is taken for a thief, and the whole session ends. Only hashes are stored.
 */

import { createHash, createHmac, randomBytes } from 'node:crypto'
import type { Database, Queryable } from '../database.js'
import type { AuthProblem } from './problems.js'
import { authProblem } from './problems.js'

export interface Grant {
  sessionId: string
  userId: string
  refreshToken: string
}

/** Several tabs hold one token and refresh at the same moment: within this time they are all given the same successor. */
export const REUSE_INTERVAL_MS = 10_000

/** How often the successor may itself have been spent within the reuse interval. */
const CHAIN_MAX = 16

interface TokenRow {
  session_id: string
  user_id: string
  salt: Buffer | null
  spent_ms_ago: number | null
}

export async function openSession(db: Database, userId: string): Promise<Grant> {
  return db.transaction(async (tx) => {
    const { rows } = await tx.query<{ id: string }>('insert into auth.sessions (user_id) values ($1) returning id', [userId])
    const sessionId = rows[0]?.id
    if (sessionId === undefined) throw new Error('insert returned no session')
    await tx.query('update auth.users set last_sign_in_at = now() where id = $1', [userId])
    const refreshToken = randomBytes(24).toString('base64url')
    await storeToken(tx, refreshToken, sessionId)
    return { sessionId, userId, refreshToken }
  })
}

/** Spends the token and answers its successor, or says why not. */
export async function refreshSession(db: Database, secret: string, token: string): Promise<Grant> {
  const outcome = await db.transaction(async (tx): Promise<Grant | AuthProblem> => {
    let current = token
    for (let hop = 0; hop < CHAIN_MAX; hop++) {
      const row = await lockToken(tx, current)
      if (row === undefined) return authProblem(400, 'refresh_token_not_found', 'Invalid Refresh Token: Refresh Token Not Found')
      if (row.salt === null || row.spent_ms_ago === null) return spend(tx, secret, current, row, hop)
      if (hop === 0 && row.spent_ms_ago > REUSE_INTERVAL_MS) {
        await tx.query('delete from auth.sessions where id = $1', [row.session_id])
        return authProblem(400, 'refresh_token_already_used', 'Invalid Refresh Token: Already Used')
      }
      current = successor(secret, current, row.salt)
    }
    return authProblem(429, 'over_request_rate_limit', 'Request rate limit reached')
  })
  // Thrown out here, so that the end of a stolen session is committed and not rolled back with the refusal.
  if (outcome instanceof Error) throw outcome
  return outcome
}

/** A token found unspent after a hop is the successor that another tab was given: it is shared, not spent again. */
async function spend(tx: Queryable, secret: string, token: string, row: TokenRow, hop: number): Promise<Grant> {
  const grant = { sessionId: row.session_id, userId: row.user_id }
  if (hop > 0) return { ...grant, refreshToken: token }
  const salt = randomBytes(16)
  const next = successor(secret, token, salt)
  await tx.query('update auth.refresh_tokens set spent_at = clock_timestamp(), salt = $2 where token_hash = $1', [hash(token), salt])
  await storeToken(tx, next, row.session_id)
  await tx.query('update auth.sessions set refreshed_at = now() where id = $1', [row.session_id])
  return { ...grant, refreshToken: next }
}

async function lockToken(tx: Queryable, token: string): Promise<TokenRow | undefined> {
  const { rows } = await tx.query<TokenRow>(
    `select t.session_id, s.user_id, t.salt,
       (extract(epoch from clock_timestamp() - t.spent_at) * 1000)::float8 as spent_ms_ago
     from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id
     where t.token_hash = $1 for update of t`,
    [hash(token)],
  )
  return rows[0]
}

async function storeToken(tx: Queryable, token: string, sessionId: string): Promise<void> {
  await tx.query('insert into auth.refresh_tokens (token_hash, session_id) values ($1, $2)', [hash(token), sessionId])
  // Spent tokens are kept to recognise a thief, but not without end.
  await tx.query("delete from auth.refresh_tokens where session_id = $1 and spent_at < now() - interval '30 days'", [sessionId])
}

export type LogoutScope = 'global' | 'local' | 'others'

export async function closeSessions(db: Queryable, userId: string, sessionId: string, scope: LogoutScope): Promise<void> {
  await db.query(
    `delete from auth.sessions where user_id = $1
       and ($3 = 'global' or ($3 = 'local' and id = $2) or ($3 = 'others' and id <> $2))`,
    [userId, sessionId, scope],
  )
}

export async function sessionExists(db: Queryable, userId: string, sessionId: string): Promise<boolean> {
  const { rowCount } = await db.query('select from auth.sessions where id = $1 and user_id = $2', [sessionId, userId])
  return rowCount === 1
}

function hash(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

function successor(secret: string, token: string, salt: Buffer): string {
  return createHmac('sha256', secret).update('refresh-token').update(salt).update(token).digest().subarray(0, 24).toString('base64url')
}
