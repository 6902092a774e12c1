import 'fake-indexeddb/auto'
import { createStore, type Backend, type LinkListener, type Problem, type Store, type StoreOptions } from 'rota-engine'
import { afterEach, beforeEach } from 'vitest'
import type { FakeBackend } from './backend.js'
import { pause, seeded, tables } from './world.js'

/** What a browser lends its pages, as far as the engine's shell uses it, with what goes wrong there. Node has BroadcastChannel itself. */
export class FakeStorage {
  readonly #entries = new Map<string, string>()
  /** How many characters it takes. */
  quota = Number.POSITIVE_INFINITY
  isBlocked = false

  get length(): number {
    return this.#entries.size
  }

  key(index: number): string | null {
    return [...this.#entries.keys()][index] ?? null
  }

  getItem(key: string): string | null {
    if (this.isBlocked) throw new Error('access is denied')
    return this.#entries.get(key) ?? null
  }

  setItem(key: string, value: string): void {
    const used = [...this.#entries].reduce((sum, [name, text]) => sum + (name === key ? 0 : name.length + text.length), 0)
    if (this.isBlocked || used + key.length + value.length > this.quota) throw new Error('the quota is exceeded')
    this.#entries.set(key, value)
    this.#tell(key, value)
  }

  removeItem(key: string): void {
    if (this.#entries.delete(key)) this.#tell(key, null)
  }

  clear(): void {
    this.#entries.clear()
  }

  get keys(): string[] {
    return [...this.#entries.keys()]
  }

  /** All tabs are in one page here, so each is told of what it wrote itself, as in Safari. */
  #tell(key: string, newValue: string | null): void {
    queueMicrotask(() => page.dispatchEvent(Object.assign(new Event('storage'), { key, newValue, storageArea: this })))
  }
}

/** Web Locks, as far as the engine's shell uses them. */
export class FakeLocks {
  #last = new Map<string, Promise<unknown>>()

  request(name: string, options: { signal?: AbortSignal }, run: () => Promise<unknown>): Promise<unknown> {
    const before = this.#last.get(name) ?? Promise.resolve()
    const gone = new Promise<never>((_, reject) => options.signal?.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError'))))
    gone.catch(() => {})
    const held = Promise.race([before.catch(() => {}), gone]).then(run)
    this.#last.set(name, held)
    return held
  }
}

export let page = new EventTarget()
export const storage = new FakeStorage()
const own = { BroadcastChannel: globalThis.BroadcastChannel, indexedDB: globalThis.indexedDB }
const opened: Store<typeof tables>[] = []
let users = 0

beforeEach(() => {
  page = new EventTarget()
  Object.assign(globalThis, {
    // oxlint-disable-next-line typescript/no-extraneous-class -- only `instanceof` is asked of it
    Window: class {
      static [Symbol.hasInstance](value: unknown): boolean {
        return value === globalThis
      }
    },
    localStorage: storage,
    addEventListener: (...given: Parameters<EventTarget['addEventListener']>) => page.addEventListener(...given),
    removeEventListener: (...given: Parameters<EventTarget['removeEventListener']>) => page.removeEventListener(...given),
    ...own,
  })
  storage.clear()
  Object.assign(storage, { quota: Number.POSITIVE_INFINITY, isBlocked: false })
  users++
})

afterEach(async () => {
  for (const store of opened.splice(0)) store.close()
  await pause(5)
})

/** The person of this test's tabs. */
export function person(): string {
  return `person-${users}`
}

/** The name of this test's session, in storage and on the channel. */
export function session(): string {
  return `rota:1:tests:person-${users}`
}

/** A server's lines to several tabs. */
export class Lines {
  readonly pushes: { tab: number; id: string }[] = []
  readonly #listeners = new Set<LinkListener>()
  #tabs = 0

  constructor(readonly server: FakeBackend) {
    const tell = <K extends keyof LinkListener>(name: K) => ((given: never) => this.#listeners.forEach((listener) => (listener[name] as (given: never) => void)?.(given))) as NonNullable<LinkListener[K]>
    server.listener = { joined: tell('joined'), live: tell('live'), closed: tell('closed'), changed: tell('changed'), present: tell('present') }
  }

  /** The backend of one more tab. */
  one(): Backend {
    const tab = this.#tabs++
    return {
      pull: (request) => this.server.pull(request),
      push: (operation) => {
        this.pushes.push({ tab, id: operation.id })
        return this.server.push(operation)
      },
      connect: (_tables, listener) => {
        this.#listeners.add(listener)
        queueMicrotask(() => {
          listener.joined()
          listener.live()
        })
        return () => this.#listeners.delete(listener)
      },
    }
  }
}

/** Opens another tab of this test's browser. */
export function openTab(
  backend: Backend = seeded(),
  options: Partial<StoreOptions<typeof tables>> = {},
): { store: Store<typeof tables>; problems: Problem[] } {
  const problems: Problem[] = []
  // One page may have one store of a session only. Here every tab is in the same.
  ;(globalThis as { [key: symbol]: Set<string> | undefined })[Symbol.for('rota-engine/stores')]?.clear()
  const store = createStore({
    app: 'tests',
    user: `person-${users}`,
    tables,
    backend,
    retry: { maxRetries: 2, retryDelay: 2, timeout: 5_000 },
    onProblem: (problem) => problems.push(problem),
    ...options,
  })
  opened.push(store)
  return { store, problems }
}

/** Everything in one store of this test's database. */
export async function stored(name: 'operations' | 'records'): Promise<{ key: IDBValidKey; value: unknown }[]> {
  const database = await answer(indexedDB.open(session()))
  try {
    const store = database.transaction(name).objectStore(name)
    const [keys, values] = await Promise.all([answer(store.getAllKeys()), answer(store.getAll())])
    return keys.map((key, index) => ({ key, value: values[index] }))
  } finally {
    database.close()
  }
}

export function answer<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result))
    request.addEventListener('error', () => reject(request.error ?? new Error('no reason was given')))
  })
}
