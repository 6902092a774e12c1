import { RotaError, type Key, type NotificationKind, type NotificationShown, type PlaceGiven, type RegisteredRecord, type RegisteredTables, type Store, type Tables } from '../index.js'
import { NONE } from './first.js'

/** Who is editing or typing, by the key of the submission: people's ids. */
export type Editors = Readonly<Record<string, readonly string[]>>

/** What is told of a submission: as the caller says, or of the registered tables; where there are none, whoever is told says what it is. */
export type Submitted<N, R> = [R] extends [never] ? (string extends keyof RegisteredTables ? never : RegisteredRecord<'form', N>) : R

/** What tells of submissions as they arrive. */
export interface FormsNotified<R = never> {
  /** The name under which `notifications.configure` says what is shown, and for how long; `forms` by default. */
  readonly component?: string
  /** `status` by default. */
  readonly kind?: NotificationKind
  /** What is said of one that arrives. */
  readonly message?: (submission: R, key: string) => string
}

const NO_EDITORS: Editors = Object.freeze({})

/** The table of submissions that is meant: the one that is named, or the first declared. */
export function formTable(store: Store, given: string | undefined): string {
  const name = given ?? Object.entries(store.tables as Tables).find(([, { domain }]) => domain?.kind === 'form')?.[0]
  if (name === undefined) throw new RotaError('invalid-operation', 'no table is declared with the domain of forms')
  return name
}

/** Reads of one component's forms what has to be the same object until something in it changes. */
export class FormReads {
  readonly #store: Store
  readonly #table: string
  #all: readonly NotificationShown[] = NONE
  #own: readonly NotificationShown[] = NONE
  #editors = NO_EDITORS

  constructor(store: Store, table: string) {
    this.#store = store
    this.#table = table
  }

  /** What is shown of submissions that have arrived. */
  notifications(component: string): readonly NotificationShown[] {
    const all = this.#store.notifications.shown(component)
    if (all === this.#all) return this.#own
    const own = all.filter(({ id }) => id.startsWith(prefixOf(this.#table)))
    const isSame = own.length === this.#own.length && own.every((one, at) => one === this.#own[at])
    this.#all = all
    if (!isSame) this.#own = own
    return this.#own
  }

  editors(): Editors {
    const keys = new Set(this.#store.presence.peers().flatMap(({ presence }) => (presence?.record?.table === this.#table ? [presence.record.key] : [])))
    const entries = [...keys].sort().map((key) => [key, this.#store.presence.editors(this.#table, key)] as const)
    const editors = Object.fromEntries(entries.filter(([, people]) => people.length > 0))
    if (JSON.stringify(editors) !== JSON.stringify(this.#editors)) this.#editors = editors
    return this.#editors
  }
}

/** Has each submission that arrives from somebody else told once, in whatever tabs look. Of one's own one knows; what was refused never arrived. */
export function notifyArrivals(store: Store, table: string, how: () => FormsNotified): () => void {
  return store.submissions.watch((event) => {
    if (event.table !== table || event.type !== 'arrived' || event.isOwn) return
    const { kind = 'status', message = () => `New submission: ${event.key}` } = how()
    store.notifications.createNotification({ id: `${prefixOf(table)}${event.key}`, kind, message: message(event.submission as never, event.key) })
  })
}

/** Who has said where the person works, and has not taken it back: the last one last. */
const editing = new WeakMap<Store, Set<Editing>>()

/** Says where this tab's person works, and takes it back. What somebody else has said since stays, and what still holds is said again. */
export class Editing {
  readonly #store: Store
  readonly #table: string
  #said: PlaceGiven | undefined

  constructor(store: Store, table: string) {
    this.#store = store
    this.#table = table
  }

  readonly edit = (key: Key, doing: 'editing' | 'typing' = 'editing'): void => {
    this.#say({ place: this.#table, doing, record: { table: this.#table, key } })
    const all = editing.get(this.#store) ?? new Set()
    editing.set(this.#store, all)
    all.delete(this)
    all.add(this)
  }

  readonly leave = (): void => {
    const said = this.#said
    this.#said = undefined
    const all = editing.get(this.#store)
    all?.delete(this)
    if (!said || this.#store.isClosed || this.#store.presence.given !== said) return
    const before = [...(all ?? [])].at(-1)
    const place = before && before.#said
    if (before && place) before.#say(place)
    else this.#store.presence.set(null)
  }

  #say(place: PlaceGiven): void {
    this.#store.presence.set(place)
    this.#said = place
  }
}

function prefixOf(table: string): string {
  return `submission/${table}/`
}
