/**
 * One joined topic on one socket: its bindings, its caller, and the end of its token. Is told of changes only from the
 * moment it says `system` ok; ends itself, with a reason, when its token runs out or the stream cannot be trusted.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Faults } from '../faults.js'
import { TokenError, type Caller, type Tokens } from '../tokens.js'
import type { Binding } from './bindings.js'
import type { Feed, Subscriber } from './feed.js'
import type { Rooms } from './rooms.js'

/** How a channel speaks to its socket. */
export interface ChannelPort {
  push(event: string, payload: unknown): void
  /** With the channel's join reference: the client closes this join and no later one. */
  pushToJoin(event: string, payload: unknown): void
  pushChange(ids: readonly number[], data: string): void
  readonly congested: boolean
  relief(): Promise<void>
  /** Called once, when the channel ends by itself. */
  ended(): void
}

export interface ChannelParts {
  feed: Feed
  faults: Faults
  tokens: Tokens
  rooms: Rooms
}

/** setTimeout treats a longer wait as none at all. */
const TIMER_MS_MAX = 2_147_483_647

export class Channel implements Subscriber {
  readonly #closed = new AbortController()
  #expiry: NodeJS.Timeout | undefined
  #caller: Caller

  constructor(
    readonly topic: string,
    readonly bindings: readonly Binding[],
    caller: Caller,
    private token: string,
    readonly port: ChannelPort,
    readonly parts: ChannelParts,
    /** Empty: it did not ask for presence. */
    readonly presenceKey = '',
  ) {
    this.#caller = caller
    this.#armExpiry()
  }

  get caller(): Caller {
    return this.#caller
  }

  /** After the answer to the join. A channel without bindings has nothing to wait for. */
  open(): void {
    if (this.presenceKey !== '') this.parts.rooms.enter(this)
    if (this.bindings.length === 0) return
    this.#goLive().catch((error: unknown) => this.fail(`the channel could not go live: ${String(error)}`))
  }

  async #goLive(): Promise<void> {
    const { signal } = this.#closed
    const { feed, faults } = this.parts
    if (faults.systemDelayMs > 0) await sleep(faults.systemDelayMs, undefined, { ref: false })
    if (signal.aborted) return
    feed.add(this)
    await feed.passedThrough(signal)
    if (!signal.aborted) this.#system('postgres_changes', 'ok', 'Subscribed to PostgreSQL')
  }

  /** A new token of the same client. Null, the same token and publishable keys mean nothing, as on the real server. */
  async replaceToken(token: unknown): Promise<void> {
    if (typeof token !== 'string' || token === this.token || token.startsWith('sb_')) return
    let caller: Caller
    try {
      caller = await this.parts.tokens.verify(token)
    } catch (error) {
      this.#endWithError(error instanceof TokenError && error.reason === 'expired' ? 'Token has expired' : 'Token is invalid')
      return
    }
    if (this.#closed.signal.aborted) return
    this.token = token
    this.parts.feed.atBoundary(() => {
      this.#caller = caller
      this.#armExpiry()
      this.#confirmAgain()
    })
  }

  /** From this ok on, changes are judged by the new claims; a client whose rights have grown knows when to pull. */
  #confirmAgain(): void {
    const { signal } = this.#closed
    if (this.bindings.length === 0) return
    this.parts.feed
      .passedThrough(signal)
      .then(() => {
        if (!signal.aborted) this.#system('postgres_changes', 'ok', 'Subscribed to PostgreSQL')
      })
      .catch((error: unknown) => this.fail(`the channel could not be confirmed: ${String(error)}`))
  }

  send(ids: readonly number[], data: string): void {
    this.port.pushChange(ids, data)
  }

  get congested(): boolean {
    return this.port.congested
  }

  relief(): Promise<void> {
    return this.port.relief()
  }

  fail(reason: string): void {
    if (this.#closed.signal.aborted) return
    this.#system('postgres_changes', 'error', reason)
    this.close()
    this.port.pushToJoin('phx_error', {})
    this.port.ended()
  }

  /** Frees what the channel holds; says nothing to the client. */
  close(): void {
    this.#closed.abort()
    clearTimeout(this.#expiry)
    this.parts.feed.remove(this)
    this.parts.rooms.leave(this)
  }

  #armExpiry(): void {
    clearTimeout(this.#expiry)
    const left = this.#caller.expiresAtMs - Date.now()
    this.#expiry = setTimeout(
      () => {
        if (this.#caller.expiresAtMs > Date.now()) this.#armExpiry()
        else this.#endWithError('Token has expired 0 seconds ago')
      },
      Math.min(Math.max(left, 0), TIMER_MS_MAX),
    )
    this.#expiry.unref()
  }

  #endWithError(message: string): void {
    if (this.#closed.signal.aborted) return
    this.#system('system', 'error', message)
    this.close()
    this.port.pushToJoin('phx_close', {})
    this.port.ended()
  }

  #system(extension: string, status: 'ok' | 'error', message: string): void {
    this.port.push('system', { extension, status, message, channel: this.topic.replace(/^realtime:/, '') })
  }
}
