import { createContext, createElement, useCallback, useContext, useEffect, useMemo, type ReactNode } from 'react'
import { firstInteractions, interactionActions, interactionsIn, type InTable, type InteractionActions } from '../bindings/interactions.js'
import { RotaError, type InteractionEvent, type InteractionState, type RegisteredIn, type RegisteredRecord, type Store } from '../index.js'
import { useStore } from './store.js'
import { useLatest, useNoted } from './stored.js'

interface Given {
  readonly store: Store
  readonly table: string | undefined
  /** The same for each table, whoever asks. */
  actionsIn(table: string | undefined): InteractionActions
}

const InteractionContext = createContext<Given | null>(null)

/** What a {@link LiveInteractionProvider} takes. */
export interface LiveInteractionProviderProps extends InTable {
  readonly children?: ReactNode
}

function give(store: Store, table: string | undefined): Given {
  const known = new Map<string | undefined, InteractionActions>()
  const actionsIn = (of: string | undefined) => {
    const actions = known.get(of) ?? interactionActions(store, () => of)
    known.set(of, actions)
    return actions
  }
  return { store, table, actionsIn }
}

/** Gives the interactions of a table that go on, and which of them this tab looks at, to every component below. */
export function LiveInteractionProvider({ table, children }: LiveInteractionProviderProps): ReactNode {
  const store = useStore()
  const given = useMemo(() => give(store, table), [store, table])
  return createElement(InteractionContext.Provider, { value: given }, children)
}

/** What {@link useLiveInteraction} returns. */
export type UseLiveInteraction<R> = InteractionState<R> & InteractionActions<Partial<R>>

/** Returns the interactions that go on, of the provider's table or another one, and what to do with them. Renders again only when what the component reads of it has changed. */
export function useLiveInteraction<R extends object = never, N extends RegisteredIn<'interaction'> = RegisteredIn<'interaction'>>(options: InTable<N> = {}): UseLiveInteraction<RegisteredRecord<'interaction', N, R>> {
  const given = useContext(InteractionContext)
  if (!given) throw new RotaError('no-provider', 'there is no <LiveInteractionProvider> above this component')
  const { store, actionsIn } = given
  const { table = given.table } = options
  const actions = actionsIn(table)
  const subscribe = useCallback((listener: () => void) => interactionsIn(store, table).subscribe(listener), [store, table])
  return useNoted(
    subscribe,
    () => ({ ...interactionsIn(store, table).state(), ...actions }),
    () => ({ ...firstInteractions(store, table), ...actions }),
  ) as unknown as UseLiveInteraction<RegisteredRecord<'interaction', N, R>>
}

/** Calls back when it becomes somebody else's turn, somebody does something, or an interaction stands differently. */
export function useInteractionEvents<R extends object = never, N extends RegisteredIn<'interaction'> = RegisteredIn<'interaction'>>(listener: (event: InteractionEvent<RegisteredRecord<'interaction', N, R>>) => void, { table }: InTable<N> = {}): void {
  const store = useStore()
  const latest = useLatest(listener)
  useEffect(() => interactionsIn(store, table).watch((event) => latest.current(event as never)), [store, table, latest])
}
