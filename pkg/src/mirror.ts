import type { Peer } from './backend.js'
import { RotaError } from './errors.js'
import { bothStale, type Stale } from './invalidation.js'
import type { Tables } from './tables.js'
import type { AuditEntry, Changes, ConflictChange, OperationState, OperationView, Operations, Problem, Renamed, Status, Winner } from './types.js'
import { freeze } from './values.js'

/** What the engine's shell hands over: records flat — number, table, key, record, released — and by reference. */
export interface ChangeList {
  readonly records: readonly unknown[]
  readonly operations: readonly OperationView[]
  /**
   * Views whose window, total or figures changed, six entries each: number; total; whether the window is told anew; a `Uint32Array` of its records' numbers, or of
   * edits, three numbers each (0 remove, 1 insert, 2 update; the place; the record, for an insert); figures or undefined; groups or undefined, two entries
   * each: the values that make it (undefined: the records of all groups that are not kept), and its figures (undefined: it is gone).
   */
  readonly views?: readonly unknown[]
  readonly status?: Status
  /** Conflicts that came, changed or ended. */
  readonly conflicts?: readonly ConflictChange[]
  /** Decisions on conflicts, of any tab. */
  readonly decisions?: readonly AuditEntry[]
  /** Temporary keys, and what they turned out to be. */
  readonly renamed?: readonly Renamed[]
  /** Everybody else who is here, where that changed. */
  readonly presence?: readonly Peer[]
  /** What other caches should fetch again. */
  readonly stale?: Stale
}

/** A part of the picture that has a file of its own. */
export interface Part {
  /** Takes in what a change list says of its subject. Listeners that are due are given to `tell`, and called later. */
  take(list: ChangeList, tell: (listeners: Iterable<Listener>) => void): void
  countListeners(): number
  /** Says of a problem what the engine could not. */
  explain?(problem: Problem): Problem
  /** Forgets everything: the store was closed. */
  close(): void
}

/** How many ended operations are kept for people to see. */
const RECENT_MAX = 100

/** How many temporary keys of a table still lead to their record once it has a real one; the engine has the same bound. */
const RENAMED_MAX = 10_000

export type Listener = () => void

const LIVING: ReadonlySet<OperationState> = new Set<OperationState>(['queued', 'sent', 'acknowledged', 'dead'])

const hasEnded = (state: OperationState): boolean => !LIVING.has(state)

/** One record, and whoever watches it. */
export interface Cell {
  record: object | undefined
  /** The number that the record has in change lists, while there is one. */
  number?: number | undefined
  readonly pending: Map<string, OperationView>
  readonly listeners: Set<Listener>
}

interface MirrorTable {
  readonly fields: readonly string[]
  readonly cells: Map<string, Cell>
  readonly listeners: Set<Listener>
  /** What temporary keys turned out to be, the oldest first. */
  readonly renamed: Map<string, string>
  all: readonly object[] | undefined
}

/** Somebody who watches a record, under whatever key it has by now. */
interface Watch {
  key: string
  readonly listener: Listener
}

interface Untold {
  readonly records: Map<string, Changes['records'][number]>
  readonly operations: Map<string, OperationView>
  /** The rarer ones are made when there is something to put into them. */
  conflicts?: Map<string, ConflictChange>
  decisions?: AuditEntry[]
  renamed?: Renamed[]
  stale?: Stale | undefined
  status: boolean
  presence: readonly Peer[] | undefined
}

declare const process: { env: { NODE_ENV?: string } }

/** @internal */
export const IS_DEVELOPMENT = isDevelopment()

/** Bundlers replace `process.env.NODE_ENV`, and not all of them `typeof process`; where neither is there, nobody asked for development. */
function isDevelopment(): boolean {
  try {
    return process.env.NODE_ENV !== 'production'
  } catch {
    return false
  }
}

/**
 * The store's picture of what is to be seen: built from change lists only, never read by the engine.
 * Reading it is a map look-up, and a record is the same object until it changes.
 */
export class Mirror {
  readonly #tables = new Map<string, MirrorTable>()
  readonly #names: readonly string[]
  readonly #numbered: (Cell | undefined)[] = []
  readonly #watchers = new Set<(changes: Changes) => void>()
  readonly #staleWatchers = new Set<(stale: Stale) => void>()
  readonly #problemWatchers = new Set<(problem: Problem) => void>()
  readonly #pending = new Map<string, OperationView>()
  #recent: readonly OperationView[] = []
  #operations: Operations | undefined
  #status: Status
  /** What listeners have not been told of yet. */
  #untold: Untold | undefined
  /** Who was first in races whose end was not told yet, by operation. */
  readonly #winners = new Map<string, Winner>()
  readonly #parts: Part[] = []
  readonly #watches = new Map<Listener, Watch>()
  readonly #dueListeners = new Set<Listener>()
  #depth = 0
  #isClosed = false

