import type { Key, Mutated, Store } from '../index.js'

/** What a component does to slots of availability, by the names of the events that tell of it. Each shows at once, and throws, like `mutate`, when it makes no sense. */
export interface AvailabilityActions<R extends object> {
  createAvailability(slot: R): Mutated
  updateAvailability(key: Key, set: Partial<R>): Mutated
  deleteAvailability(key: Key): Mutated
  /** Makes a slot active or not: the other one than it is, where nothing is said. */
  toggleAvailability(key: Key, active?: boolean): Mutated
}

export function slotActions<R extends object>({ availability }: Store): AvailabilityActions<R> {
  return {
    createAvailability: (slot) => availability.create(slot),
    updateAvailability: (key, set) => availability.update(key, set),
    deleteAvailability: (key) => availability.remove(key),
    toggleAvailability: (key, active) => availability.toggle(key, active),
  }
}
