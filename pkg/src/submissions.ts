import { RotaError } from './errors.js'
import { happenings } from './init.js'
import { add, type ChangeList, type Listener, type Mirror } from './mirror.js'
import type { DomainName, RecordOf, Tables } from './tables.js'

/** What has become of a submission: it has come in, it stands differently, it is gone. */
export interface SubmissionEvent<R> {
  readonly type: 'arrived' | 'became' | 'withdrawn'
  readonly key: string
  /** As it shows now; of one that is gone, as it was. */
  readonly submission: R
}

type EventListener = (event: SubmissionEvent<object>) => void

/** Submissions of forms: in the tables declared with their domain. */
export class Submissions<T extends Tables, N extends DomainName<T, 'form'> = DomainName<T, 'form'>> {
  readonly #requireOpen: () => void
  readonly #listeners = new Set<EventListener>()
  readonly #known = new Map<string, object>()
  readonly #events: SubmissionEvent<object>[] = []
  #isReady = false

  /** @internal */
  constructor(mirror: Mirror, tables: T, requireOpen: () => void) {
    this.#requireOpen = requireOpen
    const domains = Object.values(tables).map(({ domain }) => (domain?.kind === 'form' ? domain : undefined))
    if (domains.every((domain) => !domain)) return
    mirror.add({
      take: (list, tell) => {
        // What is there at the beginning did not arrive now.
        const isNews = this.#isReady
        this.#isReady = mirror.status.ready
        this.#take(list, domains, isNews)
        if (this.#events.length > 0) tell([this.#tellEvents])
      },
      countListeners: () => this.#listeners.size,
      close: () => {
        this.#listeners.clear()
        this.#known.clear()
        this.#events.length = 0
      },
    })
  }

  /** Calls back when a submission arrives, stands differently or is gone, as soon as it shows; returns how to stop. */
  watch(listener: (event: SubmissionEvent<RecordOf<T[N]>>) => void): () => void {
    this.#requireOpen()
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'submissions.watch takes a function')
    return add(this.#listeners, listener as EventListener)
  }

  #take({ records }: ChangeList, domains: readonly (object | undefined)[], isNews: boolean): void {
    for (let at = 0; at < records.length; at += 5) {
      const number = records[at + 1] as number
      const domain = domains[number]
      if (!domain) continue
      const [key, after] = [records[at + 2] as string, records[at + 3] as object | undefined]
      const place = `${number}:${key}`
      const before = this.#known.get(place)
      if (after) this.#known.set(place, after)
      else this.#known.delete(place)
      const submission = after ?? before
      if (!isNews || !submission || this.#listeners.size === 0) continue
      const type = happenings.submission(domain, before, after) as SubmissionEvent<object>['type'] | undefined
      if (type) this.#events.push({ type, key, submission })
    }
  }

  readonly #tellEvents: Listener = () => {
    for (const event of this.#events.splice(0)) {
      for (const listener of Array.from(this.#listeners)) listener(event)
    }
  }
}
