import { slotActions, type AvailabilityActions } from '../bindings/slots.js'
import type { AvailabilityHandlers } from '../index.js'
import { useStore } from './store.js'
import { useWatching } from './stored.js'

/** Calls back when slots of availability come, change or go, here, in another tab, or by somebody else, for as long as the component is there. */
export function useSyncEventHandlers<R = object>(handlers: AvailabilityHandlers<R>): void {
  useWatching((store) => store.availability.watch(handlers as AvailabilityHandlers<unknown>))
}

/** Returns what can be done to slots of availability. */
export function useAvailability<R extends object = object>(): AvailabilityActions<R> {
  return slotActions<R>(useStore())
}
