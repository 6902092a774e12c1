import { IS_DEVELOPMENT } from '../mirror.js'
import { RotaError, type Store } from '../index.js'

/** What a boundary's own fallback is given. */
export interface Caught {
  readonly error: unknown
  /** Shows the children anew, and tries again what waits in the store. */
  retry(): void
  reload(): void
  /** Sends a report, where the boundary has somewhere to send it. */
  report(): void
}

/** What is reported of an error. */
export interface ErrorReport {
  readonly error: unknown
  /** Where it came from: the components above, as the framework names them. */
  readonly componentStack: string
  /** When, in milliseconds since 1970. */
  readonly atMs: number
}

/** What the ready-made message says, in the application's language. */
export interface BoundaryTexts {
  readonly message: string
  readonly retry: string
  readonly reload: string
  readonly report: string
  readonly details: string
}

export const BOUNDARY_TEXTS: BoundaryTexts = { message: 'Something went wrong here.', retry: 'Try again', reload: 'Reload the page', report: 'Report it', details: 'Details' }

export function reloadPage(): void {
  globalThis.location?.reload()
}

/** Tries again what waits in the store: what was given up, functions between two tries, and the link. */
export function retryPending(store: Store | null): void {
  if (store && !store.isClosed) store.recovery.retryPendingOperations()
}

/** What a person is told of an error, and, in development, whoever builds the application. */
export function sayError(error: unknown, componentStack: string): { readonly reason: string; readonly details: string } {
  const reason = error instanceof RotaError ? error.reason : ''
  if (!IS_DEVELOPMENT) return { reason, details: '' }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { reason, details: `${stack}\n${componentStack}`.trim() }
}
