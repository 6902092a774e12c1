/**
 * A development gateway on 127.0.0.1 that speaks the part of Supabase's protocol that Rota's demo and tests use: sign
 * in, SELECT, functions, and live changes under row-level security, on an ordinary PostgreSQL. It is not Supabase, and
 * says so. It keeps nothing in memory that a restart would need: kill it, start it on the same port with the same
 * secret, and clients go on.
 */

import { createAdaptorServer } from '@hono/node-server'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SignInAttempts } from './auth/attempts.js'
import { Database } from './database.js'
import { newFaults, type Faults } from './faults.js'
import { NOTICE, httpApp, originRule } from './http.js'
import { DEFAULT_LIMITS, newCounters, type GatewayOptions, type GatewayStats } from './options.js'
import { Feed } from './realtime/feed.js'
import { Rooms } from './realtime/rooms.js'
import { RealtimeServer } from './realtime/server.js'
import { createTokens } from './tokens.js'

export type { Faults } from './faults.js'
export type { GatewayOptions, GatewayStats, Limits } from './options.js'
export { createUser, type NewUser } from './users.js'

export interface Gateway {
  url: string
  port: number
  /** The public key that every request carries; the same for the same secret. */
  anonKey: string
  /** Misbehaviour for tests, to be changed at any time. */
  faults: Faults
  stats(): GatewayStats
  /** Says goodbye to clients and waits for what is under way. */
  close(): Promise<void>
  /** Dies as a crashed process does: every socket is cut, in both directions. */
  kill(): Promise<void>
}

const HOST = '127.0.0.1'
const REQUEST_CONNECTIONS = 10
/** Apart from the requests' connections: the stream never waits for them. */
const STREAM_CONNECTIONS = 4

export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const log = options.log ?? ((line: string) => console.log(`[gateway] ${line}`))
  log(NOTICE)
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  const tokens = await createTokens(options.jwtSecret, options.accessTokenSeconds)
  const faults = newFaults(options.faults)
  const counters = newCounters()
  const isAllowedOrigin = originRule(options.allowedOrigins ?? [])
  const db = new Database(options.databaseUrl, limits, log, REQUEST_CONNECTIONS)
  const streamDb = new Database(options.databaseUrl, limits, log, STREAM_CONNECTIONS)
  const feed = new Feed(streamDb, limits, counters, log)
  const realtime = new RealtimeServer({ db: streamDb, tokens, feed, rooms: new Rooms(), faults, limits, counters, log, isAllowedOrigin })
  const app = httpApp({
    db,
    tokens,
    attempts: new SignInAttempts(limits),
    secret: options.jwtSecret,
    limits,
    faults,
    log,
    isAllowedOrigin,
  })

  const server = createAdaptorServer({ fetch: app.fetch, overrideGlobalObjects: false }) as Server
  server.on('upgrade', (request, stream, head) => realtime.upgrade(request, stream, head))
  await listen(server, options.port ?? 0)
  const { port } = server.address() as AddressInfo
  feed.start()
  log(`listening on http://${HOST}:${port}`)

  let ending: Promise<void> | undefined
  const end = (work: () => Promise<void>): Promise<void> => (ending ??= work())
  return {
    url: `http://${HOST}:${port}`,
    port,
    anonKey: tokens.anonKey,
    faults,
    stats: () => ({
      sockets: realtime.sockets,
      channels: realtime.channels,
      ...counters,
      replicationLive: feed.live,
    }),
    close: () =>
      end(async () => {
        const stopped = new Promise<void>((resolve) => server.close(() => resolve()))
        await realtime.close()
        server.closeIdleConnections()
        await feed.stop()
        await stopped
        await Promise.all([db.close(), streamDb.close()])
      }),
    kill: () =>
      end(async () => {
        const stopped = new Promise<void>((resolve) => server.close(() => resolve()))
        realtime.kill()
        server.closeAllConnections()
        db.kill()
        streamDb.kill()
        await feed.stop()
        await stopped
      }),
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, HOST, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}
