import { BackendError, type TokenNews } from './backend.js'
import { RotaError } from './errors.js'
import type { Host } from './host.js'
import type { ChangeList, Listener, Mirror } from './mirror.js'

/** What is needed of a store. */
interface Leaving {
  /** Logs out, as `store.logout()` without a word on what is unsent. */
  logout(): Promise<void>
  isClosed(): boolean
  isLeaving(): boolean
  /** There is a fresh token of this person's. */
  tokenRefreshed(): void
}

/**
 * Follows who is signed in at the backend. While that is not the person of the store, no call is made: nothing is sent, fetched or subscribed to in another's name, and
 * what waits, waits for its own person. When they sign out, they are logged out of the store too, unless something of theirs would be lost by it.
 */
export class SignIn {
  readonly #user: string
  readonly #host: Host
  readonly #mirror: Mirror
  readonly #store: Leaving
  /** They have signed out, and something unsent kept them from being logged out. */
  #owesLogout = false

  constructor(user: string, host: Host, mirror: Mirror, store: Leaving) {
    this.#user = user
    this.#host = host
    this.#mirror = mirror
    this.#store = store
    mirror.add(this)
  }

  /** Hears of a token. What says nothing of a person is a fresh one of the store's own. */
  readonly hear = (news?: TokenNews): void => {
    if (this.#store.isClosed()) return
    const user = userOf(news)
    this.#owesLogout = false
    if (user === undefined || user === this.#user) {
      this.#host.holdBack(undefined)
      this.#store.tokenRefreshed()
      return this.#host.tell((engine) => engine.tokenRefreshed())
    }
    if (user === null && !(news as { hasExpired?: boolean }).hasExpired) this.#logout()
    if (this.#store.isClosed()) return
    if (user !== null) this.#report('other-user', `${SOMEBODY_ELSE}: nothing is sent or fetched here before that person is signed in again, and what is unsent waits for them`)
    this.#host.holdBack(new BackendError('auth', user === null ? 'nobody is signed in' : SOMEBODY_ELSE))
  }

  /** What kept them from being logged out may have come to its end: a call was under way, say. */
  take(_list: ChangeList, _tell: (listeners: Iterable<Listener>) => void): void {
    if (!this.#owesLogout || this.#mirror.operations().pending.length > 0) return
    this.#owesLogout = false
    // Not now: a change list is being taken in.
    setTimeout(() => this.#store.isClosed() || this.#logout(), 0)
  }

  countListeners(): number {
    return 0
  }

  close(): void {
    this.#owesLogout = false
  }

  #logout(): void {
    // The application does it.
    if (this.#store.isLeaving()) return
    try {
      this.#store.logout().catch((error: unknown) => this.#isRefused(error))
    } catch (error) {
      this.#isRefused(error)
    }
  }

  #isRefused(error: unknown): void {
    if (!(error instanceof RotaError) || error.code !== 'unsent-operations') return
    this.#owesLogout = true
    this.#report(error.code, `the person has signed out at the backend, but not of this store: ${error.reason}. What is unsent waits here for them to sign in again`)
  }

  #report(code: string, message: string): void {
    this.#mirror.report({ code, place: 'onToken', message })
  }
}

const SOMEBODY_ELSE = 'somebody else than the person of this store is signed in'

/** Adapters may hand on whatever their client tells: only what is meant for this is read. */
function userOf(news: unknown): string | null | undefined {
  const { user } = (typeof news === 'object' && news !== null ? news : {}) as { user?: unknown }
  return typeof user === 'string' || user === null ? user : undefined
}
