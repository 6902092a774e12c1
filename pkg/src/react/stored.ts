import { useEffect, useRef, useState, useSyncExternalStore, type RefObject } from 'react'

/** Keeps what a component gave at its last rendering, for what is called later. */
export function useLatest<V>(value: V): RefObject<V> {
  const latest = useRef(value)
  useEffect(() => {
    latest.current = value
  })
  return latest
}

/** While a server renders, and until a browser has taken that over. */
const FIRST = -1

/** Knows which members of a state a component has read, and counts how often one of these has changed. */
class Reading<S extends object> {
  readonly #read = new Map<keyof S, unknown>()
  #latest: S | undefined
  #changes = 0

  count(next: S): number {
    this.#latest = next
    let isOther = false
    for (const [name, before] of this.#read) {
      if (Object.is(before, next[name])) continue
      this.#read.set(name, next[name])
      isOther = true
    }
    if (isOther) this.#changes++
    return this.#changes
  }

  /** The state, for one rendering: it notes what is read of it. */
  noting(): S {
    const latest = this.#latest as S
    const noting = {} as S
    for (const name of Object.keys(latest) as (keyof S)[]) {
      const get = () => {
        if (!this.#read.has(name)) this.#read.set(name, (this.#latest as S)[name])
        return this.#read.get(name)
      }
      Object.defineProperty(noting, name, { get, enumerable: true })
    }
    return noting
  }
}

/** Returns a state, and renders again only when a member of it that the component has read is another one. */
export function useNoted<S extends object>(subscribe: (listener: () => void) => () => void, read: () => S, readFirst: () => S): S {
  const [reading] = useState(() => new Reading<S>())
  const changes = useSyncExternalStore(
    subscribe,
    () => reading.count(read()),
    () => FIRST,
  )
  return changes === FIRST ? readFirst() : reading.noting()
}
