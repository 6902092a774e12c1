// Not run: compiled by types.test.ts, as an application of its own, since it says of which tables it is.
import { table } from 'rota-engine'

export type Company = { id: string; name: string; owner_id: string | null }
export type Patient = { id: string; name: string; ward: string | null; age: number }
export type Form = { id: number; status: string; note: string | null }
export type Profile = { id: string; role: string }
export type Call = { id: string; status: string; line: string }
export type Game = { id: string; status: string; score: number }
export type Slot = { id: number; user_id: string; starts_at: string; ends_at: string; time_zone: string; is_active: boolean }

export const tables = {
  companies: table<Company>({ key: 'id', fields: ['id', 'name', 'owner_id'], owner: 'owner_id' }),
  patients: table<Patient>({ key: 'id', fields: ['id', 'name', 'ward', 'age'], indexed: ['ward', 'age'] }),
  forms: table<Form>({ key: 'id', fields: ['id', 'status', 'note'], temporaryKeys: true, domain: { kind: 'form' } }),
  profiles: table<Profile>({ key: 'id', fields: ['id', 'role'], domain: { kind: 'profile' } }),
  calls: table<Call>({ key: 'id', fields: ['id', 'status', 'line'], domain: { kind: 'interaction', active: ['live'] } }),
  games: table<Game>({ key: 'id', fields: ['id', 'status', 'score'], domain: { kind: 'interaction', active: ['live'] } }),
  slots: table<Slot>({ key: 'id', fields: ['id', 'user_id', 'starts_at', 'ends_at', 'time_zone', 'is_active'], temporaryKeys: true, domain: { kind: 'availability' } }),
}

declare module 'rota-engine' {
  interface Register {
    readonly tables: typeof tables
  }
}
