import { RotaError, type RotaErrorCode } from './errors.js'
import { chatRules } from './init.js'

interface Told {
  atMs: number
  isKnown: boolean
  readonly done: Promise<boolean>
}

/** Tells the server that a person is at work in a chat, no more often than the rule of silence asks for. */
export class SignsOfLife {
  readonly #tell: (table: string, key: string) => Promise<boolean>
  /** By table and key: what was told last. */
  readonly #told = new Map<string, Told>()

  constructor(tell: (table: string, key: string) => Promise<boolean>) {
    this.#tell = tell
  }

  /** Throws where the rules refuse it. Resolves with whether the server knows. */
  give(table: string, key: string, record: object, user: string): Promise<boolean> {
    const nowMs = performance.now()
    const name = JSON.stringify([table, key])
    const last = this.#told.get(name)
    const isDue = chatRules.signOfLife(record, user, last?.atMs, last?.isKnown ?? false, nowMs) as boolean | { code: RotaErrorCode; message: string }
    if (typeof isDue === 'object') throw new RotaError(isDue.code, isDue.message)
    if (last && !isDue) return last.done
    const told: Told = { atMs: nowMs, isKnown: true, done: this.#tell(table, key).then((isKnown) => (told.isKnown = isKnown), () => (told.isKnown = false)) }
    // Those in use stay at the end.
    this.#told.delete(name)
    this.#told.set(name, told)
    for (const oldest of this.#told.keys()) if (this.#told.size > CHATS_MAX) this.#told.delete(oldest)
    return told.done
  }
}

/** Nobody is at work in so many chats; of one that is forgotten the server is told once more. */
const CHATS_MAX = 100
