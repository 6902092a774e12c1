import { createContext, createElement, useContext, useEffect, useRef, useState, type ReactNode } from 'react'
import { holdStore, nameOf, type Opening } from '../bindings/opening.js'
import { RotaError, type Store, type StoreOptions, type Tables } from '../index.js'

export const StoreContext = createContext<Store | null>(null)

/** What a {@link RotaProvider} takes: a store, or what to open one with. */
export type RotaProviderProps = { readonly children?: ReactNode } & (
  | {
      /** A store of the application's. It is neither opened nor closed. */
      readonly store: Store
      readonly options?: undefined
    }
  | {
      /** What to open a store with. Of other ones, only another application or person opens another store. */
      // Of whatever tables.
      // oxlint-disable-next-line typescript/no-explicit-any
      readonly options: StoreOptions<any>
      /** What shows until it is open, and after the person has logged out. */
      readonly fallback?: ReactNode
      readonly store?: undefined
    }
)

/** Gives a store to every component below: one that it is given, or one that it opens, and closes when it goes. */
export function RotaProvider(props: RotaProviderProps): ReactNode {
  if (props.store) return createElement(StoreContext.Provider, { value: props.store }, props.children)
  return createElement(OpeningProvider, props)
}

function OpeningProvider({ options, fallback = null, children }: { readonly options: StoreOptions<Tables>; readonly fallback?: ReactNode; readonly children?: ReactNode }): ReactNode {
  const store = useRotaStore(options)
  return store ? createElement(StoreContext.Provider, { value: store }, children) : fallback
}

/**
 * Opens a store of a component's own, and closes it when the component goes; nothing until it is open, and once the person has logged out. Components that ask for the same
 * application and person share one. Needs no provider, and throws while rendering where the store can't be opened.
 */
export function useRotaStore<T extends Tables>(options: StoreOptions<T>): Store<T> | undefined {
  const name = nameOf(options)
  const latest = useRef(options)
  const [opened, setOpened] = useState<{ readonly name: string; readonly opening: Opening<T> }>()
  useEffect(() => {
    latest.current = options
  })
  useEffect(() => holdStore(latest.current, (opening) => setOpened({ name, opening })), [name])
  // What belongs to somebody else is not shown for a moment even.
  if (opened?.name !== name) return undefined
  if (opened.opening.error) throw opened.opening.error.thrown
  return opened.opening.store
}

/** Returns the store of the nearest {@link RotaProvider}. */
export function useStore<T extends Tables = Tables>(): Store<T> {
  const store = useContext(StoreContext)
  if (!store) throw new RotaError('no-provider', 'there is no <RotaProvider store={…}> above this component')
  return store as Store<T>
}
