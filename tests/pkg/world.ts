import { createStore, init, RotaError, table, type Problem, type Status, type Store, type StoreOptions } from 'rota-engine'
import { afterEach, expect, vi } from 'vitest'
import { FakeBackend } from './backend.js'

export type Person = { id: string; name: string }
export type Company = { id: string; name: string; city: string | null; owner_id: string | null; extra?: unknown }
export type Shift = { site: string; day: number; who: string | null }
export type Counter = { id: number; n: number }

export const tables = {
  people: table<Person>({ key: 'id', fields: ['id', 'name'] }),
  companies: table<Company>({
    key: 'id',
    fields: ['id', 'name', 'city', 'owner_id', 'extra'],
    owner: 'owner_id',
    ownerName: { table: 'people', field: 'name' },
  }),
  shifts: table<Shift>({ key: ['site', 'day'], fields: ['site', 'day', 'who'] }),
  counters: table<Counter>({ key: 'id', fields: ['id', 'n'] }),
}

export type World = { store: Store<typeof tables>; backend: FakeBackend; problems: Problem[] }

const opened: Store<typeof tables>[] = []
let users = 0

afterEach(async () => {
  for (const store of opened.splice(0)) store.close()
  // An engine is freed a moment after its store was closed.
  await new Promise((resolve) => setTimeout(resolve, 2))
})

/** Opens a store on a fake backend; it is closed after the test. */
export function open(backend = new FakeBackend(), options: Partial<StoreOptions<typeof tables>> = {}): World {
  const problems: Problem[] = []
  const store = createStore({
    app: 'tests',
    user: `person-${users++}`,
    tables,
    backend,
    retry: { maxRetries: 2, retryDelay: 2, timeout: 5_000 },
    storage: 'memory',
    onProblem: (problem) => problems.push(problem),
    ...options,
  })
  opened.push(store)
  return { store, backend, problems }
}

/** Opens a store whose link is live, and that has fetched what the server has. */
export async function openLive(backend = seeded(), options: Partial<StoreOptions<typeof tables>> = {}): Promise<World> {
  await init()
  const world = open(backend, options)
  await isLive(world.store)
  return world
}

export async function isLive(store: { status(): Status }): Promise<void> {
  await vi.waitFor(
    () => {
      expect(store.status().link.state).toBe('live')
      expect(store.status().ready).toBe(true)
    },
    { interval: 2, timeout: 5_000 },
  )
  // The pull that follows "live".
  await pause(2)
}

export function seeded(): FakeBackend {
  const backend = new FakeBackend()
  backend.put('people', { id: 'maya', name: 'Maya' })
  backend.put('people', { id: 'jonas', name: 'Jonas' })
  backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Bremen', owner_id: null, extra: null })
  backend.put('companies', { id: 'c2', name: 'North Mill', city: null, owner_id: 'jonas', extra: null })
  backend.put('shifts', { site: 'north', day: 42, who: null })
  backend.put('counters', { id: 7, n: 0 })
  return backend
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export async function until(condition: () => void): Promise<void> {
  await vi.waitFor(condition, { interval: 2, timeout: 5_000 })
}

/** Runs what must throw, and returns the error. */
export function refusal(run: () => unknown): RotaError {
  try {
    run()
  } catch (error) {
    if (error instanceof RotaError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}
