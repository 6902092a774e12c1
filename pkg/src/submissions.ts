import { RotaError } from './errors.js'
import { happenings } from './init.js'
import type { Mirror } from './mirror.js'
import { RecordEvents } from './record-events.js'
import type { DomainName, RecordOf, Tables } from './tables.js'

/** What has become of a submission: it has come in, it stands differently, it is gone. */
export interface SubmissionEvent<R> {
  readonly type: 'arrived' | 'became' | 'withdrawn'
  readonly table: string
  readonly key: string
  /** True where this person has done it, in this browser, and the server's word is still out. */
  readonly isOwn: boolean
  /** As it shows now; of one that is gone, as it was. */
  readonly submission: R
}

/** Submissions of forms: in the tables declared with their domain. */
export class Submissions<T extends Tables, N extends DomainName<T, 'form'> = DomainName<T, 'form'>> {
  readonly #requireOpen: () => void
  readonly #events: RecordEvents<SubmissionEvent<object>>

  /** @internal */
  constructor(mirror: Mirror, tables: T, requireOpen: () => void) {
    this.#requireOpen = requireOpen
    const names = Object.entries(tables).map(([name, { domain }]) => (domain?.kind === 'form' ? name : undefined))
    this.#events = new RecordEvents(mirror, names, ({ table, key, before, after }) => {
      const type = happenings.submission(tables[table]?.domain ?? {}, before, after) as SubmissionEvent<object>['type'] | undefined
      const submission = after ?? before
      const isOwn = (mirror.cell(table, key)?.pending.size ?? 0) > 0
      return type && submission && { type, table, key, isOwn, submission }
    })
  }

  /** Calls back when a submission arrives, stands differently or is gone, as soon as it shows; returns how to stop. */
  watch(listener: (event: SubmissionEvent<RecordOf<T[N]>>) => void): () => void {
    this.#requireOpen()
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'submissions.watch takes a function')
    return this.#events.watch(listener as (event: SubmissionEvent<object>) => void)
  }
}
