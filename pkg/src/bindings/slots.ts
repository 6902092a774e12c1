import type { Availability, Key, Mutated, Store } from '../index.js'

/** What a component does to slots of availability, by the names of the events that tell of it. Each shows at once, and throws, like `mutate`, when it makes no sense. */
export interface AvailabilityActions<R extends object, I extends object = R> {
  createAvailability(slot: I): Mutated
  updateAvailability(key: Key, set: Partial<R>): Mutated
  deleteAvailability(key: Key): Mutated
  /** Makes a slot active or not: the other one than it is, where nothing is said. */
  toggleAvailability(key: Key, active?: boolean): Mutated
}

/** The slots of a table. */
// Of whatever tables.
// oxlint-disable-next-line typescript/no-explicit-any
export function slotsIn({ availability }: Store, table: string | undefined): Availability<any> {
  return table === undefined ? availability : availability.in(table)
}

export function slotActions<R extends object, I extends object>(store: Store, table: () => string | undefined): AvailabilityActions<R, I> {
  const slots = () => slotsIn(store, table())
  return {
    createAvailability: (slot) => slots().create(slot),
    updateAvailability: (key, set) => slots().update(key, set),
    deleteAvailability: (key) => slots().remove(key),
    toggleAvailability: (key, active) => slots().toggle(key, active),
  }
}
