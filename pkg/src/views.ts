import { RotaError } from './errors.js'
import { add, type ChangeList, type Listener, type Mirror, type Part } from './mirror.js'
import type { RecordOf, Tables } from './tables.js'
import type { Problem } from './types.js'
import { describeView, type DescribedView, type FigureDeclaration, type Figures, type GroupKey, type ViewGroup, type ViewSpec } from './viewing.js'

/** What a live list shows. The same object until something in it changes. */
export interface ViewSnapshot<R, F extends string = string, G = Readonly<Record<string, unknown>>> {
  /** The records inside the window, in order. The same list until one of them, or their order, changes. */
  readonly rows: readonly R[]
  /** How many records pass the filter, inside the window or not. */
  readonly total: number
  /** The figures over all of these. The same object until one changes. */
  readonly figures: Figures<F>
  /** The groups, in no particular order. The same list until a figure of one changes, or one comes or goes. */
  readonly groups: readonly ViewGroup<F, G>[]
}

/** A live list: the records of a table that pass a filter, sorted, and of these a window; with figures over all of them. */
export interface View<R, F extends string = string, G = Readonly<Record<string, unknown>>> {
  /** How many records pass the filter, inside the window or not. */
  readonly total: number
  /** True after {@link View.close}, or once the store is closed. */
  readonly isClosed: boolean
  /** The records inside the window, in order. The same list until one of them, or their order, changes. */
  rows(): readonly R[]
  /** The figures over all records that pass the filter. The same object until one changes. */
  figures(): Figures<F>
  /** The figures of each group, in no particular order. The same list until something in it changes. */
  groups(): readonly ViewGroup<F, G>[]
  /** All of that. The same object until something in it changes. */
  snapshot(): ViewSnapshot<R, F, G>
  /** Calls back after a change of what the view shows; returns how to stop. */
  subscribe(listener: () => void): () => void
  /** Stops. The engine stops too when nobody else has an equal view open. Closing twice does no harm; a closed view reads as an empty one. */
  close(): void
}

/** The names of a spec's figures. */
export type FigureName<S> = S extends { readonly figures: infer F extends Readonly<Record<string, FigureDeclaration<string>>> } ? keyof F & string : never

/** The view that a spec describes. */
export type ViewOf<T extends Tables, S extends { readonly table: string }> = View<RecordOf<T[S['table']]>, FigureName<S>, GroupKey<RecordOf<T[S['table']]>, S>>

/** What the view that a spec describes shows. */
export type SnapshotOf<T extends Tables, S extends { readonly table: string }> = ViewSnapshot<RecordOf<T[S['table']]>, FigureName<S>, GroupKey<RecordOf<T[S['table']]>, S>>

/** What opens and closes live lists. */
export interface ViewEngine {
  openView(id: number, spec: unknown): void
  closeView(id: number): void
}

const EMPTY: ViewSnapshot<never, never, never> = Object.freeze({ rows: Object.freeze([]), total: 0, figures: Object.freeze({}), groups: Object.freeze([]) })

/** How long a view that was only read is kept for whoever may hold it in a moment, such as a component that is being rendered. */
const LINGER_MS = 1_000

/** How many of these there may be; beyond, the one that was read first goes. */
const LINGERING_MAX = 100

/** The largest number that the engine takes. */
const ID_MAX = 2 ** 32 - 1

/** The live lists of a store. Two equal specs share one, which is kept for as long as somebody holds it. */
export class Views implements Part {
  readonly #mirror: Mirror
  readonly #call: <R>(run: (engine: ViewEngine) => R) => R
  readonly #isOpen: () => boolean
  readonly #bySpec = new Map<string, Shared>()
  readonly #byNumber = new Map<number, Shared>()
  /** Those that nobody holds, the one that was read first at the front. */
  readonly #lingering = new Map<Shared, ReturnType<typeof setTimeout>>()
  #last = 0

  /** `call` does something with the engine, or throws what the store throws. */
  constructor(mirror: Mirror, call: <R>(run: (engine: ViewEngine) => R) => R, isOpen: () => boolean) {
    this.#mirror = mirror
    this.#call = call
    this.#isOpen = isOpen
    mirror.add(this)
  }

  /** How many live lists the engine keeps. */
  get size(): number {
    return this.#byNumber.size
  }

