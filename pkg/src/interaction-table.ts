import { RotaError } from './errors.js'
import { happenings } from './init.js'
import type { InteractionEvent, InteractionHost, InteractionState } from './interactions.js'
import { add, callSafely, type ChangeList, type Listener } from './mirror.js'
import { keyText, type Tables } from './tables.js'
import type { Key, Mutated, OperationView } from './types.js'
import { readsTheSame } from './values.js'

export type EventListener = (event: InteractionEvent<object>) => void

const FAILED: ReadonlySet<string> = new Set<OperationView['state']>(['refused', 'conflicted', 'dead', 'unknown'])

/** Operations that have ended so have done nothing. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set<OperationView['state']>(['refused', 'conflicted', 'cancelled'])

/** How many changes are known by their id. The engine undoes the last hundred that this tab made, of whatever. */
const MADE_MAX = 1_000

/** How long a refresh is waited for that nobody answers. */
const REFRESH_MS_MAX = 10_000

/** One table of interactions: which of them this tab looks at, what happens in them, and what a component is to show. */
export class InteractionTable {
  readonly #host: InteractionHost
  readonly #name: string
  readonly #number: number
  readonly #domain: object
  readonly #fields: readonly string[]
  readonly #known = new Map<string, object>()
  readonly #listeners = new Set<Listener>()
  readonly #watchers = new Set<EventListener>()
  readonly #events: InteractionEvent<object>[] = []
  /** The operations that may be rolled back, the oldest first, with whether nothing is left of them. */
  readonly #made = new Map<string, { isOver: boolean }>()
  #active: { rows(): readonly object[] } | undefined
  #current: { readonly interaction?: string; readonly campaign?: string } = {}
  #error: InteractionState<object>['error'] = null
  #lastUpdate: number | null = null
  #state: InteractionState<object> | undefined
  /** Ends the wait for what a refresh has asked for. */
  #stopWaiting: (() => void) | undefined
  #syncedMs: number | undefined

  constructor(host: InteractionHost, name: string, number: number, { domain, fields }: Tables[string]) {
    this.#host = host
    this.#name = name
    this.#number = number
    this.#domain = domain as object
    this.#fields = fields
    host.mirror.add({
      take: (list, tell) => this.#take(list, tell),
      countListeners: () => this.#listeners.size + this.#watchers.size,
      close: () => this.#close(),
    })
  }

