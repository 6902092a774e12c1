import { computed, getCurrentInstance, inject, onMounted, onScopeDispose, shallowReadonly, shallowRef, ssrContextKey, toValue, watch, type ComputedRef, type MaybeRefOrGetter, type ShallowRef } from 'vue'
import type { Store } from '../index.js'
import { useStore } from './store.js'

/** True while a component renders on a server, or takes over what a server has rendered: it has its element before it was mounted. */
function rendersWithServer(): boolean {
  return !!getCurrentInstance()?.vnode.el || inject(ssrContextKey, null) !== null
}

/** Keeps a ref equal to something read from the store, for as long as the component lives. `readFirst` is for what renders with a server. */
export function useStored<V>(subscribe: () => (listener: () => void) => () => void, read: () => V, readFirst: () => V): Readonly<ShallowRef<V>> {
  let isFirst = getCurrentInstance() !== null && rendersWithServer()
  const value = shallowRef(isFirst ? readFirst() : read()) as ShallowRef<V>
  const refresh = () => {
    if (!isFirst) value.value = read()
  }
  if (isFirst) {
    onMounted(() => {
      isFirst = false
      refresh()
    })
  }
  watch(
    subscribe,
    (start, _, onCleanup) => {
      // Also when the component goes, or was only rendered on a server.
      onCleanup(start(refresh))
      refresh()
    },
    { immediate: true, flush: 'sync' },
  )
  return shallowReadonly(value)
}

/** A ref for each member of a state; a component depends on those that it reads. */
export type RefsOf<S> = { readonly [K in keyof S]: ComputedRef<S[K]> }

/** Splits a state that is kept in one ref. */
export function refsOf<S extends object>(state: Readonly<ShallowRef<S>>): RefsOf<S> {
  const names = Object.keys(state.value) as (keyof S)[]
  return Object.fromEntries(names.map((name) => [name, computed(() => state.value[name])])) as unknown as RefsOf<S>
}

/** Has something watched while a component is there and this is wanted; anew when `what` says something else. A server has nobody to tell. */
export function useWatching(start: (store: Store) => () => void, enabled?: MaybeRefOrGetter<boolean | undefined>, what?: () => unknown): void {
  const store = useStore()
  let stop = (): void => undefined
  const again = () => {
    stop()
    stop = (toValue(enabled) ?? true) ? start(store) : () => undefined
  }
  const begin = () => {
    again()
    watch([() => toValue(enabled) ?? true, () => what?.()], again, { flush: 'sync' })
  }
  if (getCurrentInstance()) onMounted(begin)
  else begin()
  onScopeDispose(() => stop())
}
