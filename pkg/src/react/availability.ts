import { useEffect, useMemo, useRef } from 'react'
import type { InTable } from '../bindings/interactions.js'
import { slotActions, slotsIn, type AvailabilityActions } from '../bindings/slots.js'
import type { AvailabilityHandlers, RegisteredIn, RegisteredInsert, RegisteredRecord } from '../index.js'
import { useStore } from './store.js'

/** Calls back when slots of availability come, change or go, here, in another tab, or by somebody else. The handlers may be written down in the call. */
export function useSyncEventHandlers<R = never, N extends RegisteredIn<'availability'> = RegisteredIn<'availability'>>(
  handlers: AvailabilityHandlers<RegisteredRecord<'availability', N, R>>,
  { table }: InTable<N> = {},
): void {
  const store = useStore()
  const latest = useRef(handlers)
  useEffect(() => {
    latest.current = handlers
  })
  useEffect(() => {
    const handler = (name: keyof AvailabilityHandlers<R>) => (slot: unknown, key: string) => latest.current[name]?.(slot as never, key)
    return slotsIn(store, table).watch({
      availability_created: handler('availability_created'),
      availability_updated: handler('availability_updated'),
      availability_deleted: handler('availability_deleted'),
    })
  }, [store, table])
}

/** Returns what can be done to slots of availability: the same functions for as long as the store is the same. */
export function useAvailability<R extends object = never, N extends RegisteredIn<'availability'> = RegisteredIn<'availability'>>({ table }: InTable<N> = {}): AvailabilityActions<
  RegisteredRecord<'availability', N, R>,
  RegisteredInsert<'availability', N, R>
> {
  const store = useStore()
  return useMemo(() => slotActions(store, () => table), [store, table])
}
