// Not run: compiled by types.test.ts. The lines below "@ts-expect-error" must fail.
import { createStore, table, type Answer, type Backend, type Mutated, type PullResponse, type RotaErrorCode, type Settlement, type Store, type Table, type TableOptions, type Value } from 'rota-engine'
import { useRecord as useReactRecord } from 'rota-engine/react'
import { supabaseBackend } from 'rota-engine/supabase'
import { useRecord as useVueRecord } from 'rota-engine/vue'
import { createClient } from '@supabase/supabase-js'

type Company = { id: string; name: string; tags: string[]; owner_id: string | null }
type Person = { id: string; name: string }

declare const backend: Backend
const tables = {
  people: table<Person>({ key: 'id', fields: ['id', 'name'] }),
  companies: table<Company>({ key: 'id', fields: ['id', 'name', 'tags', 'owner_id'], owner: 'owner_id', ownerName: { table: 'people', field: 'name' } }),
}
const store = createStore({ app: 'a', user: 'u', tables, backend })

export const name: string | undefined = store.get('companies', 'c1')?.name
export const tags: readonly string[] | undefined = store.get('companies', ['c1', 2])?.tags
export const all: readonly { readonly id: string }[] = store.all('people')
export const mutated: Mutated = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { owner_id: null } })
export const outcome: Promise<Settlement> = mutated.settled
store.mutate({ name: 'insert', table: 'people', record: { id: 'a', name: 'b' } })
store.mutate({ name: 'delete', table: 'people', key: 5 })
store.mutate({ name: 'assign', table: 'companies', key: 'c1', to: null })
store.subscribe((changes) => changes.records.length)
store.subscribe('people', () => {})
store.subscribe('people', 'a', () => {})
export const stop: () => void = store.onProblem(({ code, place, message }) => code + place + message)
export const generic: Store<typeof tables> = store
export const anyStore: Store = createStore({ app: 'a', user: 'u', tables, backend })
export const inlineStore: Store = createStore({ app: 'a', user: 'u', tables: { people: table<Person>({ key: 'id', fields: ['id', 'name'] }) }, backend })
anyStore.mutate({ name: 'assign', table: 'companies', key: 'c1', to: 'maya' })
anyStore.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { owner_id: null } })
anyStore.assignments.assign('companies', 'c1', null)
export const anyRecord: object | undefined = anyStore.get('companies', 'c1')
store.assignments.assign('companies', 'c1', null)
declare const declared: TableOptions<Company>
export const declaredElsewhere: Table<Company> = table(declared)
createStore({ app: 'a', user: 'u', tables: { companies: table(declared) }, backend }).mutate({ name: 'assign', table: 'companies', key: 'c1', to: null })
supabaseBackend(createClient('http://127.0.0.1', 'key'), { schema: 'public' })

// Inside components the store is found by type.
export const inReact = () => useReactRecord<typeof tables, 'companies'>('companies', 'c1')?.owner_id satisfies string | null | undefined
export const inVue = () => useVueRecord<typeof tables, 'companies'>('companies', () => 'c1').value?.owner_id satisfies string | null | undefined

export const answer = (one: Answer): string => (one.outcome === 'retry' ? String(one.afterMs) : one.outcome === 'conflicted' ? one.fields.join() : one.outcome)
export const response: PullResponse = { protocol: 1, cursor: null, whole: false, records: { people: [] }, gone: [], settled: [] }
export const value: Value = { a: [1, null, 'b', { c: true }] }
export const code: RotaErrorCode = 'invalid-value'

// @ts-expect-error no such table
store.get('nope', 'c1')
// @ts-expect-error no such table
store.all('nope')
// @ts-expect-error no such field
void store.get('companies', 'c1')?.town
// @ts-expect-error records are read-only
store.get('companies', 'c1')!.name = 'x'
// @ts-expect-error what is in them too
store.get('companies', 'c1')!.tags.push('x')
// @ts-expect-error a record of another table
store.mutate({ name: 'insert', table: 'companies', record: { id: 'a', name: 'b' } })
// @ts-expect-error no such field
store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { town: 'x' } })
// @ts-expect-error a value of the wrong type
store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { name: 5 } })
// @ts-expect-error no such operation
store.mutate({ name: 'upsert', table: 'companies', key: 'c1' })
// @ts-expect-error no key
store.mutate({ name: 'delete', table: 'companies' })
// @ts-expect-error a person's id is text
store.mutate({ name: 'assign', table: 'companies', key: 'c1', to: 5 })
// @ts-expect-error a table without an owner
store.mutate({ name: 'assign', table: 'people', key: 'maya', to: null })
// @ts-expect-error a table without an owner
store.assignments.assign('people', 'maya', null)
// @ts-expect-error a key is no object
store.get('companies', { id: 'c1' })
// @ts-expect-error the key must be a field
table<Person>({ key: 'ID', fields: ['id', 'name'] })
// @ts-expect-error so must all fields
table<Person>({ key: 'id', fields: ['id', 'nick'] })
// @ts-expect-error a backend can push
createStore({ app: 'a', user: 'u', tables, backend: { pull: backend.pull, connect: backend.connect } })
// @ts-expect-error there are two kinds of storage
createStore({ app: 'a', user: 'u', tables, backend, storage: 'disk' })
// @ts-expect-error a store is made by createStore's options alone
createStore({ app: 'a', user: 'u', backend })
// @ts-expect-error a date is no value
export const date: Value = new Date()
// @ts-expect-error status is read-only
store.status().unsent = 0
