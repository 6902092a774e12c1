import { Beginning } from './beginning.js'
import { add, callSafely, type ChangeList, type Listener, type Mirror } from './mirror.js'
import { readsTheSame } from './values.js'

/** What changed of a record: as it showed before, and as it shows now. */
export interface Moved {
  readonly table: string
  readonly key: string
  readonly before: object | undefined
  readonly after: object | undefined
}

/** What makes an event of a change, where it is one. */
type Classify<E> = (moved: Moved) => E | undefined

/** Tells what becomes of the records of some tables, as soon as it shows. Until somebody watches it costs nothing. */
export class RecordEvents<E> {
  readonly #mirror: Mirror
  readonly #classify: Classify<E>
  /** The watched tables, by their number in change lists. */
  readonly #names: readonly (string | undefined)[]
  readonly #listeners = new Set<(event: E) => void>()
  readonly #events: E[] = []
  /** The records by table and key, as they were told of last; nothing while nobody watches. */
  #known: Map<string, Map<string, object>> | undefined
  readonly #beginning: Beginning

  constructor(mirror: Mirror, names: readonly (string | undefined)[], classify: Classify<E>) {
    this.#mirror = mirror
    this.#beginning = new Beginning(() => mirror.status.ready)
    this.#classify = classify
    this.#names = names
    if (names.every((name) => name === undefined)) return
    mirror.add({
      take: (list, tell) => this.#take(list, tell),
      countListeners: () => this.#listeners.size,
      close: () => {
        this.#listeners.clear()
        this.#forget()
      },
    })
  }

  watch(listener: (event: E) => void): () => void {
    this.#known ??= this.#look()
    const stop = add(this.#listeners, listener)
    return () => {
      stop()
      if (this.#listeners.size === 0) this.#forget()
    }
  }

  #look(): Map<string, Map<string, object>> {
    const known = new Map<string, Map<string, object>>()
    for (const name of this.#names) {
      if (name === undefined) continue
      const records = this.#mirror.all(name)
      known.set(name, new Map(this.#mirror.keys(name).map((key, at) => [key, records[at] as object])))
    }
    return known
  }

  #forget(): void {
    this.#known = undefined
    this.#events.length = 0
  }

  #take(list: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    const { records, renamed } = list
    // What is there at the beginning did not come now.
    const isNews = this.#beginning.look(list)
    if (!this.#known) return
    // Under its real key it is the same record, and no new one.
    for (const { table, from, to } of renamed ?? []) rename(this.#known.get(table), from, to)
    for (let at = 0; at < records.length; at += 5) {
      const table = this.#names[records[at + 1] as number]
      const known = table === undefined ? undefined : this.#known.get(table)
      if (table === undefined || !known) continue
      const [key, after] = [records[at + 2] as string, records[at + 3] as object | undefined]
      const before = known.get(key)
      if (after) known.set(key, after)
      else known.delete(key)
      const event = isNews(table, key) && !readsTheSame(this.#mirror.fields(table), before, after) ? this.#classify({ table, key, before, after }) : undefined
      if (event !== undefined) this.#events.push(event)
    }
    if (this.#events.length > 0) tell([this.#tellEvents])
  }

  readonly #tellEvents: Listener = () => {
    for (const event of this.#events.splice(0)) {
      for (const listener of Array.from(this.#listeners)) callSafely(() => listener(event))
    }
  }
}

function rename(known: Map<string, object> | undefined, from: string, to: string): void {
  const record = known?.get(from)
  if (!known || !record) return
  known.delete(from)
  known.set(to, record)
}
