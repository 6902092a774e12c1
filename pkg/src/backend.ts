import type { Value } from './types.js'

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
}

/** A server's answer to an operation (`PROTOCOL.md` §3). */
export type Answer = {
  readonly protocol: number
  readonly id: string
  readonly table: string
  readonly key: string
  readonly replayed: boolean
} & (
  | { readonly outcome: 'confirmed'; readonly version: string; readonly record: object | null }
  | { readonly outcome: 'refused'; readonly code: string; readonly message: string; readonly version?: string; readonly record?: object | null }
  | {
      readonly outcome: 'conflicted'
      readonly code: string
      readonly message: string
      readonly fields: readonly string[]
      readonly version: string
      readonly record: object | null
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
}

/** What a server gives (`PROTOCOL.md` §5). */
export interface PullResponse {
  readonly protocol: number
  readonly cursor: string | null
  readonly whole: boolean
  readonly records: Readonly<Record<string, readonly object[]>>
  readonly gone: readonly { readonly table: string; readonly key: string; readonly version: string }[]
  readonly settled: readonly Answer[]
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
export type Failure = 'network' | 'timeout' | 'server' | 'rate-limit' | 'auth' | 'forbidden' | 'invalid' | 'gone' | 'unknown'

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

/** What an open link reports. */
export interface LinkListener {
  /** The server took the subscription; changes may not flow yet. */
  joined(): void
  /** The server said that changes flow. */
  live(): void
  /** The link broke, or could not be opened. Nothing is reported after this. */
  closed(error: BackendError): void
  /** The stream told of changes. */
  changed(events: readonly StreamEvent[]): void
}

/** An adapter to a server. It translates and decides nothing: order, retries and reconnects are the engine's. */
export interface Backend {
  /** Fetches records. */
  pull(request: PullRequest, signal: AbortSignal): Promise<PullResponse>
  /** Sends an operation. It may be sent again with the same id, which must then have no further effect. */
  push(operation: Operation, signal: AbortSignal): Promise<Answer>
  /** Opens the stream of changes; returns how to close it. */
  connect(tables: readonly string[], listener: LinkListener): () => void
  /**
   * Asks over the open stream whether the server is there; resolves when it has answered. Without it a stream that died in silence
   * is noticed only by what else fails.
   */
  ping?(): Promise<void>
  /** Gets a fresh token: before every reconnect, and when one was refused. Fails with `network` where nobody could be asked. */
  refreshToken?(): Promise<void>
  /** Calls back whenever there is a fresh token; returns how to stop. */
  onToken?(listener: () => void): () => void
}
