import type { Peer, Presence as Place } from './backend.js'
import { RotaError } from './errors.js'
import { happenings, type RotaEngine } from './init.js'
import { add, type ChangeList, type Listener, type Mirror } from './mirror.js'
import { keyText } from './tables.js'
import type { Key } from './types.js'
import { freeze } from './values.js'

/** Where a person says that they are. */
export interface PlaceGiven {
  /** The application's own name for the place: a page, a dialogue, a form. */
  readonly place: string
  /** What they do there; `idle` by default. Typing runs out after five seconds, unless it is said again. */
  readonly doing?: Place['doing']
  /** The record that they are at. */
  readonly record?: { readonly table: string; readonly key: Key }
}

const NOBODY: readonly Peer[] = Object.freeze([])

const NO_EDITORS: readonly string[] = Object.freeze([])

/** Who is here, where, and what they are doing. Nothing of it is stored; what nobody renews is forgotten. */
export class Presence {
  readonly #call: (run: (engine: RotaEngine) => void) => void
  readonly #listeners = new Set<Listener>()
  #peers = NOBODY
  #given: PlaceGiven | null = null

  /** @internal */
  constructor(mirror: Mirror, call: (run: (engine: RotaEngine) => void) => void) {
    this.#call = call
    mirror.add(this)
  }

  /** Says where the person of this tab is, to their other tabs and, with a backend that has presence, to everybody. Null: nowhere. */
  set(place: PlaceGiven | null): void {
    const given = place === null ? null : placeOf(place)
    this.#call((engine) => engine.setPresence(given))
    this.#given = place
  }

  /** @internal What {@link set} was given last. */
  get given(): PlaceGiven | null {
    return this.#given
  }

  /** Everybody else who is here, and this person's other tabs: an entry a tab. The same list until it changes. What it says is what others say of themselves. */
  peers(): readonly Peer[] {
    return this.#peers
  }

  /** Who is editing or typing in a record: people's ids in order, each once. */
  editors(table: string, key: Key): readonly string[] {
    return this.#peers.length === 0 ? NO_EDITORS : happenings.editors(this.#peers, table, keyText(key))
  }

  /** Calls back when somebody comes, moves or goes; returns how to stop. */
  subscribe(listener: () => void): () => void {
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'presence.subscribe takes a function')
    // Throws where the store is closed.
    this.#call(() => undefined)
    return add(this.#listeners, listener)
  }

  /** @internal */
  take({ presence }: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    if (!presence) return
    freeze(presence)
    this.#peers = presence
    tell(this.#listeners)
  }

  /** @internal */
  countListeners(): number {
    return this.#listeners.size
  }

  /** @internal */
  close(): void {
    this.#listeners.clear()
    this.#peers = NOBODY
  }
}

function placeOf(given: PlaceGiven): Place {
  const { place, doing = 'idle', record } = typeof given === 'object' ? given : ({} as PlaceGiven)
  if (typeof place !== 'string') throw new RotaError('invalid-operation', 'presence.set takes { place, doing?, record? } or null')
  if (doing !== 'idle' && doing !== 'typing' && doing !== 'editing') throw new RotaError('invalid-operation', '"doing" is idle, typing or editing')
  if (record === undefined) return { place, doing }
  if (typeof record !== 'object' || record === null || typeof record.table !== 'string') throw new RotaError('invalid-operation', '"record" is { table, key }')
  return { place, doing, record: { table: record.table, key: keyText(record.key) } }
}
