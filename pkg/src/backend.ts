import type { Value, Winner } from './types.js'

/** An operation as a server gets it (`PROTOCOL.md` §2). */
export interface Operation {
  readonly protocol: number
  readonly id: string
  readonly name: string
  readonly table: string
  readonly key: string
  readonly args: Readonly<Record<string, Value>>
  readonly set: Readonly<Record<string, Value>>
  readonly base: Readonly<Record<string, Value>>
  readonly baseVersion: string | null
  readonly hlc: string
  readonly tab: string
  readonly after: readonly string[]
  /** Operations that were never sent, or ended in a conflict, and for which this one stands. */
  readonly replaces?: readonly string[]
}

/** One of the records that an operation was about, as it is now. */
export interface AnsweredRecord {
  readonly table: string
  readonly key: string
  readonly version: string
  readonly record: object | null
  /** The temporary key that it had. */
  readonly from?: string
}

/** A server's answer to an operation (`PROTOCOL.md` §3). */
export type Answer = {
  readonly protocol: number
  readonly id: string
  readonly table: string
  readonly key: string
  readonly replayed: boolean
  /** What the server's clock showed when it answered: milliseconds since 1970. */
  readonly atMs?: number
} & (
  | { readonly outcome: 'confirmed'; readonly version: string; readonly record: object | null; readonly code?: string; readonly message?: string; readonly chosen?: string; readonly records?: readonly AnsweredRecord[] }
  /** Done, and not said how the record is now: what was changed stays as it shows until the row arrives. */
  | { readonly outcome: 'confirmed'; readonly version?: string; readonly record?: undefined }
  | { readonly outcome: 'refused'; readonly code: string; readonly message: string; readonly version?: string; readonly record?: object | null }
  | {
      readonly outcome: 'conflicted'
      readonly code: string
      readonly message: string
      readonly fields: readonly string[]
      readonly version: string
      readonly record: object | null
      readonly winner?: Winner
    }
  | { readonly outcome: 'retry'; readonly code: string; readonly message: string; readonly afterMs: number }
)

/** What a client asks for (`PROTOCOL.md` §5). */
export interface PullRequest {
  readonly protocol: number
  readonly tables: readonly string[]
  readonly cursor: string | null
  readonly keys?: Readonly<Record<string, readonly string[]>>
  readonly pending: readonly string[]
  /** The next page of an answer, as the page before it named it. */
  readonly page?: string
}

/** What a server gives (`PROTOCOL.md` §5). */
export interface PullResponse {
  readonly protocol: number
  readonly cursor: string | null
  readonly whole: boolean
  readonly records: Readonly<Record<string, readonly object[]>>
  readonly gone: readonly { readonly table: string; readonly key: string; readonly version: string }[]
  readonly settled: readonly Answer[]
  /** The parts of tables that this is all of: what the client has in them, and is not in `records`, is gone. */
  readonly covers?: readonly { readonly table: string; readonly keys?: readonly string[]; readonly where?: Readonly<Record<string, Value>> }[]
  /** What the server's clock reads, in milliseconds since 1970. */
  readonly atMs?: number
  /** There is another page: what to ask for it with. */
  readonly next?: string
  /** The fields of each table that the database works out by itself. A record that the stream brings without them is pulled. */
  readonly generated?: Readonly<Record<string, readonly string[]>>
}

/** Something the server's stream told: the row as it is now, or the key's fields of one that is gone. */
export interface StreamEvent {
  readonly table: string
  readonly kind: 'changed' | 'deleted'
  readonly row: object
  /** What is known of the row before the change: the key's fields, where the key itself may have changed. */
  readonly old?: object
}

/** Why a call brought no answer (`PROTOCOL.md` §4). */
export type Failure = 'network' | 'timeout' | 'server' | 'rate-limit' | 'auth' | 'conflict' | 'forbidden' | 'invalid' | 'gone' | 'unknown'

/** What a backend throws, or closes a link with. Anything else that it throws counts as `unknown`. */
export class BackendError extends Error {
  override readonly name = 'BackendError'

