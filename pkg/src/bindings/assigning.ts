import { RotaError, type AssignmentError, type Key, type OperationState, type Settlement, type Store } from '../index.js'

/** What may be called at the end of an assignment. */
export interface AssignmentCallbacks {
  /** Called when an assignment made by this component is confirmed. */
  readonly onSuccess?: ((settlement: Settlement) => void) | undefined
  /** Called when an assignment made by this component did not come true. */
  readonly onError?: ((error: AssignmentError) => void) | undefined
}

/** Calls what is to be called at an assignment's end. */
export function tellEnd({ onSuccess, onError }: AssignmentCallbacks, { id, outcome, code, message }: Settlement): void {
  if (outcome === 'confirmed') onSuccess?.({ id, outcome })
  else onError?.({ operationId: id, outcome, code: code ?? outcome, message: message ?? '' })
}

/** An assignment that could not be made, or did not come true. */
export interface AssignmentFailure {
  readonly entityType: string
  readonly entityId: Key
  /** Whose it was to be; null: nobody's. */
  readonly userId: string | null
  /** What kind of reason it is; for programs. */
  readonly code: string
  /** The same, for a person. */
  readonly message: string
  /** The operation and its end; neither, where none could be made. */
  readonly operationId?: string
  readonly outcome?: OperationState
}

/** What `useAssignment` returns; the same functions for as long as the provider is there. */
export interface UseAssignment {
  /** Assigns a record to a person, or to nobody: it shows at once. Resolves to whether it came true; why not, `useAssignmentError` says. */
  assignEntity(entityType: string, entityId: Key, userId: string | null): Promise<boolean>
  /** Whether that would be taken now, as far as is known here. */
  canAssign(entityType: string, entityId: Key, userId: string | null): boolean
  /** Puts the last failure away. */
  clearError(): void
}

/** Assignments of whatever record, with one place for what goes wrong. */
export class Assigning implements UseAssignment {
  readonly #store: Store
  readonly #hear: (failure: AssignmentFailure) => void
  readonly #listeners = new Set<() => void>()
  #error: AssignmentFailure | null = null

  constructor(store: Store, hear: (failure: AssignmentFailure) => void) {
    this.#store = store
    this.#hear = hear
  }

  readonly assignEntity = async (entityType: string, entityId: Key, userId: string | null): Promise<boolean> => {
    this.clearError()
    const about = { entityType, entityId, userId }
    try {
      const { settled } = this.#store.assignments.assign(entityType, entityId, userId)
      const { id, outcome, code, message } = await settled
      return outcome === 'confirmed' || this.#fail({ ...about, operationId: id, outcome, code: code ?? outcome, message: message ?? '' })
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
    this.#hear(failure)
    return false
  }

  #set(error: AssignmentFailure | null): void {
    if (this.#error === error) return
    this.#error = error
    for (const listener of Array.from(this.#listeners)) listener()
  }
}
