/**
 * From the stream to the channels. Takes what has been committed in batches, never part of a transaction, asks once per
 * table and set of claims who may see what, and sends frames in the order of commit. A batch is what came while the
 * one before was under way: one transaction when it is quiet, many under load. Knows when the stream is live for a newcomer: it writes a
 * message into the log and waits until that comes back. Never drops a change silently: what it cannot send it turns
 * into an error of the channel, which makes the client rejoin and pull.
 */

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pgoutput } from 'pg-logical-replication'
import type { Database } from '../database.js'
import type { Counters, Limits } from '../options.js'
import { TransactionBuilder, type Change, type Transaction } from './changes.js'
import { groupByClaims, hit, Payloads, type Hit, type Subscriber } from './delivery.js'
import { Horizon } from './horizon.js'
import { Replication } from './replication.js'

/** A message of ours that has come back through the stream. */
interface Mark {
  mark: string
}

/** So many changes are judged by one query; a larger transaction is a batch of its own. */
const BATCH_CHANGES = 2_000
/** Beyond this the stream is not read on: the rest waits in the server's log. */
const QUEUED_CHANGES_MAX = 20_000
const LIVE_PREFIX = 'rota-gateway-live'
const RETRY_MS = 250

export type { Subscriber } from './delivery.js'

export class Feed {
  readonly #subscribers = new Set<Subscriber>()
  readonly #replication: Replication
  readonly #builder: TransactionBuilder
  readonly #horizon: Horizon
  readonly #payloads: Payloads
  readonly #waiting = new Map<string, () => void>()
  readonly #atBoundary: (() => void)[] = []
  #queue: (Transaction | Mark)[] = []
  #queuedChanges = 0
  #busy = false
  #batchDone: Promise<void> = Promise.resolve()
  readonly #onStart = new Set<() => void>()

