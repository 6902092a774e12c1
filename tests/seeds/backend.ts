// PostgreSQL with the server kit, the gateway before it, and sessions: stores of the packaged client over the unmodified
// supabase-js, each with a link of its own, as people at different machines have them.
import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { randomBytes, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createStore, init, type Backend as Adapter, type Problem, type Store, type StoreOptions } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { WebSocket } from 'ws'
import { createUser, startGateway, type Gateway } from '../../www/server/gateway/index.js'
import { migrate } from '../../www/server/migrate.js'
import { tables } from './tables.js'

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))

export type Row = Record<string, unknown>

export interface Session {
  readonly store: Store<typeof tables>
  readonly client: SupabaseClient
  readonly problems: Problem[]
}

export interface Person {
  readonly id: string
  readonly name: string
  readonly email: string
  readonly password: string
}

export interface Backend {
  readonly db: pg.Pool
  gateway(): Gateway
  /** Somebody who can sign in; an operator too, where a role is named. */
  person(name: string, role?: 'operator' | 'supervisor', capacity?: number): Promise<Person>
  /** Signs in and opens a store, which is live and has fetched everything when this resolves. */
  session(person: Person, options?: Partial<StoreOptions<typeof tables>>, wrap?: (adapter: Adapter) => Adapter): Promise<Session>
  /** Runs SQL as the owner of the database, behind everybody's back. */
  sql(text: string, values?: unknown[]): Promise<Row[]>
  /** Cuts every connection, as a crash does. */
  stop(): Promise<void>
  /** `accessTokenSeconds`: how long the tokens of sessions from now on are good for. */
  start(options?: { accessTokenSeconds?: number }): Promise<void>
  closeSessions(): Promise<void>
  close(): Promise<void>
}

export async function openBackend(serverUrl: string): Promise<Backend> {
  await init()
  const name = `seeds_${randomBytes(6).toString('hex')}`
  const admin = new pg.Client({ connectionString: serverUrl })
  await admin.connect()
  await admin.query(`create database ${name}`)
  await admin.end()
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  const db = new pg.Pool({ connectionString: url.href, max: 8 })
  db.on('error', () => {})
  const client = await db.connect()
  await migrate(client, [here('../../www/server/sql/auth'), here('../../pkg/sql')])
  await client.query(readFileSync(here('./schema.sql'), 'utf8'))
  client.release()
  const jwtSecret = randomBytes(32).toString('hex')
  const start = (port?: number, accessTokenSeconds?: number) => startGateway({ databaseUrl: url.href, jwtSecret, port, accessTokenSeconds, log: () => {} })
  let gateway = await start()
  let isUp = true
  let sessions: Session[] = []

  const backend: Backend = {
    db,
    gateway: () => gateway,
    person: async (first, role, capacity = 1) => {
      const person = { id: randomUUID(), name: first, email: `${randomUUID()}@example.org`, password: `the password of ${first}` }
      await createUser(db, person)
      await db.query('insert into profiles (id, name) values ($1, $2)', [person.id, first])
      if (role) await db.query('insert into operators (id, name, role, capacity) values ($1, $2, $3, $4)', [person.id, first, role, capacity])
      return person
    },
    session: async (person, options = {}, wrap = (adapter) => adapter) => {
      const supabase = createClient(gateway.url, gateway.anonKey, {
        auth: { persistSession: false, autoRefreshToken: false },
        realtime: { transport: WebSocket as unknown as typeof globalThis.WebSocket },
      })
      const { error } = await supabase.auth.signInWithPassword(person)
      if (error) throw error
      const problems: Problem[] = []
      const store = createStore({
        app: 'seeds', user: person.id, tables, backend: wrap(supabaseBackend(supabase, { presence: 'seeds' })),
        retry: { retryDelay: 50, maxRetries: 5 }, onProblem: (problem) => problems.push(problem), ...options,
      })
      const session = { store, client: supabase, problems }
      sessions.push(session)
      await until(() => store.status().link.state === 'live' && store.status().ready, 'the session is live')
      return session
    },
    sql: async (text, values = []) => (await db.query(text, values)).rows as Row[],
    stop: async () => {
      if (isUp) await gateway.kill()
      isUp = false
    },
    start: async ({ accessTokenSeconds } = {}) => {
      if (!isUp) gateway = await start(gateway.port, accessTokenSeconds)
      isUp = true
    },
    closeSessions: async () => {
      const closing = sessions
      sessions = []
      for (const { store, client: supabase } of closing) {
        store.close()
        await supabase.removeAllChannels()
        await supabase.realtime.disconnect()
      }
    },
    close: async () => {
      await backend.closeSessions()
      if (isUp) await gateway.close()
      await db.end()
    },
  }
  return backend
}

export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 15_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
