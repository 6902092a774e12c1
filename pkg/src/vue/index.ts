import { computed, getCurrentInstance, inject, onMounted, onUnmounted, provide, shallowReadonly, shallowRef, ssrContextKey, toValue, watch, type ComputedRef, type InjectionKey, type MaybeRefOrGetter, type ShallowRef } from 'vue'
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

const STORE: InjectionKey<Store> = Symbol('rota')

/** A server knows of no decisions of this browser's, and of nobody who is here. */
const NONE: readonly never[] = Object.freeze([])

/** Gives a store to every component below the one that calls this. It neither opens nor closes the store. */
export function provideRota(store: Store): void {
  provide(STORE, store)
}

/** Returns the store that was given by {@link provideRota}, or by `app.use(rotaPlugin(store))`. */
export function useStore<T extends Tables = Tables>(): Store<T> {
  const store = inject(STORE, null)
  if (!store) throw new RotaError('no-provider', 'no component above called provideRota(store), and the application has no rotaPlugin(store)')
  return store as Store<T>
}

/** A plugin that gives a store to a whole application. */
export function rotaPlugin(store: Store): { install(app: { provide(key: InjectionKey<Store>, value: Store): unknown }): void } {
  return { install: (app) => void app.provide(STORE, store) }
}

/** True while a component renders on a server, or takes over what a server has rendered: it has its element before it was mounted. */
function rendersWithServer(): boolean {
  return !!getCurrentInstance()?.vnode.el || inject(ssrContextKey, null) !== null
}

/** Keeps a ref equal to something read from the store, for as long as the component lives. `readFirst` is for what renders with a server. */
function useStored<V>(subscribe: () => (listener: () => void) => () => void, read: () => V, readFirst: () => V): Readonly<ShallowRef<V>> {
  let isFirst = getCurrentInstance() !== null && rendersWithServer()
  const value = shallowRef(isFirst ? readFirst() : read()) as ShallowRef<V>
  const refresh = () => {
    if (!isFirst) value.value = read()
  }
  if (isFirst) {
    onMounted(() => {
      isFirst = false
      refresh()
    })
  }
  watch(
    subscribe,
    (start, _, onCleanup) => {
      // Also when the component goes, or was only rendered on a server.
      onCleanup(start(refresh))
      refresh()
    },
    { immediate: true, flush: 'sync' },
  )
  return shallowReadonly(value)
}

/** Returns a record that stays current. */
export function useRecord<T extends Tables = Tables, N extends keyof T & string = keyof T & string>(
  table: MaybeRefOrGetter<N>,
  key: MaybeRefOrGetter<Key>,
): Readonly<ShallowRef<RecordOf<T[N]> | undefined>> {
  const store = useStore<T>()
  return useStored(
    () => {
      const [name, value] = [toValue(table), toValue(key)]
      return (listener) => store.subscribe(name, value, listener)
    },
    () => store.get(toValue(table), toValue(key)),
    () => store.firstReads.get(toValue(table), toValue(key)) as RecordOf<T[N]> | undefined,
  )
}

/** Returns all records of a table; the list stays current. */
export function useRecords<T extends Tables = Tables, N extends keyof T & string = keyof T & string>(
  table: MaybeRefOrGetter<N>,
): Readonly<ShallowRef<readonly RecordOf<T[N]>[]>> {
  const store = useStore<T>()
  return useStored(
    () => {
      const name = toValue(table)
      return (listener) => store.subscribe(name, listener)
    },
    () => store.all(toValue(table)),
    () => store.firstReads.all(toValue(table)) as readonly RecordOf<T[N]>[],
  )
}

/** Returns what a live list shows; it stays current. Equal specs share one list, which is closed with the last component that shows it. */
export function useView<T extends Tables = Tables, const S extends ViewSpec<T> = ViewSpec<T>>(spec: MaybeRefOrGetter<S>): Readonly<ShallowRef<SnapshotOf<T, S>>> {
  const store = useStore<T>()
  const read = () => store.views.read(toValue(spec) as ViewSpec<Tables>) as unknown as SnapshotOf<T, S>
  return useStored(
    () => {
      const now = toValue(spec)
      // Reads all of it, so that a change deep inside is noticed.
      JSON.stringify(now)
      return (listener) => {
        const view = store.view(now)
        view.subscribe(listener)
        return () => view.close()
      }
    },
    read,
    read,
  )
}

