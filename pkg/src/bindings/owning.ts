import { callSafely } from '../mirror.js'
import { RotaError, type AssignmentError, type AssignmentState, type Key, type Mutated, type Settlement, type Store } from '../index.js'

/** Which assignment it is that is told of. */
export interface AssignmentTold {
  readonly entityType: string
  readonly entityId: Key
  /** Whose it was to be; null: nobody's. */
  readonly userId: string | null
}

/** What may be called at the end of an assignment. */
export interface AssignmentCallbacks {
  /** Called when an assignment made by this component is confirmed. */
  readonly onSuccess?: ((settlement: Settlement & AssignmentTold) => void) | undefined
  /** Called when an assignment made by this component could not be made, or did not come true. */
  readonly onError?: ((error: AssignmentError & AssignmentTold) => void) | undefined
}

/** The assignment of one record, as one component shows and makes it. */
export class Owning {
  readonly #store: Store
  readonly #entityType: string
  readonly #entityId: Key
  readonly #listeners = new Set<() => void>()
  #callbacks: AssignmentCallbacks
  /** Why the last try was refused before there was an operation. */
  #refused: AssignmentError | null = null
  #shown: { readonly state: AssignmentState; readonly refused: AssignmentError | null; readonly both: AssignmentState } | undefined

  constructor(store: Store, entityType: string, entityId: Key, callbacks: AssignmentCallbacks) {
    this.#store = store
    this.#entityType = entityType
    this.#entityId = entityId
    this.#callbacks = callbacks
  }

  /** What is called from now on: of this record only, so what belongs to another is another's. */
  hear(callbacks: AssignmentCallbacks): void {
    this.#callbacks = callbacks
  }

  /** What the store says, and what it could not be told. The same object until something in it changes. */
  readonly state = (): AssignmentState => {
    const state = this.#store.assignments.state(this.#entityType, this.#entityId)
    // Somebody's next try, wherever it was made.
    if (state.isUpdating) this.#refused = null
    const refused = this.#refused
    if (!refused) return state
    if (this.#shown?.state !== state || this.#shown.refused !== refused) this.#shown = { state, refused, both: { ...state, error: refused } }
    return this.#shown.both
  }

  readonly firstState = (): AssignmentState => this.#store.assignments.firstState(this.#entityType, this.#entityId)

  readonly subscribe = (listener: () => void): (() => void) => {
    const stop = this.#store.assignments.subscribe(this.#entityType, this.#entityId, listener)
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
      stop()
    }
  }

  /** Assigns the record. What is refused at once ends like what the server refuses. */
  readonly assign = (userId: string | null): Mutated => {
    this.#refuse(null)
    const made = this.#make(userId)
    const told = { entityType: this.#entityType, entityId: this.#entityId, userId }
    void made.settled.then((settlement) => callSafely(() => tellEnd(this.#callbacks, settlement, told)))
    return made
  }

  #make(userId: string | null): Mutated {
    try {
      return this.#store.assignments.assign(this.#entityType, this.#entityId, userId)
    } catch (error) {
      if (!(error instanceof RotaError)) throw error
      const { code, reason: message } = error
      this.#refuse({ operationId: '', outcome: 'refused', code, message })
      return { id: '', temporaryKeys: [], durable: Promise.resolve('memory'), settled: Promise.resolve({ id: '', outcome: 'refused', code, message }) }
    }
  }

  #refuse(refused: AssignmentError | null): void {
    if (this.#refused === refused) return
    this.#refused = refused
    for (const listener of Array.from(this.#listeners)) callSafely(listener)
  }
}

function tellEnd({ onSuccess, onError }: AssignmentCallbacks, { id, outcome, code = outcome, message = '', winner }: Settlement, told: AssignmentTold): void {
  if (outcome === 'confirmed') onSuccess?.({ id, outcome, ...told })
  else onError?.({ operationId: id, outcome, code, message, ...(winner ? { winner } : {}), ...told })
}
