import { defineComponent, inject, provide, toValue, type InjectionKey, type MaybeRefOrGetter } from 'vue'
import { firstInteractions, interactionActions, interactionsIn, type InteractionActions } from '../bindings/interactions.js'
import { RotaError, type InteractionEvent, type InteractionState, type RegisteredIn, type RegisteredRecord, type Store } from '../index.js'
import { useStore } from './store.js'
import { refsOf, useStored, useWatching, type RefsOf } from './stored.js'

interface Given extends UseLiveInteraction<object> {
  readonly store: Store
  readonly table: () => string | undefined
}

const INTERACTIONS: InjectionKey<Given> = Symbol('rota-interactions')

/** Which table of its domain a composable is about. */
export interface InTable<N extends string = string> {
  /** The table; where none is named, the only one that is declared with the domain. */
  readonly table?: MaybeRefOrGetter<N | undefined>
}

/** What {@link useLiveInteraction} returns. */
export type UseLiveInteraction<R> = RefsOf<InteractionState<R>> & InteractionActions<Partial<R>>

function interactionsOf(store: Store, table: () => string | undefined): UseLiveInteraction<object> {
  const state = useStored<InteractionState<object>>(
    () => {
      const interactions = interactionsIn(store, table())
      return (listener) => interactions.subscribe(listener)
    },
    () => interactionsIn(store, table()).state(),
    () => firstInteractions(store, table()),
  )
  return { ...refsOf(state), ...interactionActions(store, table) }
}

/** Gives the interactions of a table that go on, and which of them this tab looks at, to every component in its slot. */
export const LiveInteractionProvider = defineComponent({
  name: 'LiveInteractionProvider',
  props: {
    /** The table; where none is named, the only one that is declared with the domain. */
    table: String,
  },
  setup(props, { slots }) {
    const store = useStore()
    const table = () => props.table
    provide(INTERACTIONS, { ...interactionsOf(store, table), store, table })
    return () => slots['default']?.()
  },
})

/** Returns the interactions that go on, of the provider's table or another one, and what to do with them. */
export function useLiveInteraction<R extends object = never, N extends RegisteredIn<'interaction'> = RegisteredIn<'interaction'>>(options: InTable<N> = {}): UseLiveInteraction<RegisteredRecord<'interaction', N, R>> {
  const given = inject(INTERACTIONS, null)
  if (!given) throw new RotaError('no-provider', 'there is no <LiveInteractionProvider> above this component')
  const { store, table, ...interactions } = given
  const own = options.table === undefined ? interactions : interactionsOf(store, () => toValue(options.table) ?? table())
  return own as unknown as UseLiveInteraction<RegisteredRecord<'interaction', N, R>>
}

/** Calls back when it becomes somebody else's turn, somebody does something, or an interaction stands differently. */
export function useInteractionEvents<R extends object = never, N extends RegisteredIn<'interaction'> = RegisteredIn<'interaction'>>(listener: (event: InteractionEvent<RegisteredRecord<'interaction', N, R>>) => void, { table }: InTable<N> = {}): void {
  useWatching(
    (store) => interactionsIn(store, toValue(table)).watch((event) => listener(event as never)),
    true,
    () => toValue(table),
  )
}