/** Returns the changes that wait for a person to decide. */
export function useConflicts(): Readonly<ShallowRef<readonly Conflict[]>> {
  const store = useStore()
  return useStored(
    () => (listener) => store.subscribe(listener),
    () => store.conflicts(),
    () => NONE,
  )
}

/** Returns everybody else who is here. */
export function usePeers(): Readonly<ShallowRef<readonly Peer[]>> {
  const store = useStore()
  return useStored(
    () => (listener) => store.presence.subscribe(listener),
    () => store.presence.peers(),
    () => NONE,
  )
}

/** Returns the notifications that a component is to show now. What it shows of each kind, `notifications.configure` says. */
export function useNotifications(component: MaybeRefOrGetter<string>): Readonly<ShallowRef<readonly NotificationShown[]>> {
  const store = useStore()
  return useStored(
    () => {
      // Another component's are others.
      toValue(component)
      return (listener) => store.notifications.subscribe(listener)
    },
    () => store.notifications.shown(toValue(component)),
    () => NONE,
  )
}

/** Calls back when slots of availability come, change or go, here, in another tab, or by somebody else, for as long as the component is there. */
export function useSyncEventHandlers<R = object>(handlers: AvailabilityHandlers<R>): void {
  const store = useStore()
  let stop = (): void => undefined
  // A server has nobody to tell.
  onMounted(() => {
    stop = store.availability.watch(handlers as AvailabilityHandlers<unknown>)
  })
  onUnmounted(() => stop())
}

/** Returns how the store is. */
export function useStatus(): Readonly<ShallowRef<Status>> {
  const store = useStore()
  return useStored(
    () => (listener) => store.subscribe(listener),
    () => store.status(),
    () => store.firstReads.status(),
  )
}

/** Returns the operations of all tabs. */
export function useOperations(): Readonly<ShallowRef<Operations>> {
  const store = useStore()
  return useStored(
    () => (listener) => store.subscribe(listener),
    () => store.operations(),
    () => store.firstReads.operations(),
  )
}

/** What {@link useAssignmentState} takes. */
export interface AssignmentOptions {
  /** The table. */
  readonly entityType: MaybeRefOrGetter<string>
  /** The record's key. */
  readonly entityId: MaybeRefOrGetter<Key>
  /** Called when an assignment made by this component is confirmed. */
  readonly onSuccess?: (settlement: Settlement) => void
  /** Called when an assignment made by this component did not come true. */
  readonly onError?: (error: AssignmentError) => void
}

/** What {@link useAssignmentState} returns: a ref for each part of the state. */
export type UseAssignmentState = { readonly [K in keyof AssignmentState]: ComputedRef<AssignmentState[K]> } & {
  /** Assigns the record to a person, or to nobody. Throws, like `mutate`, when that makes no sense. */
  assignToUser(userId: string | null): Mutated
}

/** Returns who a record is assigned to, and how to assign it. */
export function useAssignmentState(options: AssignmentOptions): UseAssignmentState {
  const store = useStore()
  const state = useStored(
    () => {
      const [table, key] = [toValue(options.entityType), toValue(options.entityId)]
      return (listener) => store.assignments.subscribe(table, key, listener)
    },
    () => store.assignments.state(toValue(options.entityType), toValue(options.entityId)),
    () => store.assignments.firstState(toValue(options.entityType), toValue(options.entityId)),
  )
  const assignToUser = (userId: string | null): Mutated => {
    const mutated = store.assignments.assign(toValue(options.entityType), toValue(options.entityId), userId)
    void mutated.settled.then((settlement) => tell(options, settlement))
    return mutated
  }
  return {
    ownerId: computed(() => state.value.ownerId),
    ownerName: computed(() => state.value.ownerName),
    isLoading: computed(() => state.value.isLoading),
    isUpdating: computed(() => state.value.isUpdating),
    error: computed(() => state.value.error),
    canAssign: computed(() => state.value.canAssign),
    assignToUser,
  }
}

function tell({ onSuccess, onError }: AssignmentOptions, { id, outcome, code, message }: Settlement): void {
  if (outcome === 'confirmed') onSuccess?.({ id, outcome })
  else onError?.({ operationId: id, outcome, code: code ?? outcome, message: message ?? '' })
}
