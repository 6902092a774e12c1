/** A store of tables that use what a table may declare, on a server that knows temporary keys, transactions and presence. */
import { createStore, init, table, type Answer, type Operation, type Peer, type Store, type StoreOptions } from 'rota-engine'
import { afterEach } from 'vitest'
import { FakeBackend, keyOf, type Row } from './backend.js'
import { isLive } from './world.js'

export type Lead = { id: string; name: string; city: string | null; value: number | null; tags: string[]; status: string | null; seen_at: string | null; extra: Record<string, string>; owner_id: string | null }
export type Order = { id: number; title: string; parent: number | null }

export const ableTables = {
  leads: table<Lead>({
    key: 'id',
    fields: ['id', 'name', 'city', 'value', 'tags', 'status', 'seen_at', 'extra', 'owner_id'],
    owner: 'owner_id',
    indexed: ['name', 'city', 'value', 'tags', 'status'],
    merge: { tags: 'union', status: 'mostRecentNotNull', value: 'sum', seen_at: 'latest', extra: 'recursive' },
  }),
  orders: table<Order>({ key: 'id', fields: ['id', 'title', 'parent'], temporaryKeys: true, indexed: ['title'] }),
}

type Part = Pick<Operation, 'name' | 'table' | 'key' | 'set'>

/** Knows transactions, gives keys, and keeps who is present. */
export class AbleBackend extends FakeBackend {
  readonly announced: (readonly Peer[])[] = []
  #next = 1

  presence(peers: readonly Peer[]): void {
    this.announced.push(peers)
  }

  override async push(operation: Operation): Promise<Answer> {
    const { parts } = operation as Operation & { parts?: readonly Part[] }
    if (!parts && operation.name !== 'insert') return super.push(operation)
    const known = this.ledger.get(operation.id)
    const verdict = this.judge?.(operation)
    if ((!parts && !operation.key.startsWith('~')) || known || verdict || !this.online) return super.push(operation)
    this.pushes.push(operation)
    await Promise.resolve()
    const records = (parts ?? [operation]).map((part) => this.#do(part))
    const [first] = records
    const answer = { protocol: 1, id: operation.id, table: first!.table, key: first!.key, replayed: false, outcome: 'confirmed', version: first!.version, record: first!.record, ...(parts ? { records } : {}) }
    this.ledger.set(operation.id, answer as unknown as Answer)
    return answer as unknown as Answer
  }

  #do(part: Part) {
    const { name, key, set } = part
    if (name === 'delete') {
      this.remove(part.table, key, { silently: true })
      return { table: part.table, key, version: this.versionOf(part.table, key), record: null }
    }
    const given = key.startsWith('~')
    const row: Row = { ...(given ? { id: this.#next++ } : this.row(part.table, key)), ...set }
    const record = this.put(part.table, row, { silently: true })
    return { table: part.table, key: keyOf(part.table, row), version: String(record['rota_version']), record: { ...record }, ...(given ? { from: key } : {}) }
  }
}

const opened: Store[] = []
let users = 0

afterEach(async () => {
  for (const store of opened.splice(0)) store.close()
  await new Promise((resolve) => setTimeout(resolve, 2))
})

export function openAble(backend = new AbleBackend(), options: Partial<StoreOptions<typeof ableTables>> = {}) {
  const store = createStore({ app: 'able', user: `person-${users++}`, tables: ableTables, backend, retry: { maxRetries: 2, retryDelay: 2, timeout: 5_000 }, storage: 'memory', ...options })
  opened.push(store)
  return { store, backend }
}

export async function openAbleLive(backend = ableSeeded(), options: Partial<StoreOptions<typeof ableTables>> = {}) {
  await init()
  const world = openAble(backend, options)
  await isLive(world.store)
  return world
}

export function lead(id: string, fields: Partial<Lead> = {}): Lead {
  return { id, name: id.toUpperCase(), city: null, value: null, tags: [], status: null, seen_at: null, extra: {}, owner_id: null, ...fields }
}

export function ableSeeded(): AbleBackend {
  const backend = new AbleBackend()
  backend.put('leads', lead('a', { city: 'Bremen', value: 10, status: 'open' }))
  backend.put('leads', lead('b', { city: 'Kiel', value: 30, status: 'open', tags: ['x'] }))
  backend.put('leads', lead('c', { city: 'Kiel', value: 20, status: 'won' }))
  backend.put('leads', lead('d', { city: null, value: null, status: 'lost' }))
  return backend
}