  constructor(tables: Tables, status: Status) {
    this.#names = Object.keys(tables)
    this.#status = status
    for (const [name, { fields }] of Object.entries(tables)) this.#tables.set(name, { fields: fields ?? [], cells: new Map(), listeners: new Set(), renamed: new Map(), all: undefined })
  }

  /** Lets a part follow the change lists. */
  add(part: Part): void {
    this.#parts.push(part)
  }

  get status(): Status {
    return this.#status
  }

  /** What the server's clock reads now, as far as is known; in milliseconds since 1970. */
  serverNow(): number {
    return Date.now() + (this.#status.link.serverAheadMs ?? 0)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get(table: string, key: string): object | undefined {
    return this.cell(table, key)?.record
  }

  /** The record that has this number in the change lists. */
  numbered(number: number): object | undefined {
    return this.#numbered[number]?.record
  }

  /** The key that a record has by now: a temporary one leads to the one that the server gave. */
  keyNow(table: string, key: string): string {
    return nowOf(this.#table(table), key)
  }

  /** The declared fields of a table's records. */
  fields(table: string): readonly string[] {
    return this.#table(table).fields
  }

  all(table: string): readonly object[] {
    const entry = this.#table(table)
    if (!entry.all) {
      const records: object[] = []
      for (const cell of entry.cells.values()) if (cell.record) records.push(cell.record)
      entry.all = Object.freeze(records)
    }
    return entry.all
  }

  /** The keys of the records of a table, in the order of {@link all}. */
  keys(table: string): string[] {
    return [...this.#table(table).cells].filter(([, { record }]) => record).map(([key]) => key)
  }

  operations(): Operations {
    this.#operations ??= { pending: [...this.#pending.values()].sort(byAge), recent: this.#recent }
    return this.#operations
  }

  /** The cell of a record, for those who need more than the record. */
  cell(table: string, key: string): Readonly<Cell> | undefined {
    const entry = this.#table(table)
    return entry.cells.get(nowOf(entry, key))
  }

  countListeners(): number {
    let count = this.#watchers.size + this.#problemWatchers.size + this.#staleWatchers.size
    for (const table of this.#tables.values()) {
      count += table.listeners.size
      for (const cell of table.cells.values()) count += cell.listeners.size
    }
    for (const part of this.#parts) count += part.countListeners()
    return count
  }

  watch(listener: (changes: Changes) => void): () => void {
    return add(this.#watchers, listener)
  }

  watchProblems(listener: (problem: Problem) => void): () => void {
    return add(this.#problemWatchers, listener)
  }

  watchStale(listener: (stale: Stale) => void): () => void {
    return add(this.#staleWatchers, listener)
  }

  watchTable(table: string, listener: Listener): () => void {
    return add(this.#table(table).listeners, listener)
  }

  watchRecord(table: string, key: string, listener: Listener): () => void {
    const entry = this.#table(table)
    const watch: Watch = { key: nowOf(entry, key), listener: () => this.#watches.has(watch.listener) && listener() }
    this.#watches.set(watch.listener, watch)
    this.#cellOf(entry, watch.key).listeners.add(watch.listener)
    return () => {
      this.#watches.delete(watch.listener)
      const cell = entry.cells.get(watch.key)
      if (!cell) return
      cell.listeners.delete(watch.listener)
      this.#forgetIfUnused(table, watch.key, cell)
    }
  }

  /** Notes who was faster than an operation; its end is in the change list that follows, which does not say it. */
  noteWinner(id: string, winner: Winner): void {
    this.#winners.set(id, winner)
  }

  /** Takes a change list in, and tells listeners unless that is being put off. */
  apply(given: ChangeList): void {
    if (this.#isClosed) return
    const list = this.#withWinners(given)
    this.#untold ??= { records: new Map(), operations: new Map(), status: false, presence: undefined }
    for (const renamed of list.renamed ?? []) this.#applyRenamed(renamed, this.#untold)
    for (let at = 0; at < list.records.length; at += 5) this.#applyRecord(list.records, at)
    for (const view of list.operations) this.#applyOperation(view)
    if (list.status) this.#applyStatus(list.status)
    this.#collect(list, this.#untold)
    // After the records, which views are made of.
    for (const part of this.#parts) part.take(list, this.#due)
    this.#flush()
  }

  /** Calls listeners as a change list does: not inside of a batch, and not inside of each other. */
  due(listeners: Iterable<Listener>): void {
    if (this.#isClosed) return
    this.#due(listeners)
    this.#flush()
  }

  /** Runs something, and tells listeners once, afterwards. */
  batch<T>(run: () => T): T {
    this.#depth++
    try {
      return run()
    } finally {
      this.#depth--
      this.#flush()
    }
  }

  report(reported: Problem): void {
    const problem = this.#parts.reduce((explained, part) => part.explain?.(explained) ?? explained, reported)
    // Nobody listens, and a problem that nobody hears of is worse than a line in the console.
    // oxlint-disable-next-line no-console
    if (this.#problemWatchers.size === 0) console.warn(`rota: ${problem.place}: ${problem.message} [${problem.code}]`)
    for (const listener of Array.from(this.#problemWatchers)) callSafely(() => listener(problem))
  }

  /** Forgets everything, and takes nothing more: its store was closed, and this is its last status. */
  close(status: Status): void {
    this.#isClosed = true
    this.#status = status
    this.#watchers.clear()
    this.#problemWatchers.clear()
    this.#staleWatchers.clear()
    for (const table of this.#tables.values()) {
      table.listeners.clear()
      for (const cell of table.cells.values()) cell.listeners.clear()
      table.cells.clear()
      table.renamed.clear()
      table.all = undefined
    }
    this.#watches.clear()
    for (const part of this.#parts) part.close()
    this.#numbered.length = 0
    this.#pending.clear()
    this.#recent = []
    this.#operations = undefined
    this.#dueListeners.clear()
    this.#untold = undefined
  }

  #table(name: string): MirrorTable {
    const table = this.#tables.get(name)
    if (!table) throw new RotaError('unknown-table', `there is no table "${name}"; declared are ${this.#names.join(', ')}`)
    return table
  }

  #cellOf(table: MirrorTable, key: string): Cell {
    let cell = table.cells.get(key)
    if (!cell) {
      cell = { record: undefined, pending: new Map(), listeners: new Set() }
      table.cells.set(key, cell)
    }
    return cell
  }

  #forgetIfUnused(table: string, key: string, cell: Cell): void {
    if (cell.record || cell.listeners.size > 0 || cell.pending.size > 0) return
    const cells = this.#table(table).cells
    if (cells.get(key) === cell) cells.delete(key)
  }

  readonly #due = (listeners: Iterable<Listener>): void => {
    for (const listener of listeners) this.#dueListeners.add(listener)
  }

  /** Notes what is told as it came. Of a conflict, the last word counts. */
  #collect({ conflicts, decisions, presence, stale }: ChangeList, untold: Untold): void {
    for (const change of conflicts ?? []) (untold.conflicts ??= new Map()).set(change.id, change)
    if (decisions) (untold.decisions ??= []).push(...decisions)
    untold.presence = presence ?? untold.presence
    if (stale) untold.stale = bothStale(untold.stale, stale)
  }

  /** Whoever watches a record under its temporary key goes on watching it. */
  #applyRenamed(renamed: Renamed, untold: Untold): void {
    const { table, from, to } = renamed
    const entry = this.#tables.get(table)
    if (!entry) return
    entry.renamed.set(from, to)
    for (const oldest of entry.renamed.keys()) {
      if (entry.renamed.size <= RENAMED_MAX) break
      entry.renamed.delete(oldest)
    }
    ;(untold.renamed ??= []).push(renamed)
    const old = entry.cells.get(from)
    if (!old) return
    const now = this.#cellOf(entry, to)
    for (const listener of old.listeners) {
      now.listeners.add(listener)
      const watch = this.#watches.get(listener)
      if (watch) watch.key = to
    }
    this.#due(old.listeners)
    old.listeners.clear()
    this.#forgetIfUnused(table, from, old)
  }

  #applyRecord(records: readonly unknown[], at: number): void {
    const [number, tableNumber, key, record, released] = records.slice(at, at + 5) as [number, number, string, object | undefined, boolean]
    const name = this.#names[tableNumber] ?? ''
    const table = this.#table(name)
    const cell = (this.#numbered[number] ??= this.#cellOf(table, key))
    if (record && IS_DEVELOPMENT) freeze(record)
    cell.record = record
    cell.number = record ? number : undefined
    table.all = undefined
    for (const listener of cell.listeners) this.#dueListeners.add(listener)
    for (const listener of table.listeners) this.#dueListeners.add(listener)
    this.#untold?.records.set(`${tableNumber}:${key}`, { table: name, key, record })
    if (!record) {
      // The cell stays only for whoever watches it, and is found again by its key.
      this.#numbered[number] = undefined
      this.#forgetIfUnused(name, key, cell)
    }
    if (released) this.#numbered[number] = undefined
  }

  #applyOperation(view: OperationView): void {
    const before = this.#pending.get(view.id)
    const places = placesOf(view)
    // Its records have their real keys meanwhile.
    if (before) for (const old of placesOf(before)) if (!places.some((place) => isSamePlace(place, old))) this.#leave(old, view.id)
    const isOver = view.replacedBy !== undefined || hasEnded(view.state)
    for (const { table, key } of places) {
      const cell = this.#cellOf(this.#table(table), key)
      if (isOver) cell.pending.delete(view.id)
      else cell.pending.set(view.id, view)
      for (const listener of cell.listeners) this.#dueListeners.add(listener)
      this.#forgetIfUnused(table, key, cell)
    }
    if (isOver) this.#pending.delete(view.id)
    else this.#pending.set(view.id, view)
    if (view.replacedBy === undefined && isOver) this.#recent = [...this.#recent, view].slice(-RECENT_MAX)
    this.#operations = undefined
    this.#untold?.operations.set(view.id, view)
  }

  #withWinners(list: ChangeList): ChangeList {
    if (this.#winners.size === 0) return list
    const operations = list.operations.map((view) => {
      const winner = this.#winners.get(view.id)
      return winner ? { ...view, winner } : view
    })
    this.#winners.clear()
    return { ...list, operations }
  }

  #leave({ table, key }: Place, id: string): void {
    const cell = this.#table(table).cells.get(key)
    if (!cell?.pending.delete(id)) return
    this.#forgetIfUnused(table, key, cell)
  }

  #applyStatus(status: Status): void {
    const becameReady = status.ready && !this.#status.ready
    this.#status = status
    if (this.#untold) this.#untold.status = true
    if (!becameReady) return
    // Whoever waits for a record that is not there learns now that it is not only late.
    for (const table of this.#tables.values()) {
      for (const cell of table.cells.values()) if (!cell.record) for (const listener of cell.listeners) this.#dueListeners.add(listener)
    }
  }

  /** Tells listeners, one change list after the other, never inside each other. */
  #flush(): void {
    if (this.#depth > 0) return
    this.#depth++
    try {
      while (this.#untold || this.#dueListeners.size > 0) {
        const untold = this.#untold
        this.#untold = undefined
        const due = [...this.#dueListeners]
        this.#dueListeners.clear()
        for (const listener of due) callSafely(listener)
        if (!untold) continue
        const { stale } = untold
        if (stale) for (const watcher of Array.from(this.#staleWatchers)) callSafely(() => watcher(stale))
        if (this.#watchers.size === 0) continue
        const changes = changesOf(untold, this.#status)
        for (const watcher of Array.from(this.#watchers)) callSafely(() => watcher(changes))
      }
    } finally {
      this.#depth--
    }
  }
}

interface Place {
  readonly table: string
  readonly key: string
}

function isSamePlace(one: Place, other: Place): boolean {
  return one.table === other.table && one.key === other.key
}

/** The records that an operation concerns. A transaction may name one more than once. */
function placesOf(view: OperationView): readonly Place[] {
  return view.parts ?? [view]
}

function nowOf(table: MirrorTable, key: string): string {
  // Nearly every key is told apart by its first letter.
  return key.startsWith('~') ? (table.renamed.get(key) ?? key) : key
}

function changesOf({ records, operations, conflicts, decisions, renamed, presence, stale, status }: Untold, now: Status): Changes {
  return {
    records: [...records.values()],
    operations: [...operations.values()],
    ...(status ? { status: now } : {}),
    ...(conflicts ? { conflicts: [...conflicts.values()] } : {}),
    ...(decisions ? { decisions } : {}),
    ...(renamed ? { renamed } : {}),
    ...(presence ? { presence } : {}),
    ...(stale ? { stale } : {}),
  }
}

/** Every subscription is its own, even of the same function twice, and is silent from the moment it ends. */
export function add<T extends (...args: never[]) => void>(set: Set<T>, listener: T): () => void {
  const own = ((...args: never[]) => {
    if (set.has(own)) listener(...args)
  }) as T
  set.add(own)
  return () => {
    set.delete(own)
  }
}

/** A listener that throws harms nobody: its error is reported like any uncaught one. */
export function callSafely(call: () => void): void {
  try {
    call()
  } catch (error) {
    reportUncaught(error)
  }
}

export function reportUncaught(error: unknown): void {
  if (typeof globalThis.reportError === 'function') globalThis.reportError(error)
  // oxlint-disable-next-line no-console -- the same, where there is no reportError (Node)
  else console.error(error)
}

function byAge(one: OperationView, other: OperationView): number {
  return one.madeAtMs - other.madeAtMs || (one.id < other.id ? -1 : 1)
}
