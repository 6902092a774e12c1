import type { AvailabilityHandlers } from '../index.js'
import { useWatching } from './stored.js'

/** Calls back when slots of availability come, change or go, here, in another tab, or by somebody else, for as long as the component is there. */
export function useSyncEventHandlers<R = object>(handlers: AvailabilityHandlers<R>): void {
  useWatching((store) => store.availability.watch(handlers as AvailabilityHandlers<unknown>))
}
