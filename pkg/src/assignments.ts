import { follow, type Bulk, type BulkOptions } from './bulk.js'
import { RotaError } from './errors.js'
import { assignmentRules, happenings } from './init.js'
import { add, type ChangeList, type Listener, type Mirror } from './mirror.js'
import { RecordEvents } from './record-events.js'
import type { FirstReads } from './snapshot.js'
import { keyText, table as declare, type OwnedName, type RecordOf, type Tables } from './tables.js'
import type { DeepReadonly, Key, Mutated, OperationView, Winner } from './types.js'
import { ruledView, type ViewSpec } from './viewing.js'
import type { View } from './views.js'

/** Why the last assignment of a record did not come true. */
export interface AssignmentError {
  readonly operationId: string
  readonly outcome: OperationView['state']
  readonly code: string
  readonly message: string
  /** Who was first, where a race was lost and the server says so. */
  readonly winner?: Winner
}

/** Who a record is assigned to, as a component shows it. The same object until something in it changes. */
export interface AssignmentState {
  /** The owner's id, or null: nobody. */
  readonly ownerId: string | null
  /** The owner's name, or their id where there is none; {@link UPDATING} while that is not known yet; null when there is no owner. */
  readonly ownerName: string | null
  /** True until the record was fetched. */
  readonly isLoading: boolean
  /** True while an assignment of this record waits for the server's word. */
  readonly isUpdating: boolean
  /** Why the last assignment did not come true; null again at the next try. Kept of the last 10,000 records that have one. */
  readonly error: AssignmentError | null
  /** True when the record is there, can have an owner, and may be handed on by this person, as far as is known here: to whom, `store.can` says. */
  readonly canAssign: boolean
}

/** A record that was handed on. */
export interface AssignmentEvent {
  readonly table: string
  readonly key: string
  /** Whose it was, and whose it is; null: nobody's. */
  readonly from: string | null
  readonly to: string | null
}

/** What an owner's name reads as until it is known. */
export const UPDATING = 'Updating...'

const ASSIGN = 'assign'

/** How many records one call takes: as many as operations may wait. */
const MANY_MAX = 10_000

/** A change of an owner, as the server kit writes it down in `assignment_history`. */
export interface AssignmentChange {
  id: number
  table_name: string
  record_key: string
  from_owner: string | null
  to_owner: string | null
  /** The person who did it; null where it was done by plain SQL. */
  changed_by: string | null
  changed_at: string
  /** The tab and the operation that it was done with, where it was one. */
  tab: string | null
  operation: string | null
}

/** The declaration of the server kit's history, for `tables: { assignment_history: assignmentHistory }`. */
export const assignmentHistory = declare<AssignmentChange>({
  key: 'id',
  fields: ['id', 'table_name', 'record_key', 'from_owner', 'to_owner', 'changed_by', 'changed_at', 'tab', 'operation'],
  indexed: ['table_name', 'record_key', 'from_owner', 'to_owner', 'changed_by', 'changed_at'],
})

/** Which part of a history to show. */
export interface HistoryOptions {
  /** How many changes at most; 100 by default. */
  readonly limit?: number
  /** The declared table that holds the history; `assignment_history` by default. */
  readonly in?: string
}

/** A live list of changes of owners, the newest first. */
export type AssignmentHistory = View<DeepReadonly<AssignmentChange>>

/** How many states are kept of records that nobody watches: enough for whatever is being rendered and will watch in a moment. */
const UNWATCHED_MAX = 1_000

/** Of how many records it is kept why their last assignment did not come true. */
const ERRORS_MAX = 10_000

const FAILED: ReadonlySet<string> = new Set<OperationView['state']>(['refused', 'conflicted', 'dead'])

/** Who this person is, and what they may do. @internal */
export interface AssignmentRights {
  readonly user: string
  mayHandOn(table: string, key: string): boolean
}

