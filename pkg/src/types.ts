import type { Peer } from './backend.js'
import type { Stale } from './invalidation.js'

/** What the package's users see. Shapes that also travel or are stored are those of `PROTOCOL.md`. */

/** Everything that a record's field may hold. */
export type Value = null | boolean | number | string | readonly Value[] | { readonly [name: string]: Value }

/** A record's key: one value, or the parts of a composite key in their declared order. */
export type Key = string | number | readonly (string | number)[]

declare const temporary: unique symbol

/**
 * What a record is known by whose key the server has still to give. It stands for the record wherever a key does, and in fields that refer to
 * it; what is sent has the real key, and once that is known, so does what is seen.
 */
export type TemporaryKey = string & { readonly [temporary]: true }

/** How safe accepted operations are: they survive the browser; the tab; or only as long as the store is open. `async`: the browser, a moment after `mutate` returned. */
export type Durability = 'full' | 'async' | 'tab' | 'memory'

/** Where an operation is in its life. `acknowledged`: the server has done it, and its row is not here yet. */
export type OperationState = 'queued' | 'sent' | 'acknowledged' | 'confirmed' | 'refused' | 'conflicted' | 'cancelled' | 'dead' | 'unknown'

/** How an operation ended. */
export interface Settlement {
  readonly id: string
  readonly outcome: Exclude<OperationState, 'queued' | 'sent' | 'acknowledged'>
  /** Why it was not confirmed: a code of `PROTOCOL.md` §4. */
  readonly code?: string
  /** The same, for a person. */
  readonly message?: string
  /** The fields that somebody else changed. */
  readonly fields?: readonly string[]
  /** The record that the server chose, where it was left to it. Another one than was shown comes with the code `assigned-other`. */
  readonly chosen?: string
  /** Who was first, where a race was lost and the server says so. */
  readonly winner?: Winner
}

/** Who was first. */
export interface Winner {
  /** The person's id. */
  readonly user: string
  /** When, as RFC 3339. */
  readonly at: string
}

/** Why something would not be taken. */
export interface Refusal {
  /** What kind of reason it is; for programs. */
  readonly code: string
  /** The same, for a person. */
  readonly message: string
}

/** What `mutate` returns, at once. */
export interface Mutated {
  /** The operation's id, a UUIDv7. It is the same in the server's ledger. */
  readonly id: string
  /**
   * The temporary keys of the records that it inserts without a key, in the order in which they were given. They stand for these records
   * wherever a key does, also after the server gave the real one, which is then what `store.keyOf` returns.
   */
  readonly temporaryKeys: readonly TemporaryKey[]
  /** Resolves when the operation is as durable as it gets here, and says how durable that is. Never rejects. */
  readonly durable: Promise<Durability>
  /** Resolves when the operation has ended, whatever the end. Never rejects. */
  readonly settled: Promise<Settlement>
}

/** An operation, as users see it. */
export interface OperationView {
  readonly id: string
  readonly name: string
  readonly table: string
  readonly key: string
  /** A transaction: what each of its parts does, and to which record. `table` and `key` are those of the first. */
  readonly parts?: readonly { readonly name: string; readonly table: string; readonly key: string }[]
  readonly state: OperationState
  /** When it was made, in milliseconds since 1970. */
  readonly madeAtMs: number
  /** True when this tab made it. */
  readonly mine: boolean
  /** True when it no longer applies to the record as it is now, and is hidden until the server answers. */
  readonly doubtful: boolean
  /** Tries that failed. */
  readonly tries: number
  readonly code?: string
  readonly message?: string
  /** Who was first, where a race was lost and the server says so. */
  readonly winner?: Winner
  /** The operation that stands for this one from now on. This one leaves the list, and its promise resolves as that one ends. */
  readonly replacedBy?: string
}

/** How conflicts in a field are decided. Where nothing is declared, or a rule can't be applied to the values that are there, a person decides. */
export type MergeRule =
  | 'latest'
  | 'union'
  | 'mostRecentNotNull'
  | 'recursive'
  | 'max'
  | 'min'
  | 'sum'
  | 'ours'
  | 'theirs'
  | 'person'

