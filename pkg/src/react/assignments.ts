import { useCallback, useEffect, useSyncExternalStore } from 'react'
import { tellEnd, type AssignmentCallbacks } from '../bindings/assigning.js'
import type { AssignmentEvent, AssignmentState, Key, Mutated } from '../index.js'
import { useStore } from './store.js'
import { useLatest } from './stored.js'

/** What {@link useAssignmentState} takes. */
export interface AssignmentOptions extends AssignmentCallbacks {
  /** The table. */
  readonly entityType: string
  /** The record's key. */
  readonly entityId: Key
}

/** What {@link useAssignmentState} returns. */
export interface UseAssignmentState extends AssignmentState {
  /** Assigns the record to a person, or to nobody. Throws, like `mutate`, when that makes no sense. */
  assignToUser(userId: string | null): Mutated
}

/** Returns who a record is assigned to, and how to assign it. */
export function useAssignmentState(options: AssignmentOptions): UseAssignmentState {
  const { entityType, entityId } = options
  const store = useStore()
  const text = typeof entityId === 'object' ? JSON.stringify(entityId) : entityId
  const latest = useLatest(options)
  const subscribe = useCallback(
    (listener: () => void) => store.assignments.subscribe(entityType, entityId, listener),
    // oxlint-disable-next-line react-hooks/exhaustive-deps
    [store, entityType, text],
  )
  const state = useSyncExternalStore(
    subscribe,
    () => store.assignments.state(entityType, entityId),
    () => store.assignments.firstState(entityType, entityId),
  )
  const assignToUser = useCallback(
    (userId: string | null) => {
      const mutated = store.assignments.assign(entityType, entityId, userId)
      void mutated.settled.then((settlement) => tellEnd(latest.current, settlement))
      return mutated
    },
    // oxlint-disable-next-line react-hooks/exhaustive-deps
    [store, entityType, text],
  )
  return { ...state, assignToUser }
}

/** What {@link useRealtimeAssignmentSync} takes. */
export interface AssignmentSyncOptions {
  /** The tables; all whose records have an owner, where none are named. */
  readonly entityTypes?: readonly string[]
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