/** Assignments: any record that has an owner. */
export class Assignments<T extends Tables> {
  readonly #mirror: Mirror
  readonly #tables: T
  readonly #mutate: (table: string, key: Key, to: string | null) => Mutated
  readonly #transact: (mutations: readonly object[]) => Mutated
  readonly #batch: <R>(run: () => R) => R
  readonly #requireOpen: () => void
  readonly #first: FirstReads
  readonly #events: RecordEvents<AssignmentEvent>
  readonly #view: (spec: ViewSpec<Tables>) => View<object>
  readonly #rights: AssignmentRights
  /** Where people are by the policies of tables, as the number of that table in change lists. */
  readonly #peopleOf = new Map<string, number>()
  /** Who hears when this person may do other things than before. */
  readonly #rightsWatchers = new Set<Listener>()
  /** The last state of each record that is watched, with how many watch it; and of some that are not. */
  readonly #watched = new Map<string, { watchers: number; state: AssignmentState | undefined }>()
  readonly #unwatched = new Map<string, AssignmentState>()
  /** Why the last assignment of a record did not come true, the oldest first. */
  readonly #errors = new Map<string, AssignmentError>()

  /** @internal */
  constructor(
    mirror: Mirror,
    tables: T,
    mutate: (table: string, key: Key, to: string | null) => Mutated,
    many: { transact(mutations: readonly object[]): Mutated; batch<R>(run: () => R): R },
    requireOpen: () => void,
    first: FirstReads,
    view: (spec: ViewSpec<Tables>) => View<object>,
    rights: AssignmentRights,
  ) {
    this.#view = view
    this.#rights = rights
    this.#transact = many.transact
    this.#batch = many.batch
    this.#mirror = mirror
    mirror.add({
      take: (list, tell) => this.#take(list, tell),
      countListeners: () => this.#rightsWatchers.size,
      close: () => {
        this.#errors.clear()
        this.#rightsWatchers.clear()
      },
    })
    this.#tables = tables
    this.#mutate = mutate
    this.#requireOpen = requireOpen
    this.#first = first
    const names = Object.entries(tables).map(([name, { owner }]) => (owner === undefined ? undefined : name))
    this.#events = new RecordEvents(mirror, names, ({ table, key, before, after }) => {
      const owner = tables[table]?.owner ?? ''
      const [from = null, to = null] = happenings.owner(owner, withOwner(before, owner), withOwner(after, owner)) ?? []
      return from === to ? undefined : { table, key, from, to }
    })
  }

  /** Assigns a record to a person, or to nobody. */
  assign(table: OwnedName<T>, key: Key, to: string | null): Mutated {
    return this.#mutate(table, key, to)
  }

  /**
   * Assigns many records to a person, or to nobody. Each for itself: what makes no sense of one, or is refused, is that one's result, and the others go
   * on. With `atomic` all or nothing, as one operation: then 1 to 100, and it throws, and nothing has changed, when one makes no sense; `settled` then says
   * the same of each. A record that is named twice is assigned once, and both results are of that. At most 10,000; listeners hear of all of them once,
   * and a backend that takes several operations a call gets them in as few as it takes.
   */
  assignAll(table: OwnedName<T>, keys: readonly Key[], to: string | null, options: BulkOptions = {}): Bulk {
    if (!Array.isArray(keys)) throw new RotaError('invalid-operation', 'assignAll takes a table, a list of keys, and a person or null')
    if (keys.length > MANY_MAX) throw new RotaError('outbox-full', `assignAll takes at most ${MANY_MAX} records at once, not ${keys.length}; none was assigned`)
    if (typeof options !== 'object' || options === null) throw new RotaError('invalid-operation', 'the options of assignAll are an object')
    // A hole in the list is one that makes no sense, as any other.
    keys = Array.from(keys)
    const { atomic = false, onProgress } = options
    if (onProgress !== undefined && typeof onProgress !== 'function') throw new RotaError('invalid-operation', 'onProgress of assignAll is a function')
    this.#requireOpen()
    this.#options(table)
    if (atomic) {
      const named = [...new Map(keys.map((key) => [keyText(key), key])).values()]
      const mutations = named.map((key) => ({ name: ASSIGN, table, key, to }))
      const all = mutations.length === 1 ? this.#mutate(table, named[0] as Key, to) : this.#transact(mutations)
      return follow(keys, keys.map(() => all), this.#mirror, onProgress)
    }
    const made = new Map<string, Mutated>()
    const assign = (key: Key): Mutated => {
      const text = keyText(key)
      const one = made.get(text) ?? this.#mutate(table, key, to)
      made.set(text, one)
      return one
    }
    const taken = this.#batch(() =>
      keys.map((key) => {
        try {
          return assign(key)
        } catch (error) {
          if (error instanceof RotaError && error.code !== 'engine-crashed') return error
          throw error
        }
      }),
    )
    return follow(keys, taken, this.#mirror, onProgress)
  }

  /** Takes many records away from whoever has them: {@link assignAll} to nobody. */
  unassignAll(table: OwnedName<T>, keys: readonly Key[], options: BulkOptions = {}): Bulk {
    return this.assignAll(table, keys, null, options)
  }

  /** Opens the live list of who had a record. Needs the table of {@link assignmentHistory}. */
  history(table: OwnedName<T>, key: Key, options: HistoryOptions = {}): AssignmentHistory {
    this.#options(table)
    return this.#history(table, keyText(key), options)
  }

  /** Opens the live list of what a person was given, lost, or gave. Needs the table of {@link assignmentHistory}. */
  historyOf(user: string, options: HistoryOptions = {}): AssignmentHistory {
    if (typeof user !== 'string') throw new RotaError('invalid-operation', 'historyOf takes the id of a person')
    return this.#history(undefined, user, options)
  }

  /** Opens the live figures of a table: in `groups`, how many records each person has (`count`), by the owner field. That field must be `indexed`. */
  statistics<N extends OwnedName<T>>(table: N): View<RecordOf<T[N]>, 'count'> {
    return this.#view(this.#lists(table)[0]) as unknown as View<RecordOf<T[N]>, 'count'>
  }

  /** Opens the live list of the records that nobody has, by key, at most so many where a limit is given; `total` counts all. The owner field must be `indexed`. */
  unassigned<N extends OwnedName<T>>(table: N, limit?: number): View<RecordOf<T[N]>> {
    const spec = this.#lists(table)[1]
    return this.#view(limit === undefined ? spec : { ...spec, limit }) as unknown as View<RecordOf<T[N]>>
  }

  #lists(table: string): [ViewSpec<Tables>, ViewSpec<Tables>] {
    const { owner } = this.#options(table)
    if (owner === undefined) throw new RotaError('invalid-operation', `table "${table}" declares no owner field, so nobody has its records`)
    const [people, nobodys] = assignmentRules.statistics(table, owner) as [unknown, unknown]
    return [ruledView(people), ruledView(nobodys)]
  }

  #history(table: string | undefined, of: string, { limit = 100, in: name = 'assignment_history' }: HistoryOptions): AssignmentHistory {
    if (!Object.hasOwn(this.#tables, name)) {
      throw new RotaError('unknown-table', `there is no table "${name}": the history is read from it, so declare it, as tables: { ${name}: assignmentHistory }`)
    }
    // What makes no sense as a limit is refused as that of any view.
    return this.#view({ ...ruledView(assignmentRules.history(name, table, of, 0)), limit }) as AssignmentHistory
  }

  /** Returns a record's assignment as it is to be seen now. */
  state(table: keyof T & string, key: Key): AssignmentState {
    const text = keyText(key)
    return this.#same(table, text, this.#compute(table, text))
  }

  /** @internal The same while a server renders, and in a browser until what it rendered was taken over. */
  firstState(table: keyof T & string, key: Key): AssignmentState {
    const text = keyText(key)
    const { owner, ownerName } = this.#options(table)
    const record = this.#first.get(table, text)
    const isLoading = !record && !this.#first.status().ready && !this.#mirror.isClosed
    return this.#same(table, text, stateOf(record, owner, (ownerId) => nameOf(ownerId, ownerName, this.#first, this.#first.status().ready), isLoading))
  }

  #same(table: string, text: string, next: AssignmentState): AssignmentState {
    const name = nameOfRecord(table, text)
    const watched = this.#watched.get(name)
    const known = watched?.state ?? this.#unwatched.get(name)
    const state = known && isSame(known, next) ? known : next
    if (watched) watched.state = state
    else this.#keepUnwatched(name, state)
    return state
  }

  /** Calls back when a record's assignment may have changed; returns how to stop. */
  subscribe(table: keyof T & string, key: Key, listener: () => void): () => void {
    this.#requireOpen()
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'assignments.subscribe takes a table, a key and a listener')
    const text = keyText(key)
    const names = this.#options(table).ownerName
    const stops = [this.#mirror.watchRecord(table, text, listener)]
    if (names) stops.push(this.#mirror.watchTable(names.table, listener))
    // Once all is here, who has no name has none.
    if (!this.#mirror.status.ready) stops.push(this.#mirror.watch(({ status }) => status?.ready && listener()))
    stops.push(this.watchRights(listener), this.#watch(nameOfRecord(table, text)))
    return () => {
      for (const stop of stops.splice(0)) stop()
    }
  }

  /**
   * Calls back when a record has another owner than before, by whomever, as soon as it shows; of all tables whose records have an owner, or of these. A record that
   * comes was nobody's before, and one that goes is nobody's afterwards. Returns how to stop.
   */
  watch(listener: (event: AssignmentEvent) => void, tables?: readonly OwnedName<T>[]): () => void {
    this.#requireOpen()
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'assignments.watch takes a function, and perhaps a list of tables')
    for (const table of tables ?? []) {
      if (this.#options(table).owner === undefined) throw new RotaError('invalid-operation', `table "${table}" declares no owner field, so its records can't be assigned`)
    }
    return this.#events.watch(tables ? (event) => (tables as readonly string[]).includes(event.table) && listener(event) : listener)
  }

  /** @internal Calls back when this person may perhaps do other things than before: by another policy, or as somebody else than they were. */
  watchRights(listener: () => void): () => void {
    return add(this.#rightsWatchers, listener)
  }

  /** @internal A policy was declared: who may do what to a table's records, and where people are. */
  judgeBy(table: string, people: string): void {
    this.#peopleOf.set(table, Object.keys(this.#tables).indexOf(people))
    this.#mirror.due(this.#rightsWatchers)
  }

  /** @internal True where people are in a table, by some policy. */
  hasPeople(table: string): boolean {
    const number = this.#peopleOf.size === 0 ? -1 : Object.keys(this.#tables).indexOf(table)
    return number >= 0 && [...this.#peopleOf.values()].includes(number)
  }

  /** @internal Drops whatever it knows, as its store was closed. */
  forget(): void {
    this.#watched.clear()
    this.#unwatched.clear()
  }

  /** Keeps why assignments fail; the next try, whoever makes it, is a new one. */
  #take({ records, operations, renamed }: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    if (this.#rightsWatchers.size > 0 && this.#peopleOf.size > 0) {
      const people = new Set(this.#peopleOf.values())
      for (let at = 0; at < records.length; at += 5) {
        if (records[at + 2] !== this.#rights.user || !people.has(records[at + 1] as number)) continue
        tell(this.#rightsWatchers)
        break
      }
    }
    for (const { table, from, to } of renamed ?? []) {
      const error = this.#errors.get(nameOfRecord(table, from))
      this.#errors.delete(nameOfRecord(table, from))
      if (error) this.#errors.set(nameOfRecord(table, to), error)
    }
    for (const view of operations) {
      const { id, state, code = state, message = '', winner } = view
      for (const { name, table, key } of view.parts ?? [view]) {
        if (name !== ASSIGN) continue
        const record = nameOfRecord(table, key)
        this.#errors.delete(record)
        if (FAILED.has(state)) this.#errors.set(record, { operationId: id, outcome: state, code, message, ...(winner ? { winner } : {}) })
      }
    }
    for (const oldest of this.#errors.keys()) {
      if (this.#errors.size <= ERRORS_MAX) break
      this.#errors.delete(oldest)
    }
  }

  #watch(name: string): () => void {
    const watched = this.#watched.get(name) ?? { watchers: 0, state: this.#unwatched.get(name) }
    watched.watchers++
    this.#watched.set(name, watched)
    this.#unwatched.delete(name)
    return () => {
      watched.watchers--
      // Forgotten with its store.
      if (watched.watchers > 0 || this.#watched.get(name) !== watched) return
      this.#watched.delete(name)
      if (watched.state) this.#keepUnwatched(name, watched.state)
    }
  }

  #keepUnwatched(name: string, state: AssignmentState): void {
    this.#unwatched.set(name, state)
    if (this.#unwatched.size <= UNWATCHED_MAX) return
    for (const oldest of this.#unwatched.keys()) {
      this.#unwatched.delete(oldest)
      return
    }
  }

  #options(table: string): Tables[string] {
    const options = this.#tables[table]
    if (!options) throw new RotaError('unknown-table', `there is no table "${table}"`)
    return options
  }

  #compute(table: string, key: string): AssignmentState {
    const { owner, ownerName } = this.#options(table)
    const cell = this.#mirror.cell(table, key)
    const now = this.#mirror.keyNow(table, key)
    const isUpdating = [...(cell?.pending.values() ?? [])].some((view) => isAssignment(view, table, now) && view.state !== 'dead')
    const isLoading = !cell?.record && !this.#mirror.status.ready && !this.#mirror.isClosed
    const isKnown = !isUpdating && (this.#mirror.status.ready || this.#mirror.isClosed)
    const state = stateOf(cell?.record, owner, (ownerId) => nameOf(ownerId, ownerName, this.#mirror, isKnown), isLoading)
    const canAssign = state.canAssign && (!this.#peopleOf.has(table) || this.#rights.mayHandOn(table, now))
    return { ...state, canAssign, isUpdating, error: isUpdating ? null : (this.#errors.get(nameOfRecord(table, now)) ?? null) }
  }
}

/** The state of an assignment of which nothing is under way, and nothing has failed. */
function stateOf(record: object | undefined, owner: string | undefined, nameOwner: (ownerId: string) => string, isLoading: boolean): AssignmentState {
  const ownerId = ownerOf(record, owner)
  const ownerName = ownerId === null ? null : nameOwner(ownerId)
  return { ownerId, ownerName, isLoading, isUpdating: false, error: null, canAssign: record !== undefined && owner !== undefined }
}

/** The id of a record's owner. People are known by text; a column of integers holds the same as numbers. */
function ownerOf(record: object | undefined, owner: string | undefined): string | null {
  const id = owner === undefined ? undefined : (record as Record<string, unknown> | undefined)?.[owner]
  return typeof id === 'number' ? String(id) : typeof id === 'string' && id !== '' ? id : null
}

/** A record as rules of owners read it. */
function withOwner(record: object | undefined, owner: string): object | undefined {
  return typeof (record as Record<string, unknown> | undefined)?.[owner] === 'number' ? { ...record, [owner]: ownerOf(record, owner) } : record
}

/** `isKnown`: all is here, so who has no name by now has none; their id has to do. */
function nameOf(ownerId: string, names: Tables[string]['ownerName'], reads: { get(table: string, key: string): object | undefined }, isKnown: boolean): string {
  const person = names && (reads.get(names.table, ownerId) as Record<string, unknown> | undefined)
  const name = person?.[names?.field ?? '']
  if (typeof name === 'string') return name
  return isKnown ? ownerId : UPDATING
}

/** True for what assigns a record, alone or together with others. */
function isAssignment(view: OperationView, table: string, key: string): boolean {
  return (view.parts ?? [view]).some((part) => part.name === ASSIGN && part.table === table && part.key === key)
}

function nameOfRecord(table: string, key: string): string {
  return JSON.stringify([table, key])
}

function isSame(one: AssignmentState, other: AssignmentState): boolean {
  return (
    one.ownerId === other.ownerId &&
    one.ownerName === other.ownerName &&
    one.isLoading === other.isLoading &&
    one.isUpdating === other.isUpdating &&
    one.canAssign === other.canAssign &&
    one.error?.operationId === other.error?.operationId
  )
}
