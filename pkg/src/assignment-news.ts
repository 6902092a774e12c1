import { RotaError } from './errors.js'
import { happenings } from './init.js'
import type { Mirror } from './mirror.js'
import type { NotificationGiven } from './notifications.js'
import { RecordEvents } from './record-events.js'
import type { Tables } from './tables.js'

/** What the store's person is to be told of an assignment: something is theirs now, or theirs no more. */
export interface AssignmentNews {
  readonly type: 'assigned' | 'unassigned'
  /** Of which record. */
  readonly table: string
  readonly key: string
  /** Whose it was and is; null: nobody's. */
  readonly from: string | null
  readonly to: string | null
  /** Who did it; null: whoever runs the database. */
  readonly by: string | null
  readonly atMs: number
}

/** What makes notifications of assignments. */
export interface AssignmentNotices {
  /** The table of the server kit's `assignment_history`, which the store must declare with its columns. */
  readonly history: string
  /** What it says. */
  readonly message: (news: AssignmentNews) => string
  /** `status` by default. */
  readonly kind?: NotificationGiven['kind']
}

/** The columns that are read here. */
const COLUMNS = ['table_name', 'record_key', 'from_owner', 'to_owner', 'changed_by', 'changed_at'] as const

type History = Readonly<Record<(typeof COLUMNS)[number], string | null>>
type Line = readonly [key: string, history: History]

/** Makes notifications of what others assign to this person, or take away. The same id in every tab, so each is seen once. */
export class AssignmentFollower {
  readonly #mirror: Mirror
  readonly #tables: Tables
  readonly #person: string
  readonly #create: (notice: NotificationGiven) => void
  readonly #followed = new Map<string, RecordEvents<Line>>()

  constructor(mirror: Mirror, tables: Tables, person: string, create: (notice: NotificationGiven) => void) {
    this.#mirror = mirror
    this.#tables = tables
    this.#person = person
    this.#create = create
  }

  follow({ history, message, kind = 'status' }: AssignmentNotices): () => void {
    if (typeof message !== 'function') throw new RotaError('invalid-operation', 'followAssignments takes a history and a message, which is a function')
    return this.#events(history).watch(([key, line]) => {
      const type = happenings.told(line, this.#person) as AssignmentNews['type'] | undefined
      if (!type) return
      const { table_name: table, record_key: recordKey, from_owner: from, to_owner: to, changed_by: by, changed_at: at } = line
      const parsed = Date.parse(at ?? '')
      const atMs = Number.isNaN(parsed) ? this.#mirror.serverNow() : parsed
      // It shows from when it is heard of, for its whole time, however late that is.
      this.#create({ id: `assignment/${key}`, kind, message: message({ type, table: table ?? '', key: recordKey ?? '', from, to, by, atMs }) })
    })
  }

  #events(history: string): RecordEvents<Line> {
    const known = this.#followed.get(history)
    if (known) return known
    const fields: readonly string[] | undefined = Object.hasOwn(this.#tables, history) ? this.#tables[history]?.fields : undefined
    if (!fields) throw new RotaError('unknown-table', `there is no table "${history}"`)
    const missing = COLUMNS.find((column) => !fields.includes(column))
    if (missing) throw new RotaError('invalid-operation', `table "${history}" declares no field "${missing}", so it is no history of assignments`)
    const names = Object.keys(this.#tables).map((name) => (name === history ? name : undefined))
    const events = new RecordEvents<Line>(this.#mirror, names, ({ key, before, after }) => (after && !before ? [key, after as History] : undefined))
    this.#followed.set(history, events)
    return events
  }
}
