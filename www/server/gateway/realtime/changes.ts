/**
 * Gathers the messages of the stream into whole transactions. A transaction is handed on at its commit and not before,
 * with every row as text; one that is too large is handed on as that fact alone.
 */

import type { Pgoutput } from 'pg-logical-replication'
import type { ChangeType } from './bindings.js'
import type { TextRow } from './filters.js'

export interface Change {
  type: ChangeType
  committedAt: Date
  relation: Pgoutput.MessageRelation
  /** Null for a DELETE. Columns that are unchanged and stored out of line are missing. */
  record: TextRow | null
  /** The replica identity's columns; null for an INSERT. */
  old: TextRow | null
}

export interface Transaction {
  xid: number
  changes: Change[]
  tooLarge: boolean
}

export class TransactionBuilder {
  #changes: Change[] = []
  #tooLarge = false
  #committedAt = new Date(0)
  #xid = 0

  constructor(readonly changesMax: number) {}

  /** The transaction, when this message was its commit. */
  add(message: Pgoutput.Message): Transaction | undefined {
    switch (message.tag) {
      case 'begin':
        // Microseconds since 1970; clients are told milliseconds.
        this.#committedAt = new Date(Math.floor(Number(message.commitTime) / 1_000))
        this.#xid = message.xid >>> 0
        this.#changes = []
        this.#tooLarge = false
        return undefined
      case 'insert':
        this.#push({ type: 'INSERT', relation: message.relation, record: present(message.new), old: null })
        return undefined
      case 'update': {
        const record = present(message.new)
        // Without an old row in the stream the identity has not changed: it is the new row's.
        const old = message.old ?? message.key ?? pick(record, message.relation.keyColumns)
        this.#push({ type: 'UPDATE', relation: message.relation, record, old: present(old) })
        return undefined
      }
      case 'delete':
        this.#push({ type: 'DELETE', relation: message.relation, record: null, old: present(message.old ?? message.key ?? {}) })
        return undefined
      case 'commit': {
        const transaction = { xid: this.#xid, changes: this.#changes, tooLarge: this.#tooLarge }
        this.#changes = []
        return transaction
      }
      // As on the real server, a TRUNCATE reaches nobody.
      case 'truncate':
      case 'relation':
      case 'type':
      case 'origin':
      case 'message':
        return undefined
    }
  }

  #push(change: Omit<Change, 'committedAt'>): void {
    if (this.#tooLarge) return
    this.#changes.push({ ...change, committedAt: this.#committedAt })
    if (this.#changes.length > this.changesMax) {
      this.#tooLarge = true
      this.#changes = []
    }
  }
}

function present(row: Record<string, unknown>): TextRow {
  const kept: Record<string, string | null> = Object.create(null) as Record<string, string | null>
  for (const [name, value] of Object.entries(row)) {
    if (typeof value === 'string' || value === null) kept[name] = value
  }
  return kept
}

function pick(row: TextRow, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(names.filter((name) => name in row).map((name) => [name, row[name]]))
}
