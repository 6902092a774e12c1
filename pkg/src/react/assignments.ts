import { useEffect, useMemo, useSyncExternalStore } from 'react'
import { Owning, type AssignmentCallbacks } from '../bindings/owning.js'
import type { AssignmentEvent, AssignmentState, Key, Mutated, RegisteredOwned } from '../index.js'
import { useStore } from './store.js'
import { useLatest } from './stored.js'

/** What {@link useAssignmentState} takes. */
export interface AssignmentOptions extends AssignmentCallbacks {
  /** The table. */
  readonly entityType: RegisteredOwned
  /** The record's key. */
  readonly entityId: Key
}

/** What {@link useAssignmentState} returns. */
export interface UseAssignmentState extends AssignmentState {
  /** Assigns the record to a person, or to nobody. What is refused at once is an `error` like any other, and has no id: it was never an operation. */
  assignToUser(userId: string | null): Mutated
}

/** Returns who a record is assigned to, and how to assign it. */
export function useAssignmentState(options: AssignmentOptions): UseAssignmentState {
  const { entityType, entityId } = options
  const store = useStore()
  const text = typeof entityId === 'object' ? JSON.stringify(entityId) : entityId
  // Each record has its own: what was tried with another is not told as this one's.
  // oxlint-disable-next-line react-hooks/exhaustive-deps
  const owning = useMemo(() => new Owning(store, entityType, entityId, options), [store, entityType, text])
  useEffect(() => owning.hear(options))
  const state = useSyncExternalStore(owning.subscribe, owning.state, owning.firstState)
  return { ...state, assignToUser: owning.assign }
}

/** What {@link useRealtimeAssignmentSync} takes. */
export interface AssignmentSyncOptions {
  /** The tables; all whose records have an owner, where none are named. */
  readonly entityTypes?: readonly RegisteredOwned[]
  /** Called when a record has another owner than before, by whomever. */
  readonly onAssignmentChange: (event: AssignmentEvent) => void
  /** False for silence; true by default. */
  readonly enabled?: boolean
}

/** Calls back when records are handed on, here, in another tab, or by somebody else. It never makes the component render. */
export function useRealtimeAssignmentSync(options: AssignmentSyncOptions): void {
  const { entityTypes, enabled = true } = options
  const store = useStore()
  const latest = useLatest(options)
  const names = entityTypes && JSON.stringify(entityTypes)
  useEffect(() => {
    if (!enabled) return undefined
    return store.assignments.watch((event) => latest.current.onAssignmentChange(event), names === undefined ? undefined : (JSON.parse(names) as string[]))
  }, [store, names, enabled, latest])
}
