import { createContext, createElement, useCallback, useContext, useEffect, useRef, useState, type ReactNode } from 'react'
import { holdStore, nameOf, type Opening, type Waiting } from '../bindings/opening.js'
import { RotaError, type RegisteredTables, type Store, type StoreOptions, type Tables } from '../index.js'

export const StoreContext = createContext<Store | null>(null)

/** What a {@link RotaProvider} takes: a store, or what to open one with. */
export type RotaProviderProps = { readonly children?: ReactNode } & (
  | {
      /** A store of the application's. It is neither opened nor closed. */
      readonly store: Store
      readonly options?: undefined
    }
  | {
      /** What to open a store with; nothing while nobody is signed in. Of other ones, only another application or person opens another store. */
      // Of whatever tables.
      // oxlint-disable-next-line typescript/no-explicit-any
      readonly options: StoreOptions<any> | null | undefined
      /** What shows until it is open, and after the person has logged out; a function may open it anew, once they have signed in again. */
      readonly fallback?: ReactNode | ((waiting: Waiting) => ReactNode)
      readonly store?: undefined
    }
)

/** Gives a store to every component below: one that it is given, or one that it opens, and closes when it goes. */
export function RotaProvider(props: RotaProviderProps): ReactNode {
  if (props.store) return createElement(StoreContext.Provider, { value: props.store }, props.children)
  return createElement(OpeningProvider, props)
}

interface OpeningProps {
  readonly options: StoreOptions<Tables> | null | undefined
  readonly fallback?: ReactNode | ((waiting: Waiting) => ReactNode)
  readonly children?: ReactNode
}

function OpeningProvider({ options, fallback = null, children }: OpeningProps): ReactNode {
  const [{ store, isSignedOut = false }, reopen] = useOpening(options)
  if (store) return createElement(StoreContext.Provider, { value: store }, children)
  return typeof fallback === 'function' ? fallback({ isSignedOut, reopen }) : fallback
}

/**
 * Opens a store of a component's own, and closes it when the component goes; nothing until it is open, once the person has logged out, and while there are no options. Components
 * that ask for the same application and person share one. Needs no provider, and throws while rendering where the store can't be opened.
 */
export function useRotaStore<T extends Tables>(options: StoreOptions<T> | null | undefined): Store<T> | undefined {
  return useOpening(options)[0].store
}

function useOpening<T extends Tables>(options: StoreOptions<T> | null | undefined): [Opening<T>, reopen: () => void] {
  const name = options ? nameOf(options) : undefined
  const latest = useRef(options)
  const [turn, setTurn] = useState(0)
  const [opened, setOpened] = useState<{ readonly name: string | undefined; readonly turn: number; readonly opening: Opening<T> }>()
  useEffect(() => {
    latest.current = options
  })
  useEffect(() => (latest.current ? holdStore(latest.current, (opening) => setOpened({ name, turn, opening })) : undefined), [name, turn])
  // What belongs to somebody else is not shown for a moment even.
  const opening: Opening<T> = name !== undefined && opened?.name === name && opened.turn === turn ? opened.opening : {}
  const isSignedOut = opening.isSignedOut === true
  const reopen = useCallback(() => {
    // Whoever asks twice, or while it is open, has it.
    if (isSignedOut) setTurn((before) => before + 1)
  }, [isSignedOut])
  if (opening.error) throw opening.error.thrown
  return [opening, reopen]
}

/** Returns the store of the nearest {@link RotaProvider}. */
export function useStore<T extends Tables = RegisteredTables>(): Store<T> {
  const store = useContext(StoreContext)
  if (!store) throw new RotaError('no-provider', 'there is no <RotaProvider store={…}> above this component')
  return store as Store<T>
}
