import { defineComponent, inject, provide, type InjectionKey } from 'vue'
import { firstInteractions, interactionActions, type InteractionActions } from '../bindings/interactions.js'
import { RotaError, type InteractionEvent, type InteractionState } from '../index.js'
import { useStore } from './store.js'
import { refsOf, useStored, useWatching, type RefsOf } from './stored.js'

const INTERACTIONS: InjectionKey<UseLiveInteraction<object>> = Symbol('rota-interactions')

/** What {@link useLiveInteraction} returns. */
export type UseLiveInteraction<R> = RefsOf<InteractionState<R>> & InteractionActions<Partial<R>>

/** Gives the interactions that go on, and which of them this tab looks at, to every component in its slot. */
export const LiveInteractionProvider = defineComponent({
  name: 'LiveInteractionProvider',
  setup(_, { slots }) {
    const store = useStore()
    const state = useStored<InteractionState<object>>(
      () => (listener) => store.interactions.subscribe(listener),
      () => store.interactions.state(),
      () => firstInteractions(store),
    )
    provide(INTERACTIONS, { ...refsOf(state), ...interactionActions(store) })
    return () => slots['default']?.()
  },
})

/** Returns the interactions that go on, and what to do with them. */
export function useLiveInteraction<R extends object = object>(): UseLiveInteraction<R> {
  const given = inject(INTERACTIONS, null)
  if (!given) throw new RotaError('no-provider', 'there is no <LiveInteractionProvider> above this component')
  return given as unknown as UseLiveInteraction<R>
}

/** Calls back when it becomes somebody else's turn, somebody does something, or an interaction stands differently. */
export function useInteractionEvents<R = object>(listener: (event: InteractionEvent<R>) => void): void {
  useWatching((store) => store.interactions.watch((event) => listener(event as InteractionEvent<R>)))
}