  state(): InteractionState<object> {
    const before = this.#state
    const { mirror } = this.#host
    const next = {
      activeInteractions: this.#rows(),
      currentInteractionId: this.#current.interaction ?? null,
      currentCampaignId: this.#current.campaign ?? null,
      isLoading: (!mirror.status.ready || this.#stopWaiting !== undefined) && !mirror.isClosed,
      error: this.#error,
      lastUpdate: this.#lastUpdate,
    }
    const names = Object.keys(next) as (keyof typeof next)[]
    if (before && names.every((name) => before[name] === next[name])) return before
    this.#state = next
    return next
  }

  subscribe(listener: () => void): () => void {
    this.#requireOpen()
    this.#rows()
    return add(this.#listeners, listener)
  }

  watch(listener: EventListener): () => void {
    this.#requireOpen()
    return add(this.#watchers, listener)
  }

  setCurrent(key: Key): void {
    this.#requireOpen()
    const text = this.#host.mirror.keyNow(this.#name, keyText(key))
    if (!this.#host.mirror.get(this.#name, text)) throw new RotaError('unknown-record', `table "${this.#name}" has no record "${text}"`)
    this.#select(text)
    this.#host.mirror.due(this.#listeners)
  }

  clearCurrent(): void {
    this.#requireOpen()
    this.#current = {}
    this.#host.mirror.due(this.#listeners)
  }

  refresh(): void {
    this.#stopWaiting?.()
    this.#stopWaiting = undefined
    const stop = this.#host.refresh(this.#name, () => this.#arrived())
    const timer = setTimeout(() => this.#arrived(), REFRESH_MS_MAX)
    // In Node it keeps no process alive.
    ;(timer as { unref?: () => void }).unref?.()
    this.#syncedMs = this.#host.mirror.status.lastSyncMs
    this.#stopWaiting = () => {
      stop()
      clearTimeout(timer)
    }
    this.#host.mirror.due(this.#listeners)
  }

  update(key: Key, set: object): Mutated {
    const mutated = this.#host.mutate({ name: 'patch', table: this.#name, key, set })
    this.#made.set(mutated.id, { isOver: false })
    for (const oldest of this.#made.keys()) {
      if (this.#made.size <= MADE_MAX) break
      this.#made.delete(oldest)
    }
    return mutated
  }

  /** Of what was refused, or rolled back before, nothing is left to roll back; nor of what was done to a record that is gone. */
  rollback(operationId: string): Mutated | undefined {
    this.#requireOpen()
    if (typeof operationId !== 'string') throw new RotaError('invalid-operation', 'rollbackUpdate takes the id of an operation, which is text')
    const made = this.#made.get(operationId)
    const unknown = () => new RotaError('unknown-operation', `"${operationId}" is no update of "${this.#name}" that can be rolled back: only those among the last 100 operations of this tab can, each once`)
    if (!made) throw unknown()
    if (made.isOver) return undefined
    try {
      const undoing = this.#host.undo(operationId)
      made.isOver = true
      // What could not be taken back may be tried again.
      void undoing?.settled.then(({ outcome }) => outcome === 'confirmed' || (made.isOver = false))
      return undoing
    } catch (error) {
      if (!(error instanceof RotaError)) throw error
      if (error.code === 'unknown-record') return undefined
      throw error.code === 'nothing-to-undo' ? unknown() : error
    }
  }

  #requireOpen(): void {
    this.#host.call(() => undefined)
  }

  /** What a refresh has asked for is here, or can't be had. */
  #arrived(): void {
    if (!this.#stopWaiting) return
    this.#stopWaiting()
    this.#stopWaiting = undefined
    this.#host.mirror.due(this.#listeners)
  }

  #rows(): readonly object[] {
    if (this.#host.mirror.isClosed) return NONE
    if (!this.#active) {
      const list = this.#host.view(this.#host.call(() => happenings.active(this.#name, this.#domain)) as object)
      list.subscribe(() => this.#host.mirror.due(this.#listeners))
      this.#active = list
    }
    return this.#active.rows()
  }

  #select(key: string): void {
    const record = this.#host.mirror.get(this.#name, key)
    this.#current = this.#host.call(() => happenings.selected(this.#domain, key, record, this.#current.campaign))
  }

  #take({ records, operations, status, renamed }: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    let isNews = status !== undefined
    // Under its real key it is the same one.
    for (const { table, from, to } of renamed ?? []) if (table === this.#name) this.#rename(from, to)
    // For a follower, the leader fetches.
    if (status?.role === 'follower' && status.lastSyncMs !== this.#syncedMs) {
      this.#stopWaiting?.()
      this.#stopWaiting = undefined
    }
    for (let at = 0; at < records.length; at += 5) {
      if (records[at + 1] !== this.#number) continue
      isNews = true
      this.#changed(records[at + 2] as string, records[at + 3] as object | undefined)
    }
    for (const { id, table, parts, state, code = state, message = '' } of operations) {
      const made = this.#made.get(id)
      if (made && WITHOUT_EFFECT.has(state)) made.isOver = true
      const isOurs = parts ? parts.some((part) => part.table === this.#name) : table === this.#name
      if (!isOurs || (!FAILED.has(state) && state !== 'confirmed')) continue
      isNews = true
      this.#error = state === 'confirmed' ? null : { operationId: id, code, message }
    }
    if (isNews) tell(this.#listeners)
    if (this.#events.length > 0) tell([this.#tellEvents])
  }

  #rename(from: string, to: string): void {
    const known = this.#known.get(from)
    if (known && this.#known.delete(from)) this.#known.set(to, known)
    if (this.#current.interaction === from) this.#select(to)
  }

  #changed(key: string, after: object | undefined): void {
    const before = this.#known.get(key)
    if (after) this.#known.set(key, after)
    else this.#known.delete(key)
    if (this.#current.interaction === key) this.#select(key)
    if (readsTheSame(this.#fields, before, after)) return
    this.#lastUpdate = Date.now()
    if (!before || !after || this.#watchers.size === 0) return
    for (const type of happenings.happened(this.#domain, before, after)) {
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
    this.#made.clear()
    this.#stopWaiting?.()
    this.#stopWaiting = undefined
    this.#events.length = 0
    this.#active = undefined
    this.#current = {}
    this.#error = null
    this.#lastUpdate = null
  }
}

const NONE: readonly never[] = Object.freeze([])
