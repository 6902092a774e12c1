import type { ShallowRef } from 'vue'
import { NONE } from '../bindings/first.js'
import type { Conflict, Operations, Peer, Status } from '../index.js'
import { useStore } from './store.js'
import { useStored } from './stored.js'

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
