import { useCallback, useSyncExternalStore } from 'react'
import type { Conflict, Operations, Peer, Status } from '../index.js'
import { NONE } from '../bindings/first.js'
import { useStore } from './store.js'

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
