/**
 * What a gateway can be told when it starts, and the bounds it keeps. Every queue, body, frame and list in the gateway
 * has its bound here, in one place; what happens at the bound is written beside each.
 */

import type { Faults } from './faults.js'

export interface Limits {
  /** A larger request body is answered 413. */
  bodyBytes: number
  /** A larger WebSocket frame closes the socket with 1009. */
  frameBytes: number
  /** One more socket is refused with 429. */
  sockets: number
  /** One more channel is refused in its join. */
  channelsPerSocket: number
  /** A join with more `postgres_changes` bindings is refused. */
  bindingsPerChannel: number
  /** One more join within a minute, on one socket, is refused. */
  joinsPerMinute: number
  /** Words of presence that one socket may say in half a minute; one more is refused. */
  presenceCalls: number
  /** Frames of one socket waiting to be handled; one more closes it with 1008. */
  pendingFrames: number
  /** A consumer that lets more than this pile up is cut off; it rejoins and pulls. */
  bufferedBytes: number
  /** A socket that says nothing for this long is closed. Clients send a heartbeat every 25 s. */
  socketSilenceMs: number
  /** A longer SELECT is cut here, as Supabase's own `max-rows` does; `Content-Range` tells. */
  rowsPerAnswer: number
  /** A longer statement is cancelled by PostgreSQL (57014). */
  statementMs: number
  /** A larger transaction is not streamed: every channel gets an error, rejoins and pulls. */
  changesPerTransaction: number
  /** A larger row travels without its large values, with `Error 413: Payload Too Large`. */
  recordBytes: number
  /** Failed sign-ins a minute for one e-mail address; one more is answered 429. */
  signInFailuresPerEmail: number
  /** Password checks under way at once: each costs some 60 ms of the processor. One more is answered 429. */
  passwordChecks: number
}

export const DEFAULT_LIMITS: Limits = {
  bodyBytes: 1_048_576,
  frameBytes: 1_048_576,
  sockets: 1_000,
  channelsPerSocket: 100,
  bindingsPerChannel: 100,
  joinsPerMinute: 600,
  presenceCalls: 5,
  pendingFrames: 1_000,
  bufferedBytes: 8 * 1_048_576,
  socketSilenceMs: 60_000,
  rowsPerAnswer: 1_000,
  statementMs: 8_000,
  changesPerTransaction: 50_000,
  recordBytes: 1_048_576,
  signInFailuresPerEmail: 10,
  passwordChecks: 16,
}

export interface GatewayOptions {
  /** A PostgreSQL with `wal_level=logical`, reached as a superuser or an owner that may replicate and set roles. */
  databaseUrl: string
  /** 0 or absent: any free port. */
  port?: number | undefined
  /** Signs the anonymous key, access tokens and refresh tokens; at least 32 bytes. The same secret keeps them valid over a restart. */
  jwtSecret: string
  /** One line at a time; `console.log` when absent. */
  log?: ((line: string) => void) | undefined
  /** Misbehaviour for tests. Never reachable through the network. */
  faults?: Partial<Faults> | undefined
  accessTokenSeconds?: number | undefined
  /** Origins beside the loopback ones whose pages may call. */
  allowedOrigins?: readonly string[] | undefined
  limits?: Partial<Limits> | undefined
}

/** What the gateway counts; read by tests and by the demo's inspector. */
export interface GatewayStats {
  sockets: number
  channels: number
  rlsQueries: number
  transactions: number
  changes: number
  framesSent: number
  framesDropped: number
  slowConsumersClosed: number
  replicationStarts: number
  replicationLive: boolean
}

export interface Counters {
  rlsQueries: number
  transactions: number
  changes: number
  framesSent: number
  framesDropped: number
  slowConsumersClosed: number
  replicationStarts: number
}

export function newCounters(): Counters {
  return {
    rlsQueries: 0,
    transactions: 0,
    changes: 0,
    framesSent: 0,
    framesDropped: 0,
    slowConsumersClosed: 0,
    replicationStarts: 0,
  }
}
