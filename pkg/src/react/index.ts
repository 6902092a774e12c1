'use client'

import { createContext, createElement, useCallback, useContext, useEffect, useRef, useSyncExternalStore, type ReactNode } from 'react'
import { RotaError, type AssignmentError, type AssignmentState, type Key, type Mutated, type Operations, type RecordOf, type Settlement, type Status, type Store, type Tables } from '../index.js'

const StoreContext = createContext<Store | null>(null)

/** Gives a store to every component below. It neither opens nor closes the store. */
export function RotaProvider({ store, children }: { readonly store: Store; readonly children?: ReactNode }): ReactNode {
  return createElement(StoreContext.Provider, { value: store }, children)
}

/** Returns the store of the nearest {@link RotaProvider}. */
export function useStore<T extends Tables = Tables>(): Store<T> {
  const store = useContext(StoreContext)
  if (!store) throw new RotaError('no-provider', 'there is no <RotaProvider store={…}> above this component')
  return store as Store<T>
}

/** Returns a record, and renders again when it changes. */
export function useRecord<T extends Tables = Tables, N extends keyof T & string = keyof T & string>(table: N, key: Key): RecordOf<T[N]> | undefined {
  const store = useStore<T>()
  const text = typeof key === 'object' ? JSON.stringify(key) : key
  // A composite key is usually a new list at every render; its text is what counts.
  // oxlint-disable-next-line react-hooks/exhaustive-deps
  const subscribe = useCallback((listener: () => void) => store.subscribe(table, key, listener), [store, table, text])
  return useSyncExternalStore(
    subscribe,
    () => store.get(table, key),
    () => store.firstReads.get(table, key) as RecordOf<T[N]> | undefined,
  )
}

/** Returns all records of a table, and renders again when one changes. */
export function useRecords<T extends Tables = Tables, N extends keyof T & string = keyof T & string>(table: N): readonly RecordOf<T[N]>[] {
  const store = useStore<T>()
  const subscribe = useCallback((listener: () => void) => store.subscribe(table, listener), [store, table])
  return useSyncExternalStore(
    subscribe,
    () => store.all(table),
    () => store.firstReads.all(table) as readonly RecordOf<T[N]>[],
  )
}

/** Returns how the store is, and renders again when that changes. */
export function useStatus(): Status {
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.subscribe(listener), [store])
  return useSyncExternalStore(
    subscribe,
    () => store.status(),
    () => store.firstReads.status(),
  )
}

/** Returns the operations of all tabs, and renders again when one changes. */
export function useOperations(): Operations {
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.subscribe(listener), [store])
  return useSyncExternalStore(
    subscribe,
    () => store.operations(),
    () => store.firstReads.operations(),
  )
}

/** What {@link useAssignmentState} takes. */
export interface AssignmentOptions {
  /** The table. */
  readonly entityType: string
  /** The record's key. */
  readonly entityId: Key
  /** Called when an assignment made by this component is confirmed. */
  readonly onSuccess?: (settlement: Settlement) => void
  /** Called when an assignment made by this component did not come true. */
  readonly onError?: (error: AssignmentError) => void
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
  const latest = useRef(options)
  useEffect(() => {
    latest.current = options
  })
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
      void mutated.settled.then((settlement) => tell(latest.current, settlement))
      return mutated
    },
    // oxlint-disable-next-line react-hooks/exhaustive-deps
    [store, entityType, text],
  )
  return { ...state, assignToUser }
}

function tell({ onSuccess, onError }: AssignmentOptions, { id, outcome, code, message }: Settlement): void {
  if (outcome === 'confirmed') onSuccess?.({ id, outcome })
  else onError?.({ operationId: id, outcome, code: code ?? outcome, message: message ?? '' })
}
