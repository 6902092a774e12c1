import type { Interactions, InteractionState, Key, Mutated, Store, Tables } from '../index.js'

/** Which table of its domain a hook is about. */
export interface InTable<N extends string = string> {
  /** The table; where none is named, the only one that is declared with the domain. */
  readonly table?: N | undefined
}

/** What `useLiveInteraction` can do; the same functions for as long as the provider is there. */
export interface InteractionActions<P = object> {
  /** Has this tab look at an interaction, and its campaign. */
  setCurrentInteraction(key: Key): void
  clearCurrentInteraction(): void
  /** Fetches what is new now. */
  refreshInteractions(): void
  /** Changes an interaction, at once. The id of what it returns is what `rollbackUpdate` takes. */
  optimisticUpdate(key: Key, set: P): Mutated
  /** Takes a change back, wherever it is by now; what somebody else has changed since stays. */
  rollbackUpdate(operationId: string): Mutated | undefined
}

/** The interactions of a table. */
// Of whatever tables.
// oxlint-disable-next-line typescript/no-explicit-any
export function interactionsIn({ interactions }: Store, table: string | undefined): Interactions<any> {
  return table === undefined ? interactions : interactions.in(table)
}

export function interactionActions(store: Store, table: () => string | undefined): InteractionActions {
  const interactions = () => interactionsIn(store, table())
  return {
    setCurrentInteraction: (key) => interactions().setCurrentInteraction(key),
    clearCurrentInteraction: () => interactions().clearCurrentInteraction(),
    refreshInteractions: () => interactions().refreshInteractions(),
    optimisticUpdate: (key, set) => interactions().optimisticUpdate(key, set as never),
    rollbackUpdate: (operationId) => interactions().rollbackUpdate(operationId),
  }
}

/** Has the interactions fetched anew: those of a table, or of all tables of the domain, if there are any. */
export function refreshAll(store: Store, table: string | undefined): void {
  const ofDomain = Object.entries(store.tables as Tables).flatMap(([name, { domain }]) => (domain?.kind === 'interaction' ? [name] : []))
  for (const name of table === undefined ? ofDomain : [table]) store.interactions.in(name).refreshInteractions()
}

/** What a server shows of the interactions, and a browser until it has taken that over: nobody looks at one yet, and nothing has happened. */
export function firstInteractions(store: Store, table: string | undefined): InteractionState<object> {
  const { activeInteractions } = interactionsIn(store, table).state()
  return { activeInteractions, currentInteractionId: null, currentCampaignId: null, isLoading: !store.firstReads.status().ready, error: null, lastUpdate: null }
}
