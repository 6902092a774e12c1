import { computed, defineComponent, h, inject, onMounted, onScopeDispose, provide, shallowRef, toValue, watch, type ComputedRef, type InjectionKey, type MaybeRefOrGetter, type PropType, type ShallowRef, type SlotsType, type VNode } from 'vue'
import { holdStore, nameOf, type Opening, type Waiting } from '../bindings/opening.js'
import { RotaError, type RegisteredTables, type Store, type StoreOptions, type Tables } from '../index.js'

const STORE: InjectionKey<Store> = Symbol('rota')

/** Gives a store to every component below the one that calls this. It neither opens nor closes the store. */
export function provideRota(store: Store): void {
  provide(STORE, store)
}

/** Returns the store that was given by {@link provideRota}, by a {@link RotaProvider}, or by `app.use(rotaPlugin(store))`. */
export function useStore<T extends Tables = RegisteredTables>(): Store<T> {
  const store = inject(STORE, null)
  if (!store) throw new RotaError('no-provider', 'no component above called provideRota(store), and the application has no rotaPlugin(store)')
  return store as Store<T>
}

/** @internal The store above, if there is one. */
export function useStoreIfAny(): Store | null {
  return inject(STORE, null)
}

/** A plugin that gives a store to a whole application. */
export function rotaPlugin(store: Store): { install(app: { provide(key: InjectionKey<Store>, value: Store): unknown }): void } {
  return { install: (app) => void app.provide(STORE, store) }
}

/**
 * Opens a store of a component's own, and closes it when the component goes; nothing until it is open, once the person has logged out, and while there are no options. Components
 * that ask for the same application and person share one. Needs no provider, and reading it throws where the store can't be opened.
 */
export function useRotaStore<T extends Tables>(options: MaybeRefOrGetter<StoreOptions<T> | null | undefined>): ComputedRef<Store<T> | undefined> {
  const [opened] = useOpening(options)
  return computed(() => storeOf(opened.value))
}

function storeOf<T extends Tables>({ store, error }: Opening<T>): Store<T> | undefined {
  if (error) throw error.thrown
  return store
}

function useOpening<T extends Tables>(options: MaybeRefOrGetter<StoreOptions<T> | null | undefined>): [ShallowRef<Opening<T>>, reopen: () => void] {
  const opened = shallowRef<Opening<T>>({})
  let letGo = (): void => undefined
  const open = () => {
    letGo()
    opened.value = {}
    const given = toValue(options)
    letGo = given ? holdStore(given, (opening) => (opened.value = opening)) : () => undefined
  }
  const nameNow = () => {
    const given = toValue(options)
    return given && nameOf(given)
  }
  // A server opens none.
  onMounted(() => {
    open()
    watch(nameNow, open, { flush: 'sync' })
  })
  onScopeDispose(() => letGo())
  const reopen = () => {
    // Whoever asks twice, or while it is open, has it.
    if (opened.value.isSignedOut) open()
  }
  return [opened, reopen]
}

/** Numbers stores, so that another store has components made anew. */
const numbers = new WeakMap<Store, number>()
let lastNumber = 0

function numberOf(store: Store): number {
  const number = numbers.get(store) ?? ++lastNumber
  numbers.set(store, number)
  return number
}

const Given = defineComponent({
  props: { store: { type: Object as PropType<Store>, required: true } },
  setup(props, { slots }) {
    provideRota(props.store)
    return () => slots['default']?.()
  },
})

/**
 * Gives a store to every component in its slot: one that it is given as `store`, which it neither opens nor closes, or one that it opens with `options`, and closes when it
 * goes; none while there are no options, since nobody is signed in. The slot `fallback` shows until that is open, and after the person has logged out: it may have it opened anew, once
 * they have signed in again.
 */
export const RotaProvider = defineComponent({
  name: 'RotaProvider',
  props: { store: Object as PropType<Store>, options: Object as PropType<StoreOptions<Tables> | null> },
  slots: Object as SlotsType<{ default?: () => VNode[]; fallback?: (waiting: Waiting) => VNode[] }>,
  setup(props, { slots }) {
    const [opened, reopen] = useOpening(() => (props.store ? undefined : props.options))
    return () => {
      const store = props.store ?? storeOf(opened.value)
      if (store) return h(Given, { store, key: numberOf(store) }, { default: () => slots.default?.() })
      return slots.fallback?.({ isSignedOut: opened.value.isSignedOut === true, reopen })
    }
  },
})
