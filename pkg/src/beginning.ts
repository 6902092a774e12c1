import type { OperationView } from './types.js'

/** What is needed of a change list, or of several that are told as one. */
interface List {
  readonly operations: readonly OperationView[]
  readonly renamed?: readonly { readonly table: string; readonly from: string; readonly to: string }[] | undefined
}

/**
 * Tells what comes about from what was there at the beginning: until everything was fetched once, what the cache and the pull bring is no news. What people do meanwhile is,
 * in whichever tab; a store that is opened off-line may be in its beginning for long.
 */
export class Beginning {
  readonly #isReady: () => boolean
  readonly #sinceMs: number
  #wasReady: boolean

  /** `sinceMs`: when the store was opened. */
  constructor(isReady: () => boolean, sinceMs: number = Date.now()) {
    this.#sinceMs = sinceMs
    this.#isReady = isReady
    this.#wasReady = isReady()
  }

  /** Looks at the next list; returns what says of a record whether its change is news. */
  look({ operations, renamed }: List): (table: string, key: string) => boolean {
    const isOver = this.#wasReady
    this.#wasReady = this.#isReady()
    if (isOver) return always
    const done = new Set<string>()
    for (const view of operations) {
      // Those that were stored are there from the start.
      if (view.madeAtMs < this.#sinceMs) continue
      for (const { table, key } of view.parts ?? [view]) done.add(nameOf(table, key))
    }
    for (const { table, from, to } of renamed ?? []) if (done.has(nameOf(table, from))) done.add(nameOf(table, to))
    return done.size === 0 ? never : (table, key) => done.has(nameOf(table, key))
  }
}

const always = (): boolean => true
const never = (): boolean => false

function nameOf(table: string, key: string): string {
  return JSON.stringify([table, key])
}
