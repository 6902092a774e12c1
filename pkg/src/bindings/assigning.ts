import { callSafely } from '../mirror.js'
import { keyText } from '../tables.js'
import { RotaError, type AssignmentError, type AssignmentState, type Changes, type Key, type Mutated, type OperationState, type RegisteredOwned, type Settlement, type Store, type Winner } from '../index.js'

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
  readonly #store: Store
  readonly #hear: (failure: AssignmentFailure) => void
  readonly #listeners = new Set<() => void>()
  #error: AssignmentFailure | null = null
  #changed: { readonly of: Changes; readonly names: ReadonlySet<string> } | undefined

  constructor(store: Store, hear: (failure: AssignmentFailure) => void) {
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

  /** Calls back when what {@link canAssign} has said may no longer be so: of the records that have changed, by {@link nameOf}; of all, where none are named. */
  watchAnswers(listener: (changed?: ReadonlySet<string>) => void): () => void {
    if (this.#store.isClosed) return () => undefined
    const stops = [this.#store.subscribe((changes) => this.#tellChanged(changes, listener)), this.#store.assignments.watchRights(() => listener())]
    return () => {
      for (const stop of stops) stop()
    }
  }

  #tellChanged(changes: Changes, listener: (changed?: ReadonlySet<string>) => void): void {
    const { records, renamed } = changes
    if (records.length === 0 && !renamed) return
    // Whom something is given to may have become somebody else.
    if (renamed || records.some(({ table }) => this.#store.assignments.hasPeople(table))) return listener()
    // Once for all components: there may be many of both.
    if (this.#changed?.of !== changes) this.#changed = { of: changes, names: new Set(records.map(({ table, key }) => nameOf(table, key))) }
    listener(this.#changed.names)
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

/** What tells a record from any other. */
function nameOf(table: string, key: Key): string {
  try {
    return `${table}\n${keyText(key)}`
  } catch {
    // A record of such a key there is not, and never will be.
    return ''
  }
}

/** How many questions of one component are kept; of one that asks more, every change is worth another look. */
const QUESTIONS_MAX = 1_000

/** What one component has asked of who may be assigned what, so that it renders again when an answer is another one. */
export class Asking {
  readonly #assigning: Assigning
  readonly #answers = new Map<string, { readonly question: Parameters<UseAssignment['canAssign']>; readonly answer: boolean; readonly name: string }>()
  #isTooMuch = false
  #actions: UseAssignment

  constructor(assigning: Assigning) {
    this.#assigning = assigning
    this.#actions = this.#begin()
  }

  /** What the component is given. Another object, with another `canAssign`, once an answer has changed. */
  readonly actions = (): UseAssignment => this.#actions

  readonly subscribe = (listener: () => void): (() => void) => {
    const look = (changed?: ReadonlySet<string>) => {
      if (!this.#isStale(changed)) return
      this.#actions = this.#begin()
      listener()
    }
    const stop = this.#assigning.watchAnswers(look)
    // What has changed since the component was rendered.
    look()
    return stop
  }

  #begin(): UseAssignment {
    this.#answers.clear()
    this.#isTooMuch = false
    const { assignEntity, clearError } = this.#assigning
    return { assignEntity, clearError, canAssign: (...question) => this.#ask(question) }
  }

  #ask(question: Parameters<UseAssignment['canAssign']>): boolean {
    const answer = this.#assigning.canAssign(...question)
    if (this.#answers.size < QUESTIONS_MAX) this.#answers.set(JSON.stringify(question), { question, answer, name: nameOf(question[0], question[1]) })
    else this.#isTooMuch = true
    return answer
  }

  #isStale(changed: ReadonlySet<string> | undefined): boolean {
    if (this.#isTooMuch) return true
    for (const { question, answer, name } of this.#answers.values()) {
      if ((changed?.has(name) ?? true) && this.#assigning.canAssign(...question) !== answer) return true
    }
    return false
  }
}