  constructor(
    readonly failure: Failure,
    message: string,
    /** How long the server asked to wait. */
    readonly afterMs?: number,
  ) {
    super(message)
  }
}

/** Where the person of a tab is, and what they do there. */
export interface Presence {
  /** The application's own name for the place. */
  readonly place: string
  readonly doing: 'idle' | 'typing' | 'editing'
  readonly record?: { readonly table: string; readonly key: string }
}

/** A tab of somebody; without presence it has left. */
export interface Peer {
  readonly user: string
  readonly tab: string
  readonly presence: Presence | null
}

/** What an open link reports. */
export interface LinkListener {
  /** The server took the subscription; changes may not flow yet. */
  joined(): void
  /** The server said that changes flow. */
  live(): void
  /** The link broke, or could not be opened. Nothing is reported after this. */
  closed(error: BackendError): void
  /** Others have told where they are; one without presence has left. Tell it again at least every 30 seconds for as long as it is so. */
  present?(peers: readonly Peer[]): void
  /** The stream told of changes. */
  changed(events: readonly StreamEvent[]): void
}

/** Who a backend is signed in as by now. A store makes no call while that is somebody else than its own person, or nobody. */
export type TokenNews =
  /** There is a fresh token of this person, as stores know them by `user`. */
  | { readonly user: string }
  /** There is none any more: the session has ended by itself, or somebody has ended it. */
  | { readonly user: null; readonly hasExpired: boolean }

/**
 * An adapter to a server. It translates and decides nothing: order, retries and reconnects are the engine's. What it does is done for one person, the `user` of the store:
 * where its session may become another's, it fails with `auth` rather than do it in their name.
 */
export interface Backend {
  /**
   * False for a server that keeps no ledger of operation ids. A call that it does not answer is never made again: the record tells what became
   * of it, or the operation ends as `unknown`. True by default.
   */
  readonly idempotent?: boolean
  /** Fetches records. */
  pull(request: PullRequest, signal: AbortSignal, user: string): Promise<PullResponse>
  /** Sends an operation. It may be sent again with the same id, which must then have no further effect, unless `idempotent` is false. */
  push(operation: Operation, signal: AbortSignal, user: string): Promise<Answer>
  /**
   * Sends 2 to 100 operations in one call, each for itself: none depends on another, no two are of the same record, and what becomes of one says nothing
   * of the others. They come in the order of their tables and keys; whoever takes locks for all of them should take them so. Resolves with one answer each, found by its `id`; a {@link BackendError} in the place of its operation is why that one has no answer.
   * One that is passed over is sent again, alone. What this throws is of the call as a whole, and the operations go again, in smaller calls if need be.
   * Resolves with nothing where the server takes one operation a call after all; nothing was done then, and from then on they come by `push`.
   * Never called where `idempotent` is false; without it, `push` gets all of them.
   */
  pushAll?(operations: readonly Operation[], signal: AbortSignal, user: string): Promise<readonly (Answer | BackendError)[] | undefined>
  /**
   * Tells the server that the person is at work in this chat, so that it is not released as idle. Resolves with false where it is not theirs. Comes for a
   * chat at most once in a quarter of the time of silence. Without it `chats.active` can't be called.
   */
  active?(table: string, key: string, signal: AbortSignal, user: string): Promise<boolean>
  /** Opens the stream of changes; returns how to close it. */
  connect(tables: readonly string[], listener: LinkListener, user: string): () => void
  /** Tells everybody else where the tabs of this browser are. Comes at most once a second, and again every ten seconds. */
  presence?(peers: readonly Peer[]): void
  /**
   * Asks over the open stream whether the server is there; resolves when it has answered. Without it a stream that died in silence
   * is noticed only by what else fails.
   */
  ping?(): Promise<void>
  /** Gets a fresh token: before every reconnect, and when one was refused. Fails with `network` where nobody could be asked. */
  refreshToken?(user: string): Promise<void>
  /** Calls back whenever there is a fresh token, and when there is none any more, with whose it is where that can be told; returns how to stop. */
  onToken?(listener: (news?: TokenNews) => void): () => void
}
