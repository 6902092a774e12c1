// @vitest-environment happy-dom
import { createStore, init } from 'rota-engine'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FakeBackend } from './backend.js'
import { isLive, open, pause, seeded, tables } from './world.js'

beforeAll(init)

/** What is held open: listeners by the name of what they hear, timers by their handle. */
interface Held {
  readonly listeners: Map<string, Set<unknown>>
  readonly timers: Set<unknown>
}

let held: Held
const restores: (() => void)[] = []

/** Puts something in a method's place until the test is over. Not a spy: that would keep everything it was ever given. */
function replace<T extends object, K extends keyof T & string>(target: T, name: K, make: (original: T[K]) => T[K]): void {
  const original = target[name]
  Object.defineProperty(target, name, { value: make(original), configurable: true, writable: true })
  restores.push(() => Object.defineProperty(target, name, { value: original, configurable: true, writable: true }))
}

/** Counts every listener and every timer that is there, whoever made it. */
function count(): Held {
  const counted: Held = { listeners: new Map(), timers: new Set() }
  for (const [what, target] of [['window', globalThis as EventTarget], ['document', document as EventTarget]] as const) {
    const heard = (name: string) => counted.listeners.get(`${what} ${name}`) ?? counted.listeners.set(`${what} ${name}`, new Set()).get(`${what} ${name}`)!
    replace(target, 'addEventListener', (original) => (...words) => {
      const [name, listener, options] = words
      heard(name).add(listener)
      if (typeof options === 'object') options.signal?.addEventListener('abort', () => heard(name).delete(listener), { once: true })
      original.apply(target, words)
    })
    replace(target, 'removeEventListener', (original) => (...words) => {
      heard(words[0]).delete(words[1])
      original.apply(target, words)
    })
  }
  replace(globalThis as { setTimeout: (run: () => void, ms?: number) => unknown }, 'setTimeout', (original) => (run, ms) => {
    const timer = original(() => {
      counted.timers.delete(timer)
      run()
    }, ms)
    counted.timers.add(timer)
    return timer
  })
  replace(globalThis as { clearTimeout: (timer: unknown) => void }, 'clearTimeout', (original) => (timer) => {
    counted.timers.delete(timer)
    original(timer)
  })
  return counted
}

const left = () => ({ listeners: [...held.listeners].filter(([, heard]) => heard.size > 0).map(([name]) => name), timers: held.timers.size })

beforeEach(() => {
  held = count()
})
afterEach(() => {
  for (const restore of restores.splice(0)) restore()
})

/** Lives a whole life in a store, and closes it. */
async function live(round: number, collected: (thing: object) => void): Promise<void> {
  const backend = seeded()
  const store = createStore({ app: 'leaks', user: `round-${round}`, tables, backend, storage: round % 2 ? 'auto' : 'memory' })
  if (round % 4 < 2) await isLive(store)
  const { stats } = store
  const before = store.stats().listeners
  const stops = [store.subscribe(() => {}), store.subscribe('people', () => {}), store.subscribe('companies', 'c1', () => {}), store.onProblem(() => {}), store.assignments.subscribe('companies', 'c2', () => {})]
  if (round % 3 === 0) for (const stop of stops) stop()
  if (round % 3 === 0) expect(stats.call(store).listeners).toBe(before)
  if (round % 4 < 2) store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
  for (const name of ['pagehide', 'pageshow', 'keydown']) globalThis.dispatchEvent(new Event(name))
  collected(store)
  collected(backend)
  store.close()
}

describe('stores that were opened and closed leave nothing behind', () => {
  test('neither listeners nor timers nor handles after two hundred of them', async () => {
    const alive: WeakRef<object>[] = []
    let first: ReturnType<typeof left> | undefined
    for (let round = 0; round < 200; round++) {
      await live(round, (thing) => alive.push(new WeakRef(thing)))
      // An engine is freed a moment after its store was closed.
      if (round % 20 === 19) {
        await pause(5)
        first ??= left()
        expect(left()).toEqual(first)
      }
    }
    expect(first).toEqual({ listeners: [], timers: 0 })
    expect(open(new FakeBackend(), { user: 'the last' }).store.stats()).toMatchObject({ handles: 0, records: 0 })
    const { gc } = globalThis as { gc?: () => void }
    if (!gc) throw new Error('the test needs --expose-gc')
    for (let turn = 0; turn < 5; turn++) {
      gc()
      await pause(20)
    }
    // The last one or two may still be on somebody's stack.
    expect(alive.filter((thing) => thing.deref()).length).toBeLessThan(8)
  })

  test('nor one that could not be opened', async () => {
    const before = left()
    for (let round = 0; round < 20; round++) expect(() => open(undefined, { concurrency: 0 })).toThrow()
    expect(left()).toEqual(before)
  })
})

describe('ten thousand subscriptions leave nothing behind', () => {
  const kinds = ['everything', 'a table', 'a record', 'a record that is not there', 'an assignment'] as const

  test.each(kinds)('to %s', async (kind) => {
    const { store } = open(seeded())
    await isLive(store)
    const subscribe = (at: number): (() => void) => {
      switch (kind) {
        case 'everything':
          return store.subscribe(() => {})
        case 'a table':
          return store.subscribe('people', () => {})
        case 'a record':
          return store.subscribe('companies', 'c1', () => {})
        case 'a record that is not there':
          return store.subscribe('companies', `none-${at}`, () => {})
        case 'an assignment':
          return store.assignments.subscribe('companies', `none-${at}`, () => {})
      }
    }
    const [before, heldBefore] = [store.stats(), left()]
    const { gc } = globalThis as { gc?: () => void }
    const sizes: number[] = []
    for (let round = 0; round < 10; round++) {
      const stops = Array.from({ length: 10_000 }, (_, at) => subscribe(at))
      expect(store.stats().listeners).toBeGreaterThanOrEqual(10_000)
      for (const stop of stops) stop()
      expect(store.stats()).toEqual(before)
      gc?.()
      sizes.push(process.memoryUsage().heapUsed)
    }
    expect(left()).toEqual(heldBefore)
    // Ten thousand closures are some megabytes; kept nine times, they would be seen.
    expect(sizes[9]! - sizes[1]!).toBeLessThan(3_000_000)
    expect(Object.keys(store.tables)).toEqual(Object.keys(tables))
  })
})
