import { createContext, createElement, useCallback, useContext, useEffect, useMemo, type ReactNode } from 'react'
import { firstInteractions, interactionActions, type InteractionActions } from '../bindings/interactions.js'
import { RotaError, type InteractionEvent, type InteractionState, type Store } from '../index.js'
import { useStore } from './store.js'
import { useLatest, useNoted } from './stored.js'

interface Given {
  readonly store: Store
  readonly actions: InteractionActions
}

const InteractionContext = createContext<Given | null>(null)

/** Gives the interactions that go on, and which of them this tab looks at, to every component below. */
export function LiveInteractionProvider({ children }: { readonly children?: ReactNode }): ReactNode {
  const store = useStore()
  const given = useMemo(() => ({ store, actions: interactionActions(store) }), [store])
  return createElement(InteractionContext.Provider, { value: given }, children)
}

/** What {@link useLiveInteraction} returns. */
export type UseLiveInteraction<R> = InteractionState<R> & InteractionActions<Partial<R>>

/** Returns the interactions that go on, and what to do with them. Renders again only when what the component reads of it has changed. */
export function useLiveInteraction<R extends object = object>(): UseLiveInteraction<R> {
  const given = useContext(InteractionContext)
  if (!given) throw new RotaError('no-provider', 'there is no <LiveInteractionProvider> above this component')
  const { store, actions } = given
  const subscribe = useCallback((listener: () => void) => store.interactions.subscribe(listener), [store])
  return useNoted(
    subscribe,
    () => ({ ...store.interactions.state(), ...actions }),
    () => ({ ...firstInteractions(store), ...actions }),
  ) as unknown as UseLiveInteraction<R>
}

/** Calls back when it becomes somebody else's turn, somebody does something, or an interaction stands differently. */
export function useInteractionEvents<R = object>(listener: (event: InteractionEvent<R>) => void): void {
  const store = useStore()
  const latest = useLatest(listener)
  useEffect(() => store.interactions.watch((event) => latest.current(event as InteractionEvent<R>)), [store, latest])
}
