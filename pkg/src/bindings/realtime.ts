import type { RecordEvent, Store, Tables, ViewSpec } from '../index.js'

/** The spec of a table of patients, where there is one. */
export type PatientsSpec<T extends Tables> = T extends { readonly patients: unknown } ? ViewSpec<T> & { readonly table: 'patients' } : ViewSpec<T>

/** What to call when records come, change or go. */
export interface RealtimeHandlers<R = object> {
  readonly onInsert?: (event: RecordEvent<R>) => void
  readonly onUpdate?: (event: RecordEvent<R>) => void
  readonly onDelete?: (event: RecordEvent<R>) => void
}

/** Whether what is seen is live. */
export interface RealtimeState {
  /** True while the stream is. When it is not, changes are fetched now and then, or wait for the link. */
  readonly isConnected: boolean
  /** True until everything was fetched once. */
  readonly isLoading: boolean
}

export function realtimeOf(store: Store): RealtimeState {
  const { link, ready } = store.status()
  return { isConnected: link.state === 'live', isLoading: !ready && !store.isClosed }
}

export function firstRealtimeOf(store: Store): RealtimeState {
  return { isConnected: false, isLoading: !store.firstReads.status().ready }
}

export function tellRealtime<R>(event: RecordEvent<R>, { onInsert, onUpdate, onDelete }: RealtimeHandlers<R>): void {
  if (event.type === 'inserted') onInsert?.(event)
  else if (event.type === 'updated') onUpdate?.(event)
  else onDelete?.(event)
}
