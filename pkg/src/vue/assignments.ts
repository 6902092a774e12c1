import { computed, toValue, type ComputedRef, type MaybeRefOrGetter } from 'vue'
import { tellEnd, type AssignmentCallbacks } from '../bindings/assigning.js'
import type { AssignmentEvent, AssignmentState, Key, Mutated } from '../index.js'
import { useStore } from './store.js'
import { useStored, useWatching } from './stored.js'

/** What {@link useAssignmentState} takes. */
export interface AssignmentOptions extends AssignmentCallbacks {
  /** The table. */
  readonly entityType: MaybeRefOrGetter<string>
  /** The record's key. */
  readonly entityId: MaybeRefOrGetter<Key>
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
    void mutated.settled.then((settlement) => tellEnd(options, settlement))
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

/** What {@link useRealtimeAssignmentSync} takes. */
export interface AssignmentSyncOptions {
  /** The tables; all whose records have an owner, where none are named. */
  readonly entityTypes?: MaybeRefOrGetter<readonly string[] | undefined>
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
