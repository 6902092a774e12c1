// A database with the kit and the demo, and people who act on it: each call in a transaction of its own, with the role and
// the claims that a gateway would set.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { inject } from 'vitest'
import { migrate } from '../../www/server/migrate.js'
import { seed } from '../../www/server/seed.js'
import { hlc, type Json, KIT, operationId } from './plain.js'

export { hlc, type Json, KIT, operationId }

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))
export const DEMO = here('../../www/server/sql/demo')
export const fixture = (name: string): Json => JSON.parse(readFileSync(here(`../fixtures/protocol/${name}.json`), 'utf8'))

export const MAYA = '11111111-1111-4111-8111-111111111111' // manager of Sales
export const JONAS = '22222222-2222-4222-8222-222222222222' // member of Sales
export const AIKO = '33333333-3333-4333-8333-333333333333' // member of Sales
export const TOMAS = '55555555-5555-4555-8555-555555555555' // member of Support
export const RUTH = '88888888-8888-4888-8888-888888888888' // admin

export function operation(parts: Json): Json {
  return {
    protocol: 1,
    id: operationId(),
    name: 'patch',
    table: 'companies',
    key: 'c-0900',
    args: {},
    set: {},
    base: {},
    baseVersion: null,
    hlc: hlc(),
    tab: 'k3v9x2m1q7w4',
    after: [],
    ...parts,
  }
}
export const patch = (key: string, base: Json, set: Json, more: Json = {}) => operation({ name: 'patch', key, base, set, ...more })
export const insert = (key: string, set: Json, more: Json = {}) => operation({ name: 'insert', key, set: { id: key, ...set }, ...more })
export const remove = (key: string, base: Json = {}, more: Json = {}) => operation({ name: 'delete', key, base, ...more })
export const assign = (key: string, from: string | null, to: unknown, more: Json = {}) =>
  operation({ name: 'assign', key, args: { to }, set: { owner_id: to }, base: { owner_id: from }, ...more })

export interface Person {
  apply(op: unknown): Promise<Json>
  pull(request?: Json): Promise<Json>
  sql(text: string, values?: unknown[]): Promise<Json[]>
}

export interface World {
  /** The owner of the database, who is bound by nothing. */
  owner: pg.Pool
  as(person: string | null, role?: string): Person
  /** A connection of its own with an open transaction, as a person or as the owner. */
  open(person?: string): Promise<pg.PoolClient>
  /** An unowned company of Sales called Harbour Optics; answers its version. */
  company(key: string, more?: Json): Promise<string>
  close(): Promise<void>
}

export async function createWorld(options: { demo?: boolean; kit?: boolean } = {}): Promise<World> {
  const name = `rota_${randomBytes(6).toString('hex')}`
  const admin = new pg.Client(inject('postgresUrl'))
  await admin.connect()
  await admin.query(`create database ${name}`)
  await admin.end()
  const url = new URL(inject('postgresUrl'))
  url.pathname = `/${name}`
  const owner = new pg.Pool({ connectionString: url.href, max: 40 })
  owner.on('error', () => undefined)
  const client = await owner.connect()
  const demo = options.demo !== false && options.kit !== false
  if (options.kit !== false) await migrate(client, demo ? [KIT, DEMO] : [KIT])
  if (demo) await seed(client, async () => undefined)
  client.release()

  const become = async (to: pg.PoolClient, person: string | null, role = 'authenticated') => {
    await to.query(`begin; set local role ${role}`)
    if (person !== null) await to.query(`select set_config('request.jwt.claims', $1, true)`, [JSON.stringify({ sub: person, role })])
  }
  const as = (person: string | null, role?: string): Person => {
    const sql = async (text: string, values: unknown[] = []) => {
      const connection = await owner.connect()
      try {
        await become(connection, person, role)
        const { rows } = await connection.query(text, values)
        await connection.query('commit')
        return rows as Json[]
      } catch (cause) {
        await connection.query('rollback')
        throw cause
      } finally {
        connection.release()
      }
    }
    return {
      sql,
      apply: async (op) => {
        // The time is that of the reply, and no part of what was decided.
        const { atMs, ...answer } = (await sql('select public.apply_operation($1::jsonb) as a', [JSON.stringify(op)]))[0]!['a'] as Json
        if (!Number.isSafeInteger(atMs)) throw new Error(`an answer without the server's time: ${JSON.stringify(answer)}`)
        return answer
      },
      pull: async (request = {}) =>
        (
          await sql('select public.rota_pull($1::jsonb) as a', [
            JSON.stringify({ protocol: 1, tables: ['companies'], cursor: null, pending: [], ...request }),
          ])
        )[0]!['a'],
    }
  }
  return {
    owner,
    as,
    open: async (person) => {
      const connection = await owner.connect()
      if (person === undefined) await connection.query('begin')
      else await become(connection, person)
      return connection
    },
    company: async (key, more = {}) => {
      const row = { id: key, name: 'Harbour Optics', city: 'Bremen', department: 'Sales', owner_id: null, ...more }
      const columns = Object.keys(row)
      const { rows } = await owner.query(
        `insert into companies (${columns.join(', ')}) values (${columns.map((_, at) => `$${at + 1}`).join(', ')}) returning rota_version`,
        Object.values(row),
      )
      return rows[0].rota_version
    },
    close: () => owner.end(),
  }
}

/** Member names and kinds of values, with a record's own columns left out: what a fixture and an answer must share. */
export function shapeOf(value: unknown): unknown {
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.map(shapeOf)
  if (typeof value !== 'object') return typeof value
  const members = Object.entries(value).map(([name, inner]): [string, unknown] => [
    name,
    name === 'record' && inner !== null ? rotaColumns(inner) : shapeOf(inner),
  ])
  return Object.fromEntries(members.sort(([a], [b]) => (a < b ? -1 : 1)))
}

function rotaColumns(record: Json): string {
  const op = record['rota_op'] === null || typeof record['rota_op'] === 'string'
  return typeof record['rota_version'] === 'string' && op ? 'record' : `a record with rota_version ${typeof record['rota_version']}`
}

export const ledgerSize = async (world: World): Promise<number> => Number((await world.owner.query('select count(*) from rota.ledger')).rows[0].count)
