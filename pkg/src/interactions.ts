import { RotaError } from './errors.js'
import { InteractionTable, type EventListener } from './interaction-table.js'
import type { Mirror } from './mirror.js'
import type { DomainName, PatchOf, RecordOf, Tables } from './tables.js'
import type { Key, Mutated } from './types.js'

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
  /** True until everything was fetched, and while a refresh is under way: for ten seconds at most. */
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
  /** Fetches what is new, and calls back once a pull that began no earlier has come to an end. Returns how not to be called. */
  refresh(table: string, arrived: () => void): () => void
  /** Opens a live list. */
  view(spec: object): { rows(): readonly object[]; subscribe(listener: () => void): () => void }
  call<R>(run: () => R): R
}

/** The interactions that go on, which of them this tab looks at, and what happens in them: in the table declared with their domain. */
export class Interactions<T extends Tables, N extends DomainName<T, 'interaction'> = DomainName<T, 'interaction'>> {
  readonly #tables: ReadonlyMap<string, InteractionTable>
  readonly #name: string | undefined

  /** @internal */
  constructor(tables: ReadonlyMap<string, InteractionTable>, name?: string) {
    this.#tables = tables
    this.#name = name
  }

  /** The interactions of one table: for stores with more than one table of the domain. */
  in<M extends N>(table: M): Interactions<T, M> {
    if (!this.#tables.has(table)) throw new RotaError('invalid-operation', `there is no table "${table}" that is declared with the domain of interactions`)
    return new Interactions(this.#tables, table)
  }

  /** Returns what a component is to show. */
  state(): InteractionState<RecordOf<T[N]>> {
    return this.#table().state() as InteractionState<RecordOf<T[N]>>
  }

  /** Calls back when what {@link state} returns may have changed; returns how to stop. */
  subscribe(listener: () => void): () => void {
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'interactions.subscribe takes a function')
    return this.#table().subscribe(listener)
  }

  /** Calls back when it becomes somebody else's turn, somebody does something, or an interaction stands differently: as soon as it shows. Returns how to stop. */
  watch(listener: (event: InteractionEvent<RecordOf<T[N]>>) => void): () => void {
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'interactions.watch takes a function')
    return this.#table().watch(listener as EventListener)
  }

  /** Has this tab look at an interaction, and its campaign. */
  setCurrentInteraction(key: Key): void {
    this.#table().setCurrent(key)
  }

  /** Has this tab look at none. */
  clearCurrentInteraction(): void {
    this.#table().clearCurrent()
  }

  /** Fetches what is new now. */
  refreshInteractions(): void {
    this.#table().refresh()
  }

  /** Changes an interaction, at once. The id of what it returns is what {@link rollbackUpdate} takes. */
  optimisticUpdate(key: Key, set: PatchOf<T[N]>): Mutated {
    return this.#table().update(key, set)
  }

  /**
   * Takes a change back that {@link optimisticUpdate} made, wherever it is by now, in any order. What the person changed later covers it; what somebody else has
   * changed since stays. Nothing is returned where nothing had to be sent.
   */
  rollbackUpdate(operationId: string): Mutated | undefined {
    return this.#table().rollback(operationId)
  }

  #table(): InteractionTable {
    const names = this.#name === undefined ? [...this.#tables.keys()] : [this.#name]
    const only = this.#tables.get(names[0] ?? '')
    if (!only) throw new RotaError('invalid-operation', 'no table is declared with the domain of interactions')
    if (names.length > 1) throw new RotaError('invalid-operation', `there is more than one table of interactions, ${names.join(', ')}: say which one with interactions.in(table)`)
    return only
  }
}

/** The tables of interactions among the declared ones. @internal */
export function interactionTables(host: InteractionHost, tables: Tables): ReadonlyMap<string, InteractionTable> {
  const found = new Map<string, InteractionTable>()
  for (const [number, [name, declared]] of Object.entries(tables).entries()) {
    if (declared.domain?.kind === 'interaction') found.set(name, new InteractionTable(host, name, number, declared))
  }
  return found
}
