/**
 * Who is concerned by a change, and what they are shown of it. Channels with the same claims are one group: rights are
 * asked, and the JSON is written, once for all of them.
 */

import type { Pgoutput } from 'pg-logical-replication'
import type { Database } from '../database.js'
import type { Counters, Limits } from '../options.js'
import type { Caller } from '../tokens.js'
import type { Binding } from './bindings.js'
import type { Change } from './changes.js'
import { changePayload } from './payload.js'
import { describeTable, judge, type StreamTable, type Verdict } from './visibility.js'

/** A channel as the feed sees it. */
export interface Subscriber {
  readonly bindings: readonly Binding[]
  readonly caller: Caller
  send(ids: readonly number[], data: string): void
  /** Whether much of what was sent is still on its way. */
  readonly congested: boolean
  /** Resolves when that is over, or after a moment: nobody waits long for a slow reader. */
  relief(): Promise<void>
  /** The stream cannot be trusted any more: tell the client and close. */
  fail(reason: string): void
}

export interface Hit {
  subscriber: Subscriber
  changes: { change: Change; ids: number[] }[]
}

export class Payloads {
  readonly #tables = new WeakMap<Pgoutput.MessageRelation, Promise<StreamTable>>()

  constructor(
    readonly db: Database,
    readonly limits: Limits,
    readonly counters: Counters,
  ) {}

  /** What a group is shown of each change that concerns it; a change that is not in the answer is not for them. */
  async of(group: readonly Hit[]): Promise<Map<Change, string>> {
    const payloads = new Map<Change, string>()
    const caller = group[0]?.subscriber.caller
    if (caller === undefined) return payloads
    for (const [relation, changes] of byRelation(group)) {
      const table = await this.#table(relation)
      const context = { table, recordBytesMax: this.limits.recordBytes }
      const { verdict, rowIndex } = await this.#judge(caller, table, changes)
      for (const change of changes) {
        const payload = changePayload(change, verdict, rowIndex.get(change) ?? -1, context)
        if (payload !== undefined) payloads.set(change, payload)
      }
    }
    return payloads
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

export function hit(subscriber: Subscriber, changes: readonly Change[]): Hit {
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

export function groupByClaims(hits: readonly Hit[]): Hit[][] {
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

function byRelation(group: readonly Hit[]): Map<Pgoutput.MessageRelation, Change[]> {
  const relations = new Map<Pgoutput.MessageRelation, Change[]>()
  for (const change of new Set(group.flatMap((one) => one.changes.map((concerning) => concerning.change)))) {
    const changes = relations.get(change.relation)
    if (changes === undefined) relations.set(change.relation, [change])
    else changes.push(change)
  }
  return relations
}
