/**
 * A database of its own, two people, and a gateway: the ground that every test of the gateway stands on. Clients are
 * the unmodified supabase-js.
 */

import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { SignJWT, type JWTPayload } from 'jose'
import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import pg from 'pg'
import { inject } from 'vitest'
import { WebSocket } from 'ws'
import { createUser, startGateway, type Gateway, type GatewayOptions } from '../../www/server/gateway/index.js'

export interface Person {
  id: string
  email: string
  password: string
  name: string
}

export interface World {
  db: pg.Pool
  gateway: Gateway
  ada: Person
  bob: Person
  secret: string
  lines: string[]
  /** A client that nobody has signed in to. */
  anonymous(): SupabaseClient
  signedIn(person: Person): Promise<SupabaseClient>
  accessToken(person: Person): Promise<string>
  forge(claims: JWTPayload, options?: { secret?: string; expiresIn?: number; algorithm?: 'HS256' | 'HS512' }): Promise<string>
  headers(token?: string): Record<string, string>
  /** Every client leaves its channels. */
  quiet(): Promise<void>
  restart(): Promise<void>
  close(): Promise<void>
}

const AUTH_SQL = new URL('../../www/server/sql/auth/0001_auth.sql', import.meta.url)
const SCHEMA_SQL = new URL('./schema.sql', import.meta.url)

export async function openWorld(options: Partial<GatewayOptions> = {}): Promise<World> {
  const databaseUrl = await createDatabase()
  const db = new pg.Pool({ connectionString: databaseUrl, max: 8 })
  db.on('error', () => {})
  await db.query(await readFile(AUTH_SQL, 'utf8'))
  await db.query(await readFile(SCHEMA_SQL, 'utf8'))
  const [ada, bob] = [newPerson('ada'), newPerson('bob')]
  await Promise.all([createUser(db, ada), createUser(db, bob)])
  const secret = randomBytes(32).toString('hex')
  const lines: string[] = []
  const start = (port?: number): Promise<Gateway> =>
    startGateway({ databaseUrl, jwtSecret: secret, log: (line) => lines.push(line), ...options, port })
  const clients: SupabaseClient[] = []

  const world: World = {
    db,
    gateway: await start(),
    ada,
    bob,
    secret,
    lines,
    anonymous() {
      const client = createClient(world.gateway.url, world.gateway.anonKey, {
        auth: { persistSession: false, autoRefreshToken: false },
        realtime: { transport: WebSocket as unknown as typeof globalThis.WebSocket },
      })
      clients.push(client)
      return client
    },
    async signedIn(person) {
      const client = world.anonymous()
      const { error } = await client.auth.signInWithPassword(person)
      if (error) throw error
      return client
    },
    async accessToken(person) {
      const { data } = await (await world.signedIn(person)).auth.getSession()
      if (data.session === null) throw new Error('no session')
      return data.session.access_token
    },
    forge(claims, { secret: key = secret, expiresIn = 3600, algorithm = 'HS256' } = {}) {
      return new SignJWT(claims)
        .setProtectedHeader({ alg: algorithm, typ: 'JWT' })
        .setExpirationTime(Math.floor(Date.now() / 1000) + expiresIn)
        .sign(new TextEncoder().encode(key))
    },
    headers: (token) => ({
      apikey: world.gateway.anonKey,
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
    }),
    async quiet() {
      await Promise.all(clients.map((client) => client.removeAllChannels()))
      for (const client of clients.splice(0)) await client.realtime.disconnect()
      await until(() => world.gateway.stats().channels === 0, 'no channel left')
    },
    async restart() {
      world.gateway = await start(world.gateway.port)
    },
    async close() {
      await Promise.all(clients.map((client) => client.removeAllChannels()))
      for (const client of clients) await client.realtime.disconnect()
      await world.gateway.close()
      await db.end()
    },
  }
  return world
}

function newPerson(name: string): Person {
  return { id: randomUUID(), email: `${name}@example.org`, password: `the password of ${name}`, name }
}

async function createDatabase(): Promise<string> {
  const serverUrl = inject('serverUrl')
  const name = `gateway_${randomBytes(6).toString('hex')}`
  const client = new pg.Client({ connectionString: serverUrl })
  await client.connect()
  await client.query(`create database ${name}`)
  await client.end()
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return url.href
}

export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
