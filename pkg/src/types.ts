/** What the package's users see. Shapes that also travel or are stored are those of `PROTOCOL.md`. */

/** Everything that a record's field may hold. */
export type Value = null | boolean | number | string | readonly Value[] | { readonly [name: string]: Value }

/** A record's key: one value, or the parts of a composite key in their declared order. */
export type Key = string | number | readonly (string | number)[]

/** How safe accepted operations are: they survive the browser; the tab; or only as long as the store is open. `async`: the browser, a moment after `mutate` returned. */
export type Durability = 'full' | 'async' | 'tab' | 'memory'

/** Where an operation is in its life. */
export type OperationState = 'queued' | 'sent' | 'confirmed' | 'refused' | 'conflicted' | 'cancelled' | 'dead' | 'unknown'

/** How an operation ended. */
export interface Settlement {
  readonly id: string
  readonly outcome: Exclude<OperationState, 'queued' | 'sent'>
  /** Why it was not confirmed: a code of `PROTOCOL.md` §4. */
  readonly code?: string
  /** The same, for a person. */
  readonly message?: string
  /** The fields that somebody else changed. */
  readonly fields?: readonly string[]
}

/** What `mutate` returns, at once. */
export interface Mutated {
  /** The operation's id, a UUIDv7. It is the same in the server's ledger. */
  readonly id: string
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
}

/** How the store is. */
export interface Status {
  /** This tab's part: the leader has the link and sends for all; a tab that is alone sends its own. */
  readonly role: 'follower' | 'leader' | 'alone'
  readonly link: LinkStatus
  /** Operations of all tabs that are not settled. */
  readonly unsent: number
  /** Operations that were given up, and wait for somebody to retry or cancel them. */
  readonly dead: number
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
}

/** Something from outside — a server, a tab, storage — that could not be used. It was dropped, and the store goes on. */
export interface Problem {
  /** Stable: `malformed-event`, `invalid-version`, `corrupt-entry`, `newer-entry`, `malformed-message`, `newer-message`, `unknown-table`, `storage`, `auth`, `view-groups-full`. */
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
