/**
 * Bounds guessing: so many failed sign-ins a minute for one e-mail address, and so many password checks at once for
 * everybody. Keeps a bounded number of addresses; at the bound the one that failed longest ago is forgotten.
 */

import type { Limits } from '../options.js'
import { authProblem } from './problems.js'

const WINDOW_MS = 60_000
const ADDRESSES_MAX = 10_000

interface Failures {
  count: number
  since: number
}

export class SignInAttempts {
  readonly #failures = new Map<string, Failures>()
  #underWay = 0

  constructor(readonly limits: Limits) {}

  /** Runs one check for an address. `work` answers undefined when e-mail and password do not belong together. */
  async attempt<T>(email: string, work: () => Promise<T | undefined>): Promise<T | undefined> {
    const address = email.toLowerCase().slice(0, 320)
    const known = this.#current(address)
    if (known.count >= this.limits.signInFailuresPerEmail || this.#underWay >= this.limits.passwordChecks) {
      throw authProblem(429, 'over_request_rate_limit', 'Request rate limit reached')
    }
    // Counted as failed beforehand: a burst of parallel guesses must not pass while the first is still being checked.
    known.count += 1
    this.#underWay += 1
    try {
      const result = await work()
      if (result !== undefined) this.#failures.delete(address)
      return result
    } catch (error) {
      known.count -= 1
      throw error
    } finally {
      this.#underWay -= 1
    }
  }

  #current(address: string): Failures {
    const now = performance.now()
    const known = this.#failures.get(address)
    if (known !== undefined && now - known.since < WINDOW_MS) return known
    this.#failures.delete(address)
    const fresh = { count: 0, since: now }
    this.#failures.set(address, fresh)
    if (this.#failures.size > ADDRESSES_MAX) {
      const oldest = this.#failures.keys().next()
      if (!oldest.done) this.#failures.delete(oldest.value)
    }
    return fresh
  }
}
