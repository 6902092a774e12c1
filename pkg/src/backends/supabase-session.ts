import type { Session, SupabaseClient } from '@supabase/supabase-js'
import { BackendError, type TokenNews } from '../backend.js'

/** What a token says of itself. */
export type Claims = Readonly<Record<string, unknown>>

const SOMEBODY_ELSE = 'the client is signed in as somebody else than the person of this store'

/** The client lets go of sessions this long before their tokens end, where it can't have fresh ones. */
const EXPIRY_MARGIN_MS = 90_000

/** The events that come with a token that was not there before. */
const FRESH: ReadonlySet<string> = new Set(['SIGNED_IN', 'TOKEN_REFRESHED', 'PASSWORD_RECOVERY', 'MFA_CHALLENGE_VERIFIED'])

/**
 * Whose token the client has. A session may be replaced at any moment, in another tab too, and the client puts whichever it has on each call: so the token is
 * looked at first, and the call is made with that very one.
 */
export class Sessions {
  readonly #client: SupabaseClient
  readonly #userOf: (claims: Claims) => unknown
  /** The token that was read last, with whose it is. */
  #read: { readonly token: string; readonly user: string | undefined } | undefined
  #refreshing = 0

  constructor(client: SupabaseClient, userOf: (claims: Claims) => unknown = ({ sub }) => sub) {
    this.#client = client
    this.#userOf = userOf
  }

  /** Returns the token for a call of this person; none where the client has one of its own for all calls, which it puts on. */
  async tokenFor(user: string | undefined): Promise<string | undefined> {
    const own = this.#ownToken()
    if (own !== undefined) {
      this.require(own, user)
      return undefined
    }
    const { data, error } = await this.#client.auth.getSession()
    if (error?.name === 'AuthRetryableFetchError') throw new BackendError('network', error.message)
    if (!data.session) throw new BackendError('auth', error?.message ?? 'nobody is signed in')
    this.require(data.session.access_token, user)
    return data.session.access_token
  }

  /** Throws where a token is somebody else's. One that names nobody is nobody else's. */
  require(token: string | null | undefined, user: string | undefined): void {
    if (this.isOthers(token, user)) throw new BackendError('auth', SOMEBODY_ELSE)
  }

  isOthers(token: string | null | undefined, user: string | undefined): boolean {
    const itsUser = token ? this.#userIn(token) : undefined
    return user !== undefined && itsUser !== undefined && itsUser !== user
  }

  /** Gets a fresh token, unless it would be somebody else's. */
  async refresh(user: string | undefined): Promise<void> {
    this.#refreshing++
    try {
      const { data } = await this.#client.auth.getSession()
      this.require(data.session?.access_token, user)
      const { error } = await this.#client.auth.refreshSession()
      // Nobody was reached: that says nothing about the session.
      if (error) throw new BackendError(error.name === 'AuthRetryableFetchError' ? 'network' : 'auth', error.message)
    } finally {
      this.#refreshing--
    }
  }

  /** Calls back with each fresh token, and at the end of a session; returns how to stop. */
  watch(listener: (news?: TokenNews) => void): () => void {
    let last: Session | null = null
    const { data } = this.#client.auth.onAuthStateChange((event, session) => {
      const before = last
      last = session
      if (event === 'SIGNED_OUT') return listener({ user: null, hasExpired: this.#hasExpired(before) })
      if (!FRESH.has(event)) return
      const user = session ? this.#userIn(session.access_token) : undefined
      listener(user === undefined ? undefined : { user })
    })
    return () => data.subscription.unsubscribe()
  }

  /** The client says the same of a session that was ended and of one that has ended. While its token was good, and nobody here asked for another, somebody ended it. */
  #hasExpired(session: Session | null): boolean {
    const endsAtMs = (session?.expires_at ?? 0) * 1_000
    return this.#refreshing > 0 || endsAtMs - Date.now() < EXPIRY_MARGIN_MS
  }

  /** The token that the client was made with for all calls, as on a server that renders for one person. */
  #ownToken(): string | undefined {
    const { rest } = this.#client as unknown as { rest?: { headers?: Headers | Record<string, string> } }
    const header = new Headers(rest?.headers ?? {}).get('authorization')
    return header === null ? undefined : header.replace(/^bearer /i, '')
  }

  #userIn(token: string): string | undefined {
    if (this.#read?.token !== token) {
      const claims = claimsOf(token)
      const user = claims && this.#userOf(claims)
      this.#read = { token, user: typeof user === 'string' && user !== '' ? user : undefined }
    }
    return this.#read.user
  }
}

/** Reads what a token says. Whether it is true, the server decides. */
function claimsOf(token: string): Claims | undefined {
  try {
    const text = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'))
    const claims: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.codePointAt(0) ?? 0)))
    return typeof claims === 'object' && claims !== null ? (claims as Claims) : undefined
  } catch {
    return undefined
  }
}
