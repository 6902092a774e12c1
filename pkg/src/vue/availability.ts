import { toValue } from 'vue'
import { slotActions, slotsIn, type AvailabilityActions } from '../bindings/slots.js'
import type { AvailabilityHandlers, RegisteredIn, RegisteredInsert, RegisteredRecord } from '../index.js'
import type { InTable } from './interactions.js'
import { useStore } from './store.js'
import { useWatching } from './stored.js'

/** Calls back when slots of availability come, change or go, here, in another tab, or by somebody else, for as long as the component is there. */
export function useSyncEventHandlers<R = never, N extends RegisteredIn<'availability'> = RegisteredIn<'availability'>>(
  handlers: AvailabilityHandlers<RegisteredRecord<'availability', N, R>>,
  { table }: InTable<N> = {},
): void {
  useWatching(
    (store) => slotsIn(store, toValue(table)).watch(handlers as AvailabilityHandlers<unknown>),
    true,
    () => toValue(table),
  )
}

/** Returns what can be done to slots of availability. */
export function useAvailability<R extends object = never, N extends RegisteredIn<'availability'> = RegisteredIn<'availability'>>({ table }: InTable<N> = {}): AvailabilityActions<
  RegisteredRecord<'availability', N, R>,
  RegisteredInsert<'availability', N, R>
> {
  return slotActions(useStore(), () => toValue(table))
}
