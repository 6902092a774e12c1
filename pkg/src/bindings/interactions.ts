import type { InteractionState, Key, Mutated, Store } from '../index.js'

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

export function interactionActions({ interactions }: Store): InteractionActions {
  return {
    setCurrentInteraction: (key) => interactions.setCurrentInteraction(key),
    clearCurrentInteraction: () => interactions.clearCurrentInteraction(),
    refreshInteractions: () => interactions.refreshInteractions(),
    optimisticUpdate: (key, set) => interactions.optimisticUpdate(key, set as never),
    rollbackUpdate: (operationId) => interactions.rollbackUpdate(operationId),
  }
}

/** What a server shows of the interactions, and a browser until it has taken that over: nobody looks at one yet, and nothing has happened. */
export function firstInteractions(store: Store): InteractionState<object> {
  const { activeInteractions } = store.interactions.state()
  return { activeInteractions, currentInteractionId: null, currentCampaignId: null, isLoading: !store.firstReads.status().ready, error: null, lastUpdate: null }
}