/** One field that a person and somebody else changed differently. */
export interface FieldConflict {
  readonly field: string
  /** What the person saw when deciding. */
  readonly base: Value
  /** What the person wants. */
  readonly ours: Value
  /** What the server has. */
  readonly theirs: Value
  readonly rule: MergeRule
  /** What the rule makes of it, or, once it is decided, what came of it. */
  readonly merged?: Value
}

/** A change that somebody else's stands against, for a person to decide. It follows the record while it waits. */
export interface Conflict {
  /** The operation. */
  readonly id: string
  readonly table: string
  readonly key: string
  /** Since when it waits, in milliseconds since 1970. */
  readonly atMs: number
  /** True when this tab made the operation. */
  readonly mine: boolean
  /** True when there is no record any more: all that is left is the server's word. */
  readonly isGone: boolean
  readonly fields: readonly FieldConflict[]
  /** What the record would hold after each decision, in the fields that the operation sets. */
  readonly previews: {
    readonly local: { readonly [field: string]: Value }
    readonly server: { readonly [field: string]: Value }
    readonly merge: { readonly [field: string]: Value }
  }
}

/** A conflict came, changed, or ended. */
export interface ConflictChange {
  /** The operation. */
  readonly id: string
  /** The conflict as it is now; null when it has ended. */
  readonly conflict: Conflict | null
}

/** What a person decides on a conflict: a side, the merge that is shown, or values for (at least) every field in conflict. */
export type ConflictChoice = 'local' | 'server' | 'merge' | { readonly [field: string]: Value }

/** One decision on a conflict: one line of the export. */
export interface AuditEntry {
  /** The operation that was in conflict. */
  readonly operation: string
  /** The operation that carries the decision out; null where nothing was left to do. */
  readonly resolution: string | null
  readonly table: string
  readonly key: string
  /**
   * `auto`: the declared rules; `manual`: a person, field by field; else the side that a person took, or that the rules came to.
   * A named operation or a transaction that somebody else was faster than is `server`, once for each of its records that they changed.
   */
  readonly decided: 'auto' | 'manual' | 'local' | 'server' | 'merge'
  /** A user's id; null for the declared rules, and where the server's word stands without a decision. */
  readonly by: string | null
  /** When, in milliseconds since 1970. */
  readonly atMs: number
  readonly fields: readonly FieldConflict[]
}

/** The decisions on conflicts that this store made or heard of. */
export interface Audit {
  /** The last thousand, the oldest first. */
  readonly entries: readonly AuditEntry[]
  /** How many older ones were forgotten. */
  readonly dropped: number
}

/** A record has its real key, in place of a temporary one. */
export interface Renamed {
  readonly table: string
  /** The temporary key. */
  readonly from: string
  /** The key that the server gave. */
  readonly to: string
}

/** The operations of all tabs of this browser. */
export interface Operations {
  /** Those without an end yet, the dead ones included, oldest first. */
  readonly pending: readonly OperationView[]
  /** The last hundred that ended, oldest first. */
  readonly recent: readonly OperationView[]
}

/**
 * Where the link is: waiting for the next attempt (`offline`), being opened, live, without a stream while changes are fetched now and then
 * (`degraded`), waiting for a fresh token (`paused`), or without any more attempts until somebody reconnects (`stopped`).
 */
export type LinkState = 'offline' | 'connecting' | 'live' | 'degraded' | 'paused' | 'stopped'

/** The connection to the backend. */
export interface LinkStatus {
  readonly state: LinkState
  /** Why it is not live, for a person; empty when all is well. */
  readonly why: string
  /** Since when, in milliseconds since 1970. */
  readonly sinceMs: number
  /** When the next attempt is due, in milliseconds since 1970. */
  readonly retryAtMs?: number
  /** How far the server's clock is ahead of this device's, in milliseconds, once that is known. */
  readonly serverAheadMs?: number
}

