'use client'

import { createContext, createElement, useCallback, useContext, useEffect, useRef, useSyncExternalStore, type ReactNode } from 'react'
import {
  RotaError,
  type AssignmentError,
  type AssignmentState,
  type AvailabilityHandlers,
  type Conflict,
  type Key,
  type Mutated,
  type NotificationShown,
  type Operations,
  type Peer,
  type RecordOf,
  type Settlement,
  type SnapshotOf,
  type Status,
  type Store,
  type Tables,
  type ViewSpec,
} from '../index.js'

const StoreContext = createContext<Store | null>(null)

/** A server knows of no decisions of this browser's, and of nobody who is here. */
const NONE: readonly never[] = Object.freeze([])

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

/**
 * Returns what a live list shows, and renders again when that changes. Equal specs share one list, which is closed with the last component
 * that shows it. The spec may be written down in the call: what counts is what it says.
 */
export function useView<T extends Tables = Tables, const S extends ViewSpec<T> = ViewSpec<T>>(spec: S): SnapshotOf<T, S> {
  const store = useStore<T>()
  const text = JSON.stringify(spec)
  const subscribe = useCallback(
    (listener: () => void) => {
      const view = store.view(spec)
      view.subscribe(listener)
      return () => view.close()
    },
    // oxlint-disable-next-line react-hooks/exhaustive-deps
    [store, text],
  )
  const read = () => store.views.read(spec as ViewSpec<Tables>) as unknown as SnapshotOf<T, S>
  return useSyncExternalStore(subscribe, read, read)
}

/** Returns the changes that wait for a person to decide, and renders again when one comes, changes or ends. */
export function useConflicts(): readonly Conflict[] {
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.subscribe(listener), [store])
  return useSyncExternalStore(
    subscribe,
    () => store.conflicts(),
    () => NONE,
  )
}

/** Returns everybody else who is here, and renders again when somebody comes, moves or goes. */
export function usePeers(): readonly Peer[] {
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.presence.subscribe(listener), [store])
  return useSyncExternalStore(
    subscribe,
    () => store.presence.peers(),
    () => NONE,
  )
}

/** Returns the notifications that a component is to show now, and renders again when one comes or goes. What it shows of each kind, `notifications.configure` says. */
export function useNotifications(component: string): readonly NotificationShown[] {
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.notifications.subscribe(listener), [store])
  return useSyncExternalStore(
    subscribe,
    () => store.notifications.shown(component),
    () => NONE,
  )
}

/** Calls back when slots of availability come, change or go, here, in another tab, or by somebody else. The handlers may be written down in the call. */
export function useSyncEventHandlers<R = object>(handlers: AvailabilityHandlers<R>): void {
  const store = useStore()
  const latest = useRef(handlers)
  useEffect(() => {
    latest.current = handlers
  })
  useEffect(() => {
    const handler = (name: keyof AvailabilityHandlers<R>) => (slot: unknown, key: string) => latest.current[name]?.(slot as R, key)
    return store.availability.watch({
      availability_created: handler('availability_created'),
      availability_updated: handler('availability_updated'),
      availability_deleted: handler('availability_deleted'),
    })
  }, [store])
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
