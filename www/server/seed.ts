// Fills the demo with the same people, companies and leads every time, and puts them back.
//
// Nothing here is random: a record's place in its list decides its department and owner, so screenshots and tests agree.
// Putting back touches only what differs, as ordinary changes, so every open page follows it live.
import type { ClientBase } from 'pg'
import { DEMO_PASSWORD, DEMO_PEOPLE, type DemoDepartment } from './people.js'
import { COMPANY_LINES } from './seed/companies.js'
import { LEAD_LINES } from './seed/leads.js'

export interface NewUser {
  id: string
  email: string
  password: string
  name: string
}

/** Makes the account a person signs in with. The seed knows nothing of how. */
export type CreateUser = (db: ClientBase, user: NewUser) => Promise<unknown>

type Row = Record<string, string | number | null>

const DEPARTMENTS: readonly DemoDepartment[] = ['Sales', 'Support', 'Operations']

/** Seeds an empty demo. Answers false, and does nothing, where it is seeded already. */
export async function seed(db: ClientBase, createUser: CreateUser): Promise<boolean> {
  return inTransaction(db, async () => {
    await db.query('lock table people in share row exclusive mode') // two servers may start at once
    const { rows } = await db.query('select from people where id = $1', [DEMO_PEOPLE[0]?.id])
    if (rows.length > 0) return false
    for (const { id, email, name } of DEMO_PEOPLE) await createUser(db, { id, email, name, password: DEMO_PASSWORD })
    await restoreAll(db)
    return true
  })
}

/** Puts people, companies and leads back to what `seed` made. */
export async function resetDemo(db: ClientBase): Promise<void> {
  await inTransaction(db, () => restoreAll(db))
}

export function seededCompanies(): Row[] {
  return COMPANY_LINES.map(([name, city, industry, employees], at) => ({
    id: `c-${String(at + 1).padStart(4, '0')}`,
    name,
    city,
    industry,
    employees,
    ...placed(at, 3),
  }))
}

export function seededLeads(): Row[] {
  return LEAD_LINES.map(([name, company, stage, value], at) => ({
    id: `l-${String(at + 1).padStart(4, '0')}`,
    name,
    company,
    stage,
    value,
    ...placed(at, 8),
  }))
}

/** Department, owner and time of the record at this place: three in five have an owner, from their department. */
function placed(at: number, salt: number): Row {
  const department = DEPARTMENTS[(at * 7 + salt) % DEPARTMENTS.length] as DemoDepartment
  const team = DEMO_PEOPLE.filter((person) => person.department === department)
  const isOwned = (at * 3 + salt) % 5 < 3
  const owner = isOwned ? team[Math.floor(at / 3) % team.length] : undefined
  const updatedAt = new Date(Date.UTC(2026, 10, 1, 8) + at * 5_400_000)
  return { department, owner_id: owner?.id ?? null, updated_at: updatedAt.toISOString() }
}

async function restoreAll(db: ClientBase): Promise<void> {
  const companies = seededCompanies()
  const leads = seededLeads()
  const people = DEMO_PEOPLE.map(({ id, name, email, department, role }) => ({ id, name, email, department, role }))
  // Owners must be there before their records, and records of other people gone before those.
  await restore(db, 'people', people, false)
  await restore(db, 'companies', companies, true)
  await restore(db, 'leads', leads, true)
  await remove(db, 'people', people)
}

/** Three statements a table; rows that are as they should be get no new version. */
async function restore(db: ClientBase, table: string, rows: Row[], removeOthers: boolean): Promise<void> {
  const columns = Object.keys(rows[0] ?? {})
  const wanted = `jsonb_populate_recordset(null::${table}, $1) w`
  const list = columns.join(', ')
  const theirs = columns.map((column) => `t.${column}`).join(', ')
  const ours = columns.map((column) => `w.${column}`).join(', ')
  if (removeOthers) await remove(db, table, rows)
  await db.query(`update ${table} t set (${list}) = row(${ours}) from ${wanted} where t.id = w.id and (${theirs}) is distinct from (${ours})`, [
    JSON.stringify(rows),
  ])
  await db.query(`insert into ${table} (${list}) select ${ours} from ${wanted} where not exists (select from ${table} t where t.id = w.id)`, [
    JSON.stringify(rows),
  ])
}

async function remove(db: ClientBase, table: string, rows: Row[]): Promise<void> {
  await db.query(`delete from ${table} where id::text <> all ($1::text[])`, [rows.map((row) => row['id'])])
}

async function inTransaction<T>(db: ClientBase, work: () => Promise<T>): Promise<T> {
  await db.query('begin')
  try {
    const result = await work()
    await db.query('commit')
    return result
  } catch (cause) {
    await db.query('rollback')
    throw cause
  }
}
