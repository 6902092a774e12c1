// Not run: compiled by types.test.ts. The lines below "@ts-expect-error" must fail.
import { createStore, table, type Audit, type Backend, type Conflict, type MergeRule, type Mutated, type Peer, type RotaErrorCode, type Store, type View, type ViewSpec } from 'rota-engine'
import { useConflicts as useReactConflicts, usePeers as useReactPeers, useView as useReactView } from 'rota-engine/react'
import { useConflicts as useVueConflicts, usePeers as useVuePeers, useView as useVueView } from 'rota-engine/vue'

type Lead = { id: string; name: string; city: string | null; value: number | null; tags: string[]; owner_id: string | null }
type Order = { id: number; title: string; parent: number | null }

declare const backend: Backend
const tables = {
  leads: table<Lead>({ key: 'id', fields: ['id', 'name', 'city', 'value', 'tags', 'owner_id'], owner: 'owner_id', indexed: ['city', 'value'], merge: { tags: 'union', value: 'sum' } }),
  orders: table<Order>({ key: 'id', fields: ['id', 'title', 'parent'], temporaryKeys: true }),
}
const store = createStore({ app: 'a', user: 'u', tables, backend })

// Views know their records, figures and groups.
const view = store.view({ table: 'leads', filter: { eq: { field: 'city', value: 'Kiel' } }, sort: ['name', { field: 'value', descending: true }], limit: 5, figures: { all: 'count', value: { sum: 'value' } }, groupBy: ['city'] })
export const name: string | undefined = view.rows()[0]?.name
export const sum: number | null = view.figures().value
export const group: string | null | undefined = view.groups()[0]?.group?.city
export const count: number | null | undefined = view.groups()[0]?.figures.all
export const plain: View<{ readonly id: number }> = store.view({ table: 'orders' })
const spec = { table: 'leads', filter: { in: { field: 'city', values: ['Kiel', null] } } } as const satisfies ViewSpec<typeof tables>
export const elsewhere: readonly { readonly city: string | null }[] = store.view(spec).rows()
store.view({ table: 'leads', filter: { and: [{ contains: { field: 'tags', value: 'x' } }, { not: { isNull: { field: 'value' } } }, { between: { field: 'value', from: 1, to: 2 } }] } })
// @ts-expect-error no such table
store.view({ table: 'nope' })
// @ts-expect-error no such field
store.view({ table: 'leads', sort: ['town'] })
// @ts-expect-error a field of another table
store.view({ table: 'orders', groupBy: ['city'] })
// @ts-expect-error a value of another type
store.view({ table: 'leads', filter: { eq: { field: 'value', value: 'x' } } })
// @ts-expect-error an item of another type
store.view({ table: 'leads', filter: { contains: { field: 'tags', value: 5 } } })
// @ts-expect-error no such kind of filter
store.view({ table: 'leads', filter: { like: { field: 'city', value: 'x' } } })
// @ts-expect-error no such figure
store.view({ table: 'leads', figures: { x: { median: 'value' } } })
// @ts-expect-error a figure that was not asked for
void view.figures().mean
// @ts-expect-error a field that makes no groups
void view.groups()[0]?.group?.value
// @ts-expect-error rows are read-only
view.rows()[0]!.name = 'x'
// @ts-expect-error so is their list
view.rows().push(view.rows()[0]!)

// Inserts may lack the key, and nothing else, where the server gives it.
export const mutated: Mutated = store.mutate({ name: 'insert', table: 'orders', record: { title: 'x', parent: null } })
store.mutate({ name: 'insert', table: 'orders', record: { id: 5, title: 'x', parent: mutated.temporaryKeys[0]! } })
store.mutate({ name: 'patch', table: 'orders', key: mutated.temporaryKeys[0]!, set: { title: 'y' } })
// @ts-expect-error more than the key is missing
store.mutate({ name: 'insert', table: 'orders', record: { title: 'x' } })
// @ts-expect-error this table's keys are the application's
store.mutate({ name: 'insert', table: 'leads', record: { name: 'x', city: null, value: null, tags: [], owner_id: null } })
// @ts-expect-error text is no reference
store.mutate({ name: 'patch', table: 'orders', key: 5, set: { parent: '~x' } })
// @ts-expect-error nor is a reference a title of another type
store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { tags: mutated.temporaryKeys[0]! } })
export const key: string = store.keyOf('orders', mutated.temporaryKeys[0]!)
export const done: Mutated = store.transact([
  { name: 'patch', table: 'leads', key: 'a', set: { city: null } },
  { name: 'assign', table: 'leads', key: 'a', to: 'maya' },
  { name: 'insert', table: 'orders', record: { title: 'x', parent: null } },
])
// @ts-expect-error no list
store.transact({ name: 'delete', table: 'leads', key: 'a' })
// @ts-expect-error a table without an owner
store.transact([{ name: 'assign', table: 'orders', key: 5, to: 'maya' }])

export const waiting: readonly Conflict[] = store.conflicts()
export const resolution: Mutated | undefined = store.resolve('id', { city: 'Kiel' })
store.resolve('id', 'merge')
// @ts-expect-error no such choice
store.resolve('id', 'mine')
export const audit: Audit = store.audit()
export const text: string = store.exportAudit()
export const rule: MergeRule = 'mostRecentNotNull'
// @ts-expect-error no such rule
table<Order>({ key: 'id', fields: ['id', 'title', 'parent'], merge: { title: 'newest' } })

store.presence.set({ place: 'board', doing: 'typing', record: { table: 'leads', key: 'a' } })
store.presence.set(null)
export const peers: readonly Peer[] = store.presence.peers()
// @ts-expect-error no such activity
store.presence.set({ place: 'board', doing: 'sleeping' })

export const ran: Promise<number> = store.recovery.executeWithRetry(async (signal) => (signal.aborted ? 0 : 1), { maxRetries: 1, timeout: 5 })
export const pending: number = store.recovery.getPendingOperationsCount()
// @ts-expect-error no such option
void store.recovery.executeWithRetry(() => 1, { retries: 5 })
export const codes: RotaErrorCode[] = ['not-indexed', 'transaction-length', 'unknown-conflict', 'cancelled']

// A store of whatever tables.
const anyStore: Store = createStore({ app: 'a', user: 'u', tables, backend })
anyStore.view({ table: 'leads', sort: ['city'], filter: { eq: { field: 'city', value: 'x' } } }).close()
anyStore.transact([{ name: 'insert', table: 'orders', record: { title: 'x' } }])

// Inside components.
export const inReact = () => useReactView<typeof tables, typeof spec>(spec).rows[0]?.city satisfies string | null | undefined
export const inVue = () => useVueView<typeof tables, typeof spec>(() => spec).value.rows[0]?.city satisfies string | null | undefined
export const react = (): [readonly Conflict[], readonly Peer[]] => [useReactConflicts(), useReactPeers()]
export const vue = (): [readonly Conflict[], readonly Peer[]] => [useVueConflicts().value, useVuePeers().value]
