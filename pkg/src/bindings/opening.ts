import { createStore, init, type Store, type StoreOptions, type Tables } from '../index.js'

/** What has become of opening a store: it is there, or it can't be opened, or there is none (yet, or any more). */
export interface Opening<T extends Tables = Tables> {
  readonly store?: Store<T>
  readonly error?: { readonly thrown: unknown }
}

interface Held {
  readonly store: Store
  holders: number
}

/** The stores that bindings have opened, by application and person. */
const stores = new Map<string, Held>()

/** What tells a store from any other. */
export function nameOf({ app, user }: Pick<StoreOptions<Tables>, 'app' | 'user'>): string {
  return JSON.stringify([app, user])
}

/**
 * Opens a store, or joins the one that another component has opened for the same application and person. The last that lets go closes it; a store that somebody else has
 * opened is refused, as by `createStore`, and never closed. Tells at once when the person has logged out. Returns how to let go.
 */
export function holdStore<T extends Tables>(options: StoreOptions<T>, tell: (opening: Opening<T>) => void): () => void {
  let isHeld = true
  let letGo = (): void => undefined
  const begin = async () => {
    try {
      await init()
      // A component that came and went within a moment, as in strict mode, opens nothing.
      if (!isHeld) return
      const held = join(options)
      const stop = held.store.onSignedOut(() => tell({}))
      letGo = () => {
        stop()
        leave(nameOf(options), held)
      }
      tell({ store: held.store as Store<T> })
    } catch (thrown) {
      if (isHeld) tell({ error: { thrown } })
    }
  }
  void begin()
  return () => {
    isHeld = false
    letGo()
    letGo = () => undefined
  }
}

function join<T extends Tables>(options: StoreOptions<T>): Held {
  const name = nameOf(options)
  const known = stores.get(name)
  if (known && !known.store.isClosed) {
    known.holders++
    return known
  }
  const held = { store: createStore(options) as Store, holders: 1 }
  stores.set(name, held)
  return held
}

function leave(name: string, held: Held): void {
  held.holders--
  if (held.holders > 0) return
  held.store.close()
  if (stores.get(name) === held) stores.delete(name)
}