/** How the store is. */
export interface Status {
  /** This tab's part: the leader has the link and sends for all; a tab that is alone sends its own. */
  readonly role: 'follower' | 'leader' | 'alone'
  /**
   * How this tab reaches the others: by BroadcastChannel, by entries of localStorage where there is none, or not at all. A tab that reaches
   * no other hears of what they do from the server only.
   */
  readonly tabs: 'channel' | 'storage' | 'alone'
  readonly link: LinkStatus
  /** Operations of all tabs that are not settled. */
  readonly unsent: number
  /** Operations that were given up, and wait for somebody to retry or cancel them. */
  readonly dead: number
  /** Operations in conflict that wait for a person. */
  readonly conflicts: number
  readonly durability: Durability
  /** True once everything was fetched. */
  readonly ready: boolean
  /** When the server was last heard, in milliseconds since 1970. */
  readonly lastSyncMs?: number
}

/** Figures of a store, for tests and devtools. */
export interface Stats {
  /** Records that the engine holds: confirmed ones, and visible ones that differ from them. */
  readonly records: number
  /** JavaScript objects that all engines of this page hold. Equals `records` where there is one store. */
  readonly handles: number
  readonly operations: number
  readonly listeners: number
  /** Live lists that the engine keeps. */
  readonly views: number
}

/** Something from outside — a server, a tab, storage — that could not be used. It was dropped, and the store goes on. */
export interface Problem {
  /** Stable: `unknown-zone`, `notifications-full`, `malformed-event`, `malformed-answer`, `invalid-version`, `corrupt-entry`, `newer-entry`, `wrong-key`, `undecryptable-entry`, `engine-crashed`, `malformed-message`, `newer-message`, `unknown-table`, `storage`, `auth`, `other-user`, `unsent-operations`, `view-groups-full`, `unreadable-slot`. */
  readonly code: string
  /** Where it came from. */
  readonly place: string
  readonly message: string
}

/** What one change changed. */
export interface Changes {
  readonly records: readonly { readonly table: string; readonly key: string; readonly record: object | undefined }[]
  readonly operations: readonly OperationView[]
  /** The status, if it changed. */
  readonly status?: Status
  /** Conflicts that came, changed or ended, if any did. */
  readonly conflicts?: readonly ConflictChange[]
  /** Decisions on conflicts, of any tab, if there were any. */
  readonly decisions?: readonly AuditEntry[]
  /** Records that have their real key now, if any were given one. */
  readonly renamed?: readonly Renamed[]
  /** Everybody else who is here, if that changed. */
  readonly presence?: readonly Peer[]
  /** What other caches should fetch again, by the rules told with `invalidate`. */
  readonly stale?: Stale
}

/** How the link to the server is kept. */
export interface LinkOptions {
  /** How many attempts in a row to open the stream, none of which led to one that lasted a minute, end the attempts; without it they never end. */
  readonly maxAttempts?: number
  /** After how much silence of the stream the server is asked whether it is there, in ms; 25,000 by default, 0 for never. Needs a backend with `ping`. */
  readonly heartbeatMs?: number
  /** How often to fetch what is new while there is no stream; false for never. */
  readonly polling?: PollingOptions | false
}

/** How often to fetch what is new while there is no stream, each in ms and no shorter than the one before. */
export interface PollingOptions {
  /** While somebody works in the page; 5,000 by default. */
  readonly activeMs?: number
  /** While the page is seen, but nobody touches it; 30,000 by default. */
  readonly idleMs?: number
  /** While the page is hidden; 120,000 by default. */
  readonly hiddenMs?: number
}

/** How to retry operations whose call failed. Waits are drawn at random below a growing ceiling of at most a minute. */
export interface RetryOptions {
  /** Tries after the first; 3 by default. */
  readonly maxRetries?: number
  /** The first ceiling, in ms; 1,000 by default. */
  readonly retryDelay?: number
  /** By how much the ceiling grows; 2 by default. */
  readonly backoffMultiplier?: number
  /** How long an answer may take, in ms; 10,000 by default. */
  readonly timeout?: number
}

/** Makes everything inside read-only, as the store's records are. */
export type DeepReadonly<T> = T extends (infer U)[] ? readonly DeepReadonly<U>[] : T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T
