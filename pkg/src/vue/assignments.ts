import { computed, toValue, type ComputedRef, type MaybeRefOrGetter } from 'vue'
import { Owning, type AssignmentCallbacks } from '../bindings/owning.js'
import type { AssignmentEvent, AssignmentState, Key, Mutated, RegisteredOwned } from '../index.js'
import { useStore } from './store.js'
import { useStored, useWatching } from './stored.js'

/** What {@link useAssignmentState} takes. */
export interface AssignmentOptions extends AssignmentCallbacks {
  /** The table. */
  readonly entityType: MaybeRefOrGetter<RegisteredOwned>
  /** The record's key. */
  readonly entityId: MaybeRefOrGetter<Key>
}

/** What {@link useAssignmentState} returns: a ref for each part of the state. */
export type UseAssignmentState = { readonly [K in keyof AssignmentState]: ComputedRef<AssignmentState[K]> } & {
  /** Assigns the record to a person, or to nobody. What is refused at once is an `error` like any other, and has no id: it was never an operation. */
  assignToUser(userId: string | null): Mutated
}

/** Returns who a record is assigned to, and how to assign it. */
export function useAssignmentState(options: AssignmentOptions): UseAssignmentState {
  const store = useStore()
  const about = computed(() => JSON.stringify([toValue(options.entityType), toValue(options.entityId)]))
  // Each record has its own: what was tried with another is not told as this one's.
  const owning = computed(() => {
    const [entityType, entityId] = JSON.parse(about.value) as [string, Key]
    return new Owning(store, entityType, entityId, options)
  })
  const state = useStored(
    () => owning.value.subscribe,
    () => owning.value.state(),
    () => owning.value.firstState(),
  )
  return {
    ownerId: computed(() => state.value.ownerId),
    ownerName: computed(() => state.value.ownerName),
    isLoading: computed(() => state.value.isLoading),
    isUpdating: computed(() => state.value.isUpdating),
    error: computed(() => state.value.error),
    canAssign: computed(() => state.value.canAssign),
    assignToUser: (userId) => owning.value.assign(userId),
  }
}

/** What {@link useRealtimeAssignmentSync} takes. */
export interface AssignmentSyncOptions {
  /** The tables; all whose records have an owner, where none are named. */
  readonly entityTypes?: MaybeRefOrGetter<readonly RegisteredOwned[] | undefined>
  /** Called when a record has another owner than before, by whomever. */
  readonly onAssignmentChange: (event: AssignmentEvent) => void
  /** False for silence; true by default. */
  readonly enabled?: MaybeRefOrGetter<boolean | undefined>
}

/** Calls back when records are handed on, here, in another tab, or by somebody else, for as long as the component is there. */
export function useRealtimeAssignmentSync(options: AssignmentSyncOptions): void {
  useWatching(
    (store) => store.assignments.watch((event) => options.onAssignmentChange(event), toValue(options.entityTypes)),
    options.enabled,
    () => JSON.stringify(toValue(options.entityTypes)),
  )
}
