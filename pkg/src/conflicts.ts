import type { RotaEngine } from './init.js'
import type { ChangeList, Listener, Mirror, Part } from './mirror.js'
import type { Audit, Conflict } from './types.js'
import { freeze } from './values.js'

const NO_DECISIONS: Audit = Object.freeze({ entries: Object.freeze([]), dropped: 0 })

/** What waits for a person's decision, and what was decided. */
export class Conflicts implements Part {
  readonly #engine: () => RotaEngine | undefined
  readonly #waiting = new Map<string, Conflict>()
  #list: readonly Conflict[] | undefined
  #audit: Audit | undefined

  constructor(mirror: Mirror, engine: () => RotaEngine | undefined) {
    this.#engine = engine
    mirror.add(this)
  }

  /** Those that wait, the oldest first. */
  list(): readonly Conflict[] {
    this.#list ??= Object.freeze([...this.#waiting.values()].sort((one, other) => one.atMs - other.atMs || (one.id < other.id ? -1 : 1)))
    return this.#list
  }

  audit(): Audit {
    this.#audit ??= this.#read()
    return this.#audit
  }

  take({ conflicts, decisions }: ChangeList, _tell: (listeners: Iterable<Listener>) => void): void {
    for (const { id, conflict } of conflicts ?? []) {
      if (conflict) {
        freeze(conflict)
        this.#waiting.set(id, conflict)
      } else this.#waiting.delete(id)
      this.#list = undefined
    }
    if (decisions) this.#audit = undefined
  }

  countListeners(): number {
    return 0
  }

  close(): void {
    this.#waiting.clear()
    this.#list = undefined
    this.#audit = NO_DECISIONS
  }

  #read(): Audit {
    const audit = this.#engine()?.audit() as Audit | undefined
    freeze(audit)
    return audit ?? NO_DECISIONS
  }
}
