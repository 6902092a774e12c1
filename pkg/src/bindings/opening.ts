import { createStore, init, RotaError, type Store, type StoreOptions, type Tables } from '../index.js'
import { describeTable } from '../tables.js'

/** What has become of opening a store: it is there, or it can't be opened, or there is none (yet, or any more). */
export interface Opening<T extends Tables = Tables> {
  readonly store?: Store<T>
  readonly error?: { readonly thrown: unknown }
  /** True once the person has logged out. */
  readonly isSignedOut?: true
}

/** What shows in the place of everything below a provider, while there is no store, is told this. */
export interface Waiting {
  /** True once the person has logged out: nothing is opened by itself then. */
  readonly isSignedOut: boolean
  /** Opens the store anew, for all providers of the same application and person: when they have signed in again. */
  reopen(): void
}

interface Held {
  readonly store: Store
  holders: number
}

/** The stores that bindings have opened, by application and person. */
const stores = new Map<string, Held>()

/** Whoever's person has logged out, and would like to have the store that somebody opens for them again. */
const signedOut = new Map<string, Set<() => void>>()

/** What tells a store from any other. */
export function nameOf({ app, user }: Pick<StoreOptions<Tables>, 'app' | 'user'>): string {
  return JSON.stringify([app, user])
}

/**
 * Opens a store, or joins the one that another component has opened for the same application and person. The last that lets go closes it; a store that somebody else has
 * opened is refused, as by `createStore`, and never closed; so is one of other tables. Tells at once when the person has logged out, and when somebody has opened the store
 * for them again. Returns how to let go.
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
      const stop = held.store.onSignedOut(() => {
        letGo()
        if (!isHeld) return
        letGo = waitForReturn(nameOf(options), () => void begin())
        tell({ isSignedOut: true })
      })
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

function waitForReturn(name: string, back: () => void): () => void {
  const waiting = signedOut.get(name) ?? new Set()
  signedOut.set(name, waiting)
  waiting.add(back)
  return () => {
    waiting.delete(back)
    if (waiting.size === 0 && signedOut.get(name) === waiting) signedOut.delete(name)
  }
}

function join<T extends Tables>(options: StoreOptions<T>): Held {
  const name = nameOf(options)
  const known = stores.get(name)
  if (known && !known.store.isClosed) {
    requireSameTables(options, known.store.tables as Tables)
    known.holders++
    return known
  }
  const held = { store: createStore(options) as Store, holders: 1 }
  stores.set(name, held)
  const waiting = signedOut.get(name)
  signedOut.delete(name)
  for (const back of waiting ?? []) back()
  return held
}

/** What one component has opened, another can only share if both mean the same by each name. */
function requireSameTables({ app, user, tables }: StoreOptions<Tables>, known: Tables): void {
  if (tables === known) return
  const wrong: string[] = []
  for (const name of new Set([...Object.keys(known), ...Object.keys(tables)])) {
    const [here, there] = [tables[name], known[name]]
    if (here && there && declarationOf(name, here) === declarationOf(name, there)) continue
    wrong.push(`"${name}" is ${here && there ? 'declared differently' : `declared only ${here ? 'here' : 'there'}`}`)
  }
  if (wrong.length === 0) return
  throw new RotaError('duplicate-store', `another component has opened the store of app "${app}" and user "${user}" with other tables: ${wrong.join(', ')}. Declare them once, and share that`)
}

/** All that is said of a table, in one order. */
function declarationOf(name: string, table: Tables[string]): string {
  const { fields, indexed = [], secret = [], ...others } = describeTable(name, table) as { fields: string[]; indexed?: string[]; secret?: string[] }
  const all = { ...others, ownerName: table.ownerName, lists: [fields, indexed, secret].map((list) => [...list].sort()) }
  return JSON.stringify(all, (_, value: unknown) => (isPlain(value) ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1))) : value))
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function leave(name: string, held: Held): void {
  held.holders--
  if (held.holders > 0) return
  held.store.close()
  if (stores.get(name) === held) stores.delete(name)
}
