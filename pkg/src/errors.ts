import { messageOf } from './guard.js'

/** Every code that a {@link RotaError} may carry. Codes are stable: they are never renamed, only added. */
export type RotaErrorCode =
  | 'not-initialised'
  | 'invalid-configuration'
  | 'duplicate-store'
  | 'closed'
  | 'unknown-table'
  | 'unknown-field'
  | 'unknown-record'
  | 'unknown-operation'
  | 'record-exists'
  | 'missing-key'
  | 'invalid-value'
  | 'invalid-operation'
  | 'too-late'
  | 'nothing-to-undo'
  | 'unknown-dependency'
  | 'dependency-ended'
  | 'outbox-full'
  | 'storage-full'
  | 'unsent-operations'
  | 'signing-out'
  | 'engine-crashed'
  | 'no-provider'
  | 'invalid-snapshot'
  | 'foreign-snapshot'
  | 'transaction-length'
  | 'unknown-conflict'
  | 'invalid-view'
  | 'not-indexed'
  | 'too-many-views'
  | 'cancelled'
  | 'forbidden'
  | 'illegal-transition'
  | 'capacity-exceeded'
  | 'queue-empty'
  | 'inactive'
  | 'unknown-operator'
  | 'reversed-slot'
  | 'empty-slot'
  | 'unknown-zone'
  | 'invalid-recurrence'
  | 'overlap'
  | 'too-many-components'
  | 'push-unsupported'
  | 'push-denied'
  | 'push-dismissed'
  | 'push-needs-gesture'
  | 'push-no-worker'
  | 'push-failed'
  | 'push-not-saved'
  | 'push-no-library'

/** A call that could not be taken. Nothing has changed when one is thrown. */
export class RotaError extends Error {
  override readonly name = 'RotaError'
  /** What kind of error it is; for programs. `message` is for people. */
  readonly code: RotaErrorCode
  /** The message without its code. */
  readonly reason: string

  constructor(code: RotaErrorCode, message: string, options?: ErrorOptions) {
    super(`${message} [${code}]`, options)
    this.code = code
    this.reason = message
  }
}

/** Turns what the engine threw into a {@link RotaError}; what is neither a refusal nor a crash stays what it is. `crashed` says what a panic said, if there was one. */
export function toRotaError(thrown: unknown, crashed: () => string | undefined): unknown {
  if (thrown instanceof RotaError) return thrown
  if (isRefusal(thrown)) return new RotaError(thrown.code, thrown.message)
  const panic = crashed()
  if (panic === undefined && !(thrown instanceof WebAssembly.RuntimeError)) return thrown
  const why = panic ?? (thrown as Error).message
  return new RotaError('engine-crashed', messageOf(why), { cause: thrown })
}

function isRefusal(thrown: unknown): thrown is { code: RotaErrorCode; message: string } {
  return typeof thrown === 'object' && thrown !== null && !(thrown instanceof Error) && 'code' in thrown && 'message' in thrown
}
