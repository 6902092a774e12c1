/**
 * From the stream to the channels. Takes transactions one after the other, asks once per table and set of claims who
 * may see what, and sends frames in the order of commit. Knows when the stream is live for a newcomer: it writes a
 * message into the log and waits until that comes back. Never drops a change silently: what it cannot send it turns
 * into an error of the channel, which makes the client rejoin and pull.
 */

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pgoutput } from 'pg-logical-replication'
import type { Database } from '../database.js'
import type { Counters, Limits } from '../options.js'
import type { Caller } from '../tokens.js'
import type { Binding } from './bindings.js'
import { TransactionBuilder, type Change, type Transaction } from './changes.js'
import { changePayload } from './payload.js'
import { Replication } from './replication.js'
import { describeTable, judge, type StreamTable, type Verdict } from './visibility.js'

/** A channel as the feed sees it. */
export interface Subscriber {
  readonly bindings: readonly Binding[]
  readonly caller: Caller
  send(ids: readonly number[], data: string): void
  /** The stream cannot be trusted any more: tell the client and close. */
  fail(reason: string): void
}

interface Hit {
  subscriber: Subscriber
  changes: { change: Change; ids: number[] }[]
}

const LIVE_PREFIX = 'rota-gateway-live'
const RETRY_MS = 250

export class Feed {
  readonly #subscribers = new Set<Subscriber>()
  readonly #replication: Replication
  readonly #builder: TransactionBuilder
  readonly #tables = new WeakMap<Pgoutput.MessageRelation, Promise<StreamTable>>()
  readonly #waiting = new Map<string, () => void>()
  readonly #atBoundary: (() => void)[] = []
  #busy = false
  readonly #onStart = new Set<() => void>()

  constructor(
    readonly db: Database,
    readonly limits: Limits,
    readonly counters: Counters,
    readonly log: (line: string) => void,
  ) {
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

  /** Runs between two transactions, so that no transaction is judged half under old claims and half under new ones. */
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
    if (message.tag === 'message' && message.prefix === LIVE_PREFIX) {
      this.#waiting.get(Buffer.from(message.content).toString())?.()
      return
    }
    const transaction = this.#builder.add(message)
    if (transaction === undefined) return
    this.#busy = true
    try {
      await this.#deliver(transaction)
    } finally {
      this.#busy = false
      for (const work of this.#atBoundary.splice(0)) work()
    }
  }

  async #deliver(transaction: Transaction): Promise<void> {
    if (transaction.tooLarge) {
      this.#failAll(`a transaction of more than ${this.limits.changesPerTransaction} changes is not streamed`)
      return
    }
    if (transaction.changes.length === 0) return
    this.counters.transactions += 1
    this.counters.changes += transaction.changes.length
    const hits = [...this.#subscribers].map((subscriber) => hit(subscriber, transaction.changes)).filter(({ changes }) => changes.length > 0)
    if (hits.length === 0) return
    const groups = await Promise.all(groupByClaims(hits).map((group) => this.#payloads(group, transaction)))
    // One pass over the transaction a channel: within a channel the order of commit, which is all that a client can see.
    for (const { group, payloads } of groups) {
      for (const { subscriber, changes } of group) {
        if (!this.#subscribers.has(subscriber)) continue
        if (payloads instanceof Error) subscriber.fail(`the rights to a change could not be checked: ${payloads.message}`)
        else sendAll(subscriber, changes, payloads)
      }
    }
  }

  /** What callers with the same claims are shown of each change; the Error, when that could not be found out. */
  async #payloads(group: Hit[], { changes, committedAt }: Transaction): Promise<{ group: Hit[]; payloads: Map<Change, string> | Error }> {
    const caller = group[0]?.subscriber.caller
    if (caller === undefined) return { group, payloads: new Map() }
    const wanted = new Set(group.flatMap((one) => one.changes.map(({ change }) => change)))
    const byRelation = new Map<Pgoutput.MessageRelation, Change[]>()
    for (const change of changes) {
      if (!wanted.has(change)) continue
      const concerned = byRelation.get(change.relation)
      if (concerned === undefined) byRelation.set(change.relation, [change])
      else concerned.push(change)
    }
    try {
      const payloads = new Map<Change, string>()
      for (const [relation, concerned] of byRelation) {
        const table = await this.#table(relation)
        const context = { table, committedAt, recordBytesMax: this.limits.recordBytes }
        const { verdict, rowIndex } = await this.#judge(caller, table, concerned)
        for (const change of concerned) {
          const payload = changePayload(change, verdict, rowIndex.get(change) ?? -1, context)
          if (payload !== undefined) payloads.set(change, payload)
        }
      }
      return { group, payloads }
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error))
      this.log(`realtime: ${failure.message}`)
      return { group, payloads: failure }
    }
  }

  async #judge(caller: Caller, table: StreamTable, changes: Change[]): Promise<{ verdict: Verdict; rowIndex: Map<Change, number> }> {
    const written = changes.filter(({ record }) => record !== null)
    const rowIndex = new Map(written.map((change, i) => [change, i]))
    const rows = written.map(({ record }) => record ?? {})
    const identity = { role: caller.role, claimsJson: caller.canonicalJson }
    const verdict = await judge(this.db, identity, table, rows, () => (this.counters.rlsQueries += 1))
    return { verdict, rowIndex }
  }

  /** A table is described once for each shape the stream announces; a failure is not remembered. */
  #table(relation: Pgoutput.MessageRelation): Promise<StreamTable> {
    const known = this.#tables.get(relation)
    if (known !== undefined) return known
    const described = describeTable(this.db, relation)
    this.#tables.set(relation, described)
    described.catch(() => this.#tables.delete(relation))
    return described
  }
}

function hit(subscriber: Subscriber, changes: readonly Change[]): Hit {
  const hits: Hit['changes'] = []
  for (const change of changes) {
    const ids = subscriber.bindings.filter((binding) => matches(binding, change)).map(({ id }) => id)
    if (ids.length > 0) hits.push({ change, ids: [...new Set(ids)] })
  }
  return { subscriber, changes: hits }
}

function matches(binding: Binding, { type, relation, record, old }: Change): boolean {
  if (binding.schema !== relation.schema || (binding.table ?? relation.name) !== relation.name) return false
  return (binding.type ?? type) === type && binding.passes(record ?? old ?? {})
}

function groupByClaims(hits: readonly Hit[]): Hit[][] {
  const groups = new Map<string, Hit[]>()
  for (const one of hits) {
    const { role, canonicalJson } = one.subscriber.caller
    const key = `${role} ${canonicalJson}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [one])
    else group.push(one)
  }
  return [...groups.values()]
}

function sendAll(subscriber: Subscriber, changes: Hit['changes'], payloads: Map<Change, string>): void {
  for (const { change, ids } of changes) {
    const payload = payloads.get(change)
    if (payload !== undefined) subscriber.send(ids, payload)
  }
}

function newDeferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
