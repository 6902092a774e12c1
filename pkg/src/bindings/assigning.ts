import { callSafely } from '../mirror.js'
import { RotaError, type Key, type OperationState, type RegisteredOwned, type Store, type Winner } from '../index.js'
import { Answers } from './asking.js'
import type { AssignmentTold } from './owning.js'

/** An assignment that could not be made, or did not come true. */
export interface AssignmentFailure extends AssignmentTold {
  /** What kind of reason it is; for programs. */
  readonly code: string
  /** The same, for a person. */
  readonly message: string
  /** The operation and its end; neither, where none could be made. */
  readonly operationId?: string
  readonly outcome?: OperationState
  /** Who was first, where a race was lost and the server says so. */
  readonly winner?: Winner
}

/** What `useAssignment` returns; the same functions for as long as the provider is there, but for `canAssign`, which is another one when an answer that it gave is. */
export interface UseAssignment {
  /** Assigns a record to a person, or to nobody: it shows at once. Resolves to whether it came true; why not, `useAssignmentError` says. */
  assignEntity(entityType: RegisteredOwned, entityId: Key, userId: string | null): Promise<boolean>
  /** Whether that would be taken now, as far as is known here. */
  canAssign(entityType: RegisteredOwned, entityId: Key, userId: string | null): boolean
  /** Puts the last failure away. */
  clearError(): void
}

/** Assignments of whatever record, with one place for what goes wrong. */
export class Assigning implements UseAssignment {
  readonly answers: Answers
  readonly #store: Store
  readonly #hear: (failure: AssignmentFailure) => void
  readonly #listeners = new Set<() => void>()
  #error: AssignmentFailure | null = null

  constructor(store: Store, hear: (failure: AssignmentFailure) => void) {
    this.answers = new Answers(store)
    this.#store = store
    this.#hear = hear
  }

  readonly assignEntity = async (entityType: string, entityId: Key, userId: string | null): Promise<boolean> => {
    this.clearError()
    const about = { entityType, entityId, userId }
    try {
      const { settled } = this.#store.assignments.assign(entityType, entityId, userId)
      const { id, outcome, code = outcome, message = '', winner } = await settled
      return outcome === 'confirmed' || this.#fail({ ...about, operationId: id, outcome, code, message, ...(winner ? { winner } : {}) })
    } catch (error) {
      if (!(error instanceof RotaError)) throw error
      return this.#fail({ ...about, code: error.code, message: error.reason })
    }
  }

  readonly canAssign = (entityType: string, entityId: Key, userId: string | null): boolean => {
    return !this.#store.isClosed && this.#store.can({ name: 'assign', table: entityType, key: entityId, to: userId }) === undefined
  }

  readonly clearError = (): void => this.#set(null)

  readonly error = (): AssignmentFailure | null => this.#error

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #fail(failure: AssignmentFailure): false {
    this.#set(failure)
    callSafely(() => this.#hear(failure))
    return false
  }

  #set(error: AssignmentFailure | null): void {
    if (this.#error === error) return
    this.#error = error
    for (const listener of Array.from(this.#listeners)) callSafely(listener)
  }
}
