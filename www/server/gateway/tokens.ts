/**
 * Who is calling. Turns a bearer token into a `Caller`, and makes the gateway's own tokens. Only HS256 under the given
 * secret is believed, only the two roles that clients may have, and never a token without an end.
 */

import { SignJWT, errors, jwtVerify, type JWTPayload } from 'jose'

export type Role = 'anon' | 'authenticated'

export interface Caller {
  role: Role
  /** The person; absent for the anonymous key. */
  sub: string | undefined
  sessionId: string | undefined
  expiresAtMs: number
  /** All claims as JSON, for `request.jwt.claims` of a request. */
  claimsJson: string
  /**
   * The claims that can matter to a policy, in one order: without times and session. Two tabs of one person have the
   * same text here and so share one visibility check; the check itself runs under exactly these claims.
   */
  canonicalJson: string
}

export class TokenError extends Error {
  constructor(
    readonly reason: 'expired' | 'invalid',
    message: string,
  ) {
    super(message)
  }
}

export interface Tokens {
  anonKey: string
  issueAccess(claims: AccessClaims): Promise<{ token: string; expiresAt: number; expiresIn: number }>
  verify(token: string): Promise<Caller>
}

export interface AccessClaims {
  sub: string
  email: string
  sessionId: string
  appMetadata: unknown
  userMetadata: unknown
}

const ISSUER = 'rota-development-gateway'
const PASSING_CLAIMS = new Set(['exp', 'iat', 'nbf', 'jti', 'session_id', 'amr'])
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
/** Fixed, so that the same secret gives the same key after every restart. */
const ANON_ISSUED_AT = Date.UTC(2026, 0, 1) / 1000
const ANON_EXPIRES_AT = Date.UTC(2046, 0, 1) / 1000

export async function createTokens(secret: string, accessTokenSeconds = 3600): Promise<Tokens> {
  const key = new TextEncoder().encode(secret)
  if (key.length < 32) throw new Error('jwtSecret needs at least 32 bytes')
  const anonKey = await new SignJWT({ role: 'anon' })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setIssuer(ISSUER)
    .setIssuedAt(ANON_ISSUED_AT)
    .setExpirationTime(ANON_EXPIRES_AT)
    .sign(key)

  return {
    anonKey,
    async issueAccess(claims) {
      const issuedAt = Math.floor(Date.now() / 1000)
      const expiresAt = issuedAt + accessTokenSeconds
      const token = await new SignJWT({
        role: 'authenticated',
        email: claims.email,
        phone: '',
        app_metadata: claims.appMetadata,
        user_metadata: claims.userMetadata,
        aal: 'aal1',
        session_id: claims.sessionId,
        is_anonymous: false,
      })
        .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
        .setIssuer(ISSUER)
        .setSubject(claims.sub)
        .setAudience('authenticated')
        .setIssuedAt(issuedAt)
        .setExpirationTime(expiresAt)
        .sign(key)
      return { token, expiresAt, expiresIn: accessTokenSeconds }
    },
    async verify(token) {
      return toCaller(await verifiedClaims(token, key))
    },
  }
}

async function verifiedClaims(token: string, key: Uint8Array): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, key, { algorithms: ['HS256'], requiredClaims: ['exp', 'role'] })
    return payload
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw new TokenError('expired', 'JWT expired')
    throw new TokenError('invalid', 'JWT could not be verified')
  }
}

function toCaller(claims: JWTPayload): Caller {
  const { role, sub, exp } = claims
  if (role !== 'anon' && role !== 'authenticated') throw new TokenError('invalid', 'JWT names a role that clients may not have')
  // auth.uid() casts the subject: a token that fails there would fail in every policy, so it fails here, once.
  if (sub !== undefined && !UUID.test(sub)) throw new TokenError('invalid', 'JWT subject is not a UUID')
  if (role === 'authenticated' && sub === undefined) throw new TokenError('invalid', 'JWT has no subject')
  if (exp === undefined) throw new TokenError('invalid', 'JWT has no end')
  const lasting = Object.entries(claims).filter(([name]) => !PASSING_CLAIMS.has(name))
  const sessionId = claims['session_id']
  return {
    role,
    sub,
    sessionId: typeof sessionId === 'string' && UUID.test(sessionId) ? sessionId : undefined,
    expiresAtMs: exp * 1000,
    claimsJson: JSON.stringify(claims),
    canonicalJson: canonical(Object.fromEntries(lasting)),
  }
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`
}
