import { table, type RecordOf, type Store } from 'rota-engine'

/** The tables as they are in the database (server/sql/demo). Both panels, React's and Vue's, live on one store of these. */
export const tables = {
  people: table<{
    id: string
    name: string
    email: string
    department: string
    role: string
  }>({ key: 'id', fields: ['id', 'name', 'email', 'department', 'role'] }),

  companies: table<{
    id: string
    name: string
    city: string
    industry: string
    employees: number
    department: string
    owner_id: string | null
    updated_at: string
  }>({
    key: 'id',
    fields: ['id', 'name', 'city', 'industry', 'employees', 'department', 'owner_id', 'updated_at'],
    owner: 'owner_id',
    ownerName: { table: 'people', field: 'name' },
  }),

  leads: table<{
    id: string
    name: string
    company: string
    stage: string
    value: number
    department: string
    owner_id: string | null
    updated_at: string
  }>({
    key: 'id',
    fields: ['id', 'name', 'company', 'stage', 'value', 'department', 'owner_id', 'updated_at'],
    owner: 'owner_id',
    ownerName: { table: 'people', field: 'name' },
  }),
}

export type DemoTables = typeof tables
export type DemoStore = Store<DemoTables>
export type Person = RecordOf<DemoTables['people']>
export type Company = RecordOf<DemoTables['companies']>
export type Lead = RecordOf<DemoTables['leads']>

declare global {
  interface Window {
    /** The open store, for the console and for tests: try `rota.status()` or `rota.operations()`. */
    rota: DemoStore | undefined
  }
}
