import { callSafely } from '../mirror.js'
import type { Changes, Key, Store } from '../index.js'
import { keyText } from '../tables.js'
import type { Assigning, UseAssignment } from './assigning.js'

/** Looks whether answers of these records are still so; of all, where none are named. */
type Look = (changed?: ReadonlySet<string>) => void

interface Watch {
  about(name: string): void
  forget(): void
  stop(): void
}

/** Knows who has been told what of whom records may be assigned to, and has them look again when that may be otherwise. */
export class Answers {
  readonly #store: Store
  /** What looks again whether answers are still so; and at which records. */
  readonly #looks = new Set<Look>()
  readonly #looksAt = new Map<string, Set<Look>>()
  #stop: () => void = () => undefined

  constructor(store: Store) {
    this.#store = store
  }

  /** Has these records looked at. Returns how to add one, how to name them anew, and how to stop. */
  watch(names: Iterable<string>, look: Look): Watch {
    if (this.#looks.size === 0) this.#start()
    this.#looks.add(look)
    const own = new Set<string>()
    const about = (name: string) => {
      own.add(name)
      const looks = this.#looksAt.get(name)
      if (looks) looks.add(look)
      else this.#looksAt.set(name, new Set([look]))
    }
    for (const name of names) about(name)
    const forget = () => {
      for (const name of own) {
        const looks = this.#looksAt.get(name)
        if (looks?.delete(look) && looks.size === 0) this.#looksAt.delete(name)
      }
      own.clear()
    }
    const stop = () => {
      forget()
      this.#looks.delete(look)
      if (this.#looks.size === 0) this.#stop()
    }
    return { about, forget, stop }
  }

  /** One subscription for all components: there may be as many of them as there are records. */
  #start(): void {
    if (this.#store.isClosed) return
    const everybody = () => {
      for (const look of Array.from(this.#looks)) callSafely(look)
    }
    const stops = [this.#store.assignments.watchRights(everybody)]
    const take = ({ records, renamed }: Changes) => {
      // Whom something is given to may have become somebody else.
      if (renamed || records.some(({ table }) => this.#store.assignments.hasPeople(table))) return everybody()
      const due = new Map<Look, Set<string>>()
      for (const name of records.length > 0 ? [ANY, ...records.map(({ table, key }) => nameOf(table, key))] : []) {
        for (const look of this.#looksAt.get(name) ?? []) due.set(look, (due.get(look) ?? new Set()).add(name))
      }
      for (const [look, changed] of due) callSafely(() => look(changed))
    }
    stops.push(this.#store.subscribe(take))
    this.#stop = () => {
      for (const stop of stops) stop()
    }
  }
}

/** In the place of a record: whichever it is. */
const ANY = '*'

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
  /** For as long as the component is there. */
  #watch: Watch | undefined

  constructor(assigning: Assigning) {
    this.#assigning = assigning
    this.#actions = this.#begin()
  }

  /** What the component is given. Another object, with another `canAssign`, once an answer has changed. */
  readonly actions = (): UseAssignment => this.#actions

  readonly subscribe = (listener: () => void): (() => void) => {
    const look: Look = (changed) => {
      if (!this.#isStale(changed)) return
      this.#actions = this.#begin()
      listener()
    }
    const names = [...this.#answers.values()].map(({ name }) => name)
    const watch = this.#assigning.answers.watch(this.#isTooMuch ? [...names, ANY] : names, look)
    this.#watch = watch
    // What has changed since the component was rendered.
    look()
    return () => {
      if (this.#watch === watch) this.#watch = undefined
      watch.stop()
    }
  }

  #begin(): UseAssignment {
    this.#answers.clear()
    this.#isTooMuch = false
    this.#watch?.forget()
    const { assignEntity, clearError } = this.#assigning
    return { assignEntity, clearError, canAssign: (...question) => this.#ask(question) }
  }

  #ask(question: Parameters<UseAssignment['canAssign']>): boolean {
    const answer = this.#assigning.canAssign(...question)
    if (this.#answers.size >= QUESTIONS_MAX) {
      this.#isTooMuch = true
      this.#watch?.about(ANY)
      return answer
    }
    const name = nameOf(question[0], question[1])
    this.#answers.set(JSON.stringify(question), { question, answer, name })
    this.#watch?.about(name)
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
