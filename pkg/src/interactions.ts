import { RotaError } from './errors.js'
import { happenings } from './init.js'
import { add, callSafely, type ChangeList, type Listener, type Mirror } from './mirror.js'
import { keyText, type DomainName, type PatchOf, type RecordOf, type Tables } from './tables.js'
import type { Key, Mutated, OperationView } from './types.js'

/** What has happened in an interaction: it is somebody else's turn, somebody has done something, it stands differently. */
export interface InteractionEvent<R> {
  readonly type: 'turn' | 'action' | 'status'
  readonly key: string
  readonly interaction: R
}

/** What a component shows of the interactions that go on. The same object until something in it changes. */
export interface InteractionState<R> {
  readonly activeInteractions: readonly R[]
  /** Which one this tab looks at. */
  readonly currentInteractionId: string | null
  /** Its campaign; it stays when the interaction is gone. */
  readonly currentCampaignId: string | null
  readonly isLoading: boolean
  /** Why the last change of an interaction did not come true; null again at the next one that does. */
  readonly error: { readonly operationId: string; readonly code: string; readonly message: string } | null
  /** When one last changed, in milliseconds since 1970. */
  readonly lastUpdate: number | null
}

/** What interactions need of their store. @internal */
export interface InteractionHost {
  readonly mirror: Mirror
  mutate(mutation: object): Mutated
  undo(id: string): Mutated | undefined
  refresh(table: string): void
  /** Opens a live list. */
  view(spec: object): { rows(): readonly object[]; subscribe(listener: () => void): () => void }
  call<R>(run: () => R): R
}

/** The table, its number in change lists, and what it declares. */
interface Declared {
  readonly name: string
  readonly number: number
  readonly domain: object
}

type EventListener = (event: InteractionEvent<object>) => void

const FAILED: ReadonlySet<string> = new Set<OperationView['state']>(['refused', 'conflicted', 'dead', 'unknown'])

/** The interactions that go on, which of them this tab looks at, and what happens in them: in the table declared with their domain. */
export class Interactions<T extends Tables, N extends DomainName<T, 'interaction'> = DomainName<T, 'interaction'>> {
  readonly #host: InteractionHost
  readonly #table: Declared | undefined
  readonly #known = new Map<string, object>()
  readonly #listeners = new Set<Listener>()
  readonly #watchers = new Set<EventListener>()
  readonly #events: InteractionEvent<object>[] = []
  #active: { rows(): readonly object[] } | undefined
  #current: { readonly interaction?: string; readonly campaign?: string } = {}
  #error: InteractionState<object>['error'] = null
  #lastUpdate: number | null = null
  #state: InteractionState<RecordOf<T[N]>> | undefined

  /** @internal */
  constructor(host: InteractionHost, tables: T) {
    this.#host = host
    const number = Object.values(tables).findIndex(({ domain }) => domain?.kind === 'interaction')
    const [name, declared] = Object.entries(tables)[number] ?? []
    if (name === undefined || !declared?.domain) return
    this.#table = { name, number, domain: declared.domain }
    host.mirror.add({
      take: (list, tell) => this.#take(list, tell),
      countListeners: () => this.#listeners.size + this.#watchers.size,
      close: () => this.#close(),
    })
  }

  /** Returns what a component is to show. */
  state(): InteractionState<RecordOf<T[N]>> {
    const before = this.#state
    const next = {
      activeInteractions: this.#rows() as readonly RecordOf<T[N]>[],
      currentInteractionId: this.#current.interaction ?? null,
      currentCampaignId: this.#current.campaign ?? null,
      isLoading: !this.#host.mirror.status.ready && !this.#host.mirror.isClosed,
      error: this.#error,
      lastUpdate: this.#lastUpdate,
    }
    const names = Object.keys(next) as (keyof typeof next)[]
    if (before && names.every((name) => before[name] === next[name])) return before
    this.#state = next
    return next
  }

  /** Calls back when what {@link state} returns may have changed; returns how to stop. */
  subscribe(listener: () => void): () => void {
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'interactions.subscribe takes a function')
    this.#host.call(() => undefined)
    this.#rows()
    return add(this.#listeners, listener)
  }