  /** Opens a view, or joins an equal one that is open. */
  open(spec: ViewSpec<Tables>): Handle {
    return new Handle(this.#sharedOf(spec), (shared) => this.#letGo(shared))
  }

  /** What a view shows, for whoever will hold it in a moment. Nothing once the store is closed. */
  read(spec: ViewSpec<Tables>): ViewSnapshot<object> {
    if (!this.#isOpen()) return EMPTY
    const shared = this.#sharedOf(spec)
    if (shared.holders === 0) this.#linger(shared)
    return shared.snapshot()
  }

  take({ views }: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    if (!views) return
    for (let at = 0; at < views.length; at += 6) {
      const shared = this.#byNumber.get(views[at] as number)
      if (!shared) continue
      shared.take(views.slice(at + 1, at + 6))
      tell(shared.listeners)
    }
  }

  /** The engine knows a view by a number that nobody else does. */
  explain(problem: Problem): Problem {
    const shared = problem.code === 'view-groups-full' ? this.#byNumber.get(Number(problem.place)) : undefined
    return shared ? { ...problem, place: shared.text } : problem
  }

  countListeners(): number {
    let count = 0
    for (const shared of this.#byNumber.values()) count += shared.listeners.size
    return count
  }

  close(): void {
    for (const timer of this.#lingering.values()) clearTimeout(timer)
    for (const shared of this.#byNumber.values()) shared.end()
    this.#lingering.clear()
    this.#byNumber.clear()
    this.#bySpec.clear()
  }

  #sharedOf(spec: ViewSpec<Tables>): Shared {
    const described = describeView(spec)
    const text = JSON.stringify(described)
    const known = this.#bySpec.get(text)
    if (known) return known
    const id = this.#freeNumber()
    const shared = new Shared(id, text, described, this.#mirror)
    // Before the call: the first change list comes within it.
    this.#byNumber.set(id, shared)
    try {
      this.#call((engine) => engine.openView(id, described))
    } catch (error) {
      this.#byNumber.delete(id)
      throw error
    }
    this.#bySpec.set(text, shared)
    return shared
  }

  #freeNumber(): number {
    do this.#last = this.#last >= ID_MAX ? 1 : this.#last + 1
    while (this.#byNumber.has(this.#last))
    return this.#last
  }

  #linger(shared: Shared): void {
    clearTimeout(this.#lingering.get(shared))
    this.#lingering.set(
      shared,
      setTimeout(() => this.#endLinger(shared), LINGER_MS),
    )
    for (const first of this.#lingering.keys()) {
      if (this.#lingering.size <= LINGERING_MAX) return
      this.#endLinger(first)
    }
  }

  #endLinger(shared: Shared): void {
    clearTimeout(this.#lingering.get(shared))
    this.#lingering.delete(shared)
    this.#letGo(shared)
  }

  #letGo(shared: Shared): void {
    if (shared.holders > 0 || this.#lingering.has(shared) || this.#byNumber.get(shared.id) !== shared) return
    shared.end()
    this.#byNumber.delete(shared.id)
    this.#bySpec.delete(shared.text)
    try {
      this.#call((engine) => engine.closeView(shared.id))
    } catch {
      // A crashed engine keeps nothing, and whoever closes a view, or a timer, is not the one to hear of it.
    }
  }
}

/** One live list of the engine's, with all who hold it. */
class Shared {
  holders = 0
  readonly listeners = new Set<Listener>()
  readonly #mirror: Mirror
  readonly #table: string
  readonly #figureNames: readonly string[]
  readonly #groupFields: readonly string[]
  #isEnded = false
  #ids: number[] = []
  #total = 0
  #figures: Figures<string>
  readonly #groups = new Map<string, ViewGroup<string, Readonly<Record<string, unknown>>>>()
  /** The same as a set, once somebody asks. */
  #members: Set<number> | undefined
  #rowsNow: readonly object[] | undefined
  #groupsNow: readonly ViewGroup<string, Readonly<Record<string, unknown>>>[] | undefined
  #snapshot: ViewSnapshot<object> | undefined

  constructor(
    readonly id: number,
    readonly text: string,
    { table, figures, groupBy }: DescribedView,
    mirror: Mirror,
  ) {
    this.#table = table
    this.#mirror = mirror
    this.#figureNames = figures.map(({ name }) => name)
    this.#groupFields = groupBy
    this.#figures = Object.freeze(Object.fromEntries(figures.map(({ name, kind }) => [name, kind === 'average' ? null : 0])))
  }

  get isEnded(): boolean {
    return this.#isEnded
  }

  snapshot(): ViewSnapshot<object> {
    if (this.#isEnded) return EMPTY
    this.#rowsNow ??= Object.freeze(this.#ids.flatMap((id) => this.#mirror.numbered(id) ?? []))
    this.#groupsNow ??= Object.freeze([...this.#groups.values()])
    this.#snapshot ??= Object.freeze({ rows: this.#rowsNow, total: this.#total, figures: this.#figures, groups: this.#groupsNow })
    return this.#snapshot
  }

  /** True for a record of the table that is inside the window. */
  passes(key: string): boolean {
    const number = this.#mirror.cell(this.#table, key)?.number
    if (number === undefined || this.#isEnded) return false
    this.#members ??= new Set(this.#ids)
    return this.#members.has(number)
  }

  /** Takes one view's entries of a change list, all but its number. */
  take(entries: readonly unknown[]): void {
    const [total, isAnew, window, figures, groups] = entries as [number, boolean, Uint32Array, Figure[] | undefined, unknown[] | undefined]
    this.#total = total
    if (isAnew) [this.#ids, this.#members] = [Array.from(window), undefined]
    else this.#edit(window)
    if (isAnew || window.length > 0) this.#rowsNow = undefined
    if (figures) this.#figures = this.#named(figures)
    for (let at = 0; at < (groups?.length ?? 0); at += 2) this.#takeGroup(groups?.[at] as unknown[] | undefined, groups?.[at + 1] as Figure[] | undefined)
    this.#snapshot = undefined
  }

  end(): void {
    this.#isEnded = true
    this.listeners.clear()
    this.#ids = []
    this.#members = undefined
    this.#groups.clear()
    this.#rowsNow = this.#groupsNow = this.#snapshot = undefined
  }

  #edit(edits: Uint32Array): void {
    for (let at = 0; at < edits.length; at += 3) {
      const [kind, place, id] = edits.subarray(at, at + 3) as unknown as [number, number, number]
      if (kind === 0) for (const gone of this.#ids.splice(place, 1)) this.#members?.delete(gone)
      if (kind !== 1) continue
      this.#ids.splice(place, 0, id)
      this.#members?.add(id)
      // What is left is a record that changed where it stands.
    }
  }

  #takeGroup(values: unknown[] | undefined, figures: Figure[] | undefined): void {
    const name = JSON.stringify(values ?? null)
    if (!figures) this.#groups.delete(name)
    else {
      const group = values ? Object.freeze(Object.fromEntries(this.#groupFields.map((field, index) => [field, values[index]]))) : null
      this.#groups.set(name, Object.freeze({ group, figures: this.#named(figures) }))
    }
    this.#groupsNow = undefined
  }

  #named(figures: readonly Figure[]): Figures<string> {
    return Object.freeze(Object.fromEntries(this.#figureNames.map((name, index) => [name, figures[index] ?? null])))
  }
}

type Figure = number | null

/** One holder of a live list. */
class Handle implements View<object> {
  readonly #shared: Shared
  readonly #letGo: (shared: Shared) => void
  /** How to stop each of its own subscriptions. */
  readonly #stops = new Set<() => void>()
  #isClosed = false

  constructor(shared: Shared, letGo: (shared: Shared) => void) {
    this.#shared = shared
    this.#letGo = letGo
    shared.holders++
  }

  get isClosed(): boolean {
    return this.#isClosed || this.#shared.isEnded
  }

  get total(): number {
    return this.snapshot().total
  }

  rows(): readonly object[] {
    return this.snapshot().rows
  }

  /** True for a record of the table that it shows. */
  passes(key: string): boolean {
    return !this.#isClosed && this.#shared.passes(key)
  }

  figures(): Figures<string> {
    return this.snapshot().figures
  }

  groups(): ViewSnapshot<object>['groups'] {
    return this.snapshot().groups
  }

  snapshot(): ViewSnapshot<object> {
    return this.#isClosed ? EMPTY : this.#shared.snapshot()
  }

  subscribe(listener: () => void): () => void {
    if (this.isClosed) throw new RotaError('closed', 'the view is closed')
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'subscribe takes a function')
    const remove = add(this.#shared.listeners, listener)
    const stop = () => {
      remove()
      this.#stops.delete(stop)
    }
    this.#stops.add(stop)
    return stop
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const stop of this.#stops) stop()
    this.#shared.holders--
    this.#letGo(this.#shared)
  }

  // For `using`, as in the store.
  static {
    if (typeof Symbol.dispose === 'symbol') {
      const value = function (this: Handle): void {
        this.close()
      }
      Object.defineProperty(Handle.prototype, Symbol.dispose, { value, configurable: true, writable: true })
    }
  }
}