  constructor(
    readonly db: Database,
    readonly limits: Limits,
    readonly counters: Counters,
    readonly log: (line: string) => void,
  ) {
    this.#horizon = new Horizon(db)
    this.#payloads = new Payloads(db, limits, counters)
    this.#builder = new TransactionBuilder(limits.changesPerTransaction)
    this.#replication = new Replication(
      db.url,
      {
        started: () => this.#started(),
        message: (message) => this.#message(message),
        lost: (why) => this.#lost(why),
      },
      log,
    )
  }

  get live(): boolean {
    return this.#replication.live
  }

  get subscribers(): number {
    return this.#subscribers.size
  }

  start(): void {
    this.#replication.start()
  }

  stop(): Promise<void> {
    return this.#replication.stop()
  }

  add(subscriber: Subscriber): void {
    this.#subscribers.add(subscriber)
  }

  remove(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber)
  }

  /** Runs between two batches, so that no transaction is judged half under old claims and half under new ones. */
  atBoundary(work: () => void): void {
    if (this.#busy) this.#atBoundary.push(work)
    else work()
  }

  /** Resolves when whatever is committed from now on is sure to come through the stream, or when the signal aborts. */
  async passedThrough(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const mark = randomUUID()
      const { promise: over, resolve: settle } = newDeferred<boolean>()
      const again = (): void => settle(false)
      // A stream that breaks takes the mark with it: the next start is the moment to try again.
      this.#onStart.add(again)
      signal.addEventListener('abort', again, { once: true })
      this.#waiting.set(mark, () => settle(true))
      try {
        if (this.#replication.live) await this.db.query('select pg_logical_emit_message(true, $1, $2)', [LIVE_PREFIX, mark])
        if (await over) return
      } catch (error) {
        this.log(`realtime: ${error instanceof Error ? error.message : String(error)}`)
        await sleep(RETRY_MS, undefined, { ref: false })
      } finally {
        this.#waiting.delete(mark)
        this.#onStart.delete(again)
        signal.removeEventListener('abort', again)
      }
    }
  }

  #started(): void {
    this.counters.replicationStarts += 1
    this.log('replication: live')
    for (const again of this.#onStart) again()
  }

  #lost(why: string): void {
    this.#failAll(`the stream of changes was interrupted: ${why}`)
  }

  #failAll(reason: string): void {
    for (const subscriber of this.#subscribers) subscriber.fail(reason)
  }

  async #message(message: Pgoutput.Message): Promise<void> {
    if (message.tag === 'message') {
      if (message.prefix !== LIVE_PREFIX) return
      this.#queue.push({ mark: Buffer.from(message.content).toString() })
    } else {
      const transaction = this.#builder.add(message)
      if (transaction === undefined) return
      this.#queue.push(transaction)
      this.#queuedChanges += transaction.changes.length
    }
    if (!this.#busy) this.#batchDone = this.#work()
    if (this.#queuedChanges > QUEUED_CHANGES_MAX) await this.#batchDone
  }

  /** Until the queue is empty. */
  async #work(): Promise<void> {
    this.#busy = true
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch()
      try {
        for (const { xid } of batch.transactions) this.#horizon.note(xid)
        if (batch.marks.length > 0 || this.#horizon.isLong) await this.#horizon.passed()
        await this.#deliver(batch.transactions)
      } catch (error) {
        this.log(`realtime: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
        this.#failAll('changes could not be delivered')
      }
      for (const { mark } of batch.marks) this.#waiting.get(mark)?.()
      for (const work of this.#atBoundary.splice(0)) work()
    }
    this.#busy = false
  }

  #takeBatch(): { transactions: Transaction[]; marks: Mark[] } {
    const transactions: Transaction[] = []
    const marks: Mark[] = []
    let changes = 0
    let taken = 0
    for (const item of this.#queue) {
      if (changes >= BATCH_CHANGES) break
      taken += 1
      if ('mark' in item) {
        marks.push(item)
        continue
      }
      transactions.push(item)
      changes += item.changes.length
      // What comes after belongs to channels that have joined again.
      if (item.tooLarge) break
    }
    this.#queue.splice(0, taken)
    this.#queuedChanges -= changes
    return { transactions, marks }
  }

  async #deliver(transactions: readonly Transaction[]): Promise<void> {
    const changes = transactions.flatMap((transaction) => transaction.changes)
    const tooLarge = transactions.some((transaction) => transaction.tooLarge)
    this.counters.transactions += transactions.filter((transaction) => transaction.changes.length > 0).length
    this.counters.changes += changes.length
    const hits = [...this.#subscribers].map((subscriber) => hit(subscriber, changes)).filter((one) => one.changes.length > 0)
    if (hits.length > 0) await this.#horizon.passed()
    const groups = await Promise.all(groupByClaims(hits).map((group) => this.#shownTo(group)))
    // One pass over the batch a channel: within a channel the order of commit, which is all that a client can see.
    for (const { group, payloads } of groups) {
      for (const { subscriber, changes: concerning } of group) {
        if (!this.#subscribers.has(subscriber)) continue
        if (payloads instanceof Error) subscriber.fail(`the rights to a change could not be checked: ${payloads.message}`)
        else await this.#sendAll(subscriber, concerning, payloads)
      }
    }
    if (tooLarge) this.#failAll(`a transaction of more than ${this.limits.changesPerTransaction} changes is not streamed`)
  }

  async #shownTo(group: readonly Hit[]): Promise<{ group: readonly Hit[]; payloads: Map<Change, string> | Error }> {
    try {
      return { group, payloads: await this.#payloads.of(group) }
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error))
      this.log(`realtime: ${failure.message}`)
      return { group, payloads: failure }
    }
  }

  /** A large transaction is more than a socket takes at once: a reader that reads is not taken for a slow one. */
  async #sendAll(subscriber: Subscriber, changes: Hit['changes'], payloads: Map<Change, string>): Promise<void> {
    for (const { change, ids } of changes) {
      const payload = payloads.get(change)
      if (payload === undefined) continue
      if (subscriber.congested) await subscriber.relief()
      if (!this.#subscribers.has(subscriber)) return
      subscriber.send(ids, payload)
    }
  }
}

function newDeferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