  /** Calls back when it becomes somebody else's turn, somebody does something, or an interaction stands differently: as soon as it shows. Returns how to stop. */
  watch(listener: (event: InteractionEvent<RecordOf<T[N]>>) => void): () => void {
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'interactions.watch takes a function')
    this.#host.call(() => undefined)
    this.#declared()
    return add(this.#watchers, listener as EventListener)
  }

  /** Has this tab look at an interaction, and its campaign. */
  setCurrentInteraction(key: Key): void {
    const { name } = this.#declared()
    const text = keyText(key)
    if (!this.#host.mirror.get(name, text)) throw new RotaError('unknown-record', `table "${name}" has no record "${text}"`)
    this.#select(text)
    this.#host.mirror.due(this.#listeners)
  }

  /** Has this tab look at none. */
  clearCurrentInteraction(): void {
    this.#current = {}
    this.#host.mirror.due(this.#listeners)
  }

  /** Fetches what is new now. */
  refreshInteractions(): void {
    this.#host.refresh(this.#declared().name)
  }

  /** Changes an interaction, at once. The id of what it returns is what {@link rollbackUpdate} takes. */
  optimisticUpdate(key: Key, set: PatchOf<T[N]>): Mutated {
    return this.#host.mutate({ name: 'patch', table: this.#declared().name, key, set })
  }

  /**
   * Takes a change back, wherever it is by now, in any order. What the person changed later covers it; what somebody else has changed since stays. Nothing is
   * returned where nothing had to be sent.
   */
  rollbackUpdate(operationId: string): Mutated | undefined {
    return this.#host.undo(operationId)
  }

  #declared(): Declared {
    if (!this.#table) throw new RotaError('invalid-operation', 'no table is declared with the domain of interactions')
    return this.#table
  }

  #rows(): readonly object[] {
    const { name, domain } = this.#declared()
    if (this.#host.mirror.isClosed) return NONE
    if (!this.#active) {
      const list = this.#host.view(this.#host.call(() => happenings.active(name, domain)) as object)
      list.subscribe(() => this.#host.mirror.due(this.#listeners))
      this.#active = list
    }
    return this.#active.rows()
  }

  #select(key: string): void {
    const { name, domain } = this.#declared()
    const record = this.#host.mirror.get(name, key)
    this.#current = this.#host.call(() => happenings.selected(domain, key, record, this.#current.campaign))
  }

  #take({ records, operations, status }: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    const { name, number } = this.#declared()
    let isNews = status !== undefined
    for (let at = 0; at < records.length; at += 5) {
      if (records[at + 1] !== number) continue
      isNews = true
      this.#lastUpdate = Date.now()
      this.#changed(records[at + 2] as string, records[at + 3] as object | undefined)
    }
    for (const { id, table, parts, state, code = state, message = '' } of operations) {
      const isOurs = parts ? parts.some((part) => part.table === name) : table === name
      if (!isOurs || (!FAILED.has(state) && state !== 'confirmed')) continue
      isNews = true
      this.#error = state === 'confirmed' ? null : { operationId: id, code, message }
    }
    if (isNews) tell(this.#listeners)
    if (this.#events.length > 0) tell([this.#tellEvents])
  }

  #changed(key: string, after: object | undefined): void {
    const before = this.#known.get(key)
    if (after) this.#known.set(key, after)
    else this.#known.delete(key)
    if (this.#current.interaction === key) this.#select(key)
    if (!before || !after || this.#watchers.size === 0) return
    for (const type of happenings.happened(this.#declared().domain, before, after)) {
      this.#events.push({ type: type as InteractionEvent<object>['type'], key, interaction: after })
    }
  }

  readonly #tellEvents: Listener = () => {
    for (const event of this.#events.splice(0)) {
      for (const watcher of Array.from(this.#watchers)) callSafely(() => watcher(event))
    }
  }

  #close(): void {
    this.#listeners.clear()
    this.#watchers.clear()
    this.#known.clear()
    this.#events.length = 0
    this.#active = undefined
    this.#current = {}
    this.#error = null
    this.#lastUpdate = null
  }
}

const NONE: readonly never[] = Object.freeze([])
