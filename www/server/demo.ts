/**
 * The whole demo in one process: PostgreSQL, the server kit, sample data, the gateway and the page, each on 127.0.0.1.
 * What it started it stops again, in reverse order, also when a later step fails.
 */

import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { createUser, startGateway, type Gateway } from './gateway/index.js'
import { migrate } from './migrate.js'
import { startPage } from './page.js'
import { startPostgres, type Postgres } from './postgres.js'
import { seed } from './seed.js'

export interface DemoOptions {
  /** A folder for all that the demo keeps: the database, the gateway's secret, the built page. */
  readonly dataDir: string
  /** A port of the person's choice, which must be free; else the usual one or the next that is free. 0: any. */
  readonly gatewayPort?: number | undefined
  readonly pagePort?: number | undefined
  /** `dev` serves the sources with hot reload, `built` what users would get, `none` leaves the page out. */
  readonly page: 'dev' | 'built' | 'none'
  /** Another page than the demo's, with the same backend: the folder of its sources. */
  readonly pageRoot?: string | undefined
  readonly log: (line: string) => void
}

export interface Demo {
  /** Empty without a page. */
  readonly pageUrl: string
  readonly gatewayUrl: string
  readonly anonKey: string
  readonly databaseUrl: string
  /** Where the database really is; undefined for a server of DATABASE_URL. */
  readonly databaseDir: string | undefined
  /** The gateway that runs now. After a stop and a start it is another one, on the same port. */
  gateway(): Gateway
  /** `kill`, the default, cuts every connection, as a crash does; `close` says goodbye. */
  stopGateway(how?: 'close' | 'kill'): Promise<void>
  startGateway(): Promise<void>
  /** Stops everything. May be called twice. */
  stop(): Promise<void>
}

const HOST = '127.0.0.1'
const PAGE_PORT = 5173
const GATEWAY_PORT = 5180
const PORTS_TRIED_MAX = 20

const WWW = fileURLToPath(new URL('..', import.meta.url))
const MIGRATIONS = [path.join(WWW, 'server/sql/auth'), path.join(WWW, '../pkg/sql'), path.join(WWW, 'server/sql/demo')]

export async function startDemo(options: DemoOptions): Promise<Demo> {
  const { dataDir, log } = options
  mkdirSync(dataDir, { recursive: true, mode: 0o755 })
  const stops: (() => Promise<void>)[] = []
  let stopping: Promise<void> | undefined
  const stop = () => (stopping ??= stopAll(stops))
  const step = stepLog(log)
  try {
    // Ports first: who asked for one that is taken should not wait for a database to hear so.
    const pagePort = options.page === 'none' ? 0 : await pickPort('the page', options.pagePort, PAGE_PORT, '--port', log)
    const gatewayPort = await pickPort('the gateway', options.gatewayPort, GATEWAY_PORT, '--gateway-port', log)

    const postgres = await step('PostgreSQL', () => startPostgres({ dataDir: path.join(dataDir, 'postgres') }), said)
    stops.push(() => postgres.stop())
    await prepare(postgres.url, step)

    const secret = keptSecret(path.join(dataDir, 'gateway-secret'))
    const start = (port: number) => startGateway({ databaseUrl: postgres.url, port, jwtSecret: secret, log: (line) => log(`  gateway: ${line}`) })
    let gateway = await step(
      'gateway',
      () => start(gatewayPort),
      ({ url }) => url,
    )
    let isUp = true
    const stopGateway = async (how: 'close' | 'kill' = 'kill') => {
      if (!isUp) return
      isUp = false
      await gateway[how]()
    }
    stops.push(() => stopGateway('close'))

    const { url: gatewayUrl, anonKey, port } = gateway
    let pageUrl = ''
    if (options.page !== 'none') {
      // By port, as two demos at once may share the rest.
      const outDir = path.resolve(dataDir, `page-${pagePort}`)
      const page = { root: options.pageRoot ?? WWW, outDir, port: pagePort, kind: options.page, config: { gatewayUrl, anonKey } }
      const { url, stop: stopPage } = await step(
        `page (${options.page})`,
        () => startPage(page),
        (started) => started.url,
      )
      pageUrl = url
      stops.push(stopPage)
    }

    return {
      pageUrl,
      gatewayUrl,
      anonKey,
      databaseUrl: postgres.url,
      databaseDir: postgres.dataDir,
      gateway: () => gateway,
      stopGateway,
      startGateway: async () => {
        if (isUp || stopping) return
        gateway = await start(port)
        isUp = true
      },
      stop,
    }
  } catch (cause) {
    await stop()
    throw cause
  }
}

const said = ({ url, firstStart, dataDir }: Postgres): string =>
  `${firstStart ? 'made, ' : ''}on port ${new URL(url).port}${dataDir === undefined ? ', from DATABASE_URL' : ''}`

/** The later a thing was started, the earlier it stops. One that fails keeps no other from stopping. */
async function stopAll(stops: (() => Promise<void>)[]): Promise<void> {
  const failed: unknown[] = []
  for (const stop of stops.reverse()) await stop().catch((cause: unknown) => failed.push(cause))
  if (failed.length > 0) throw failed[0]
}

type Step = <T>(name: string, work: () => Promise<T>, result?: (value: T) => string) => Promise<T>

function stepLog(log: (line: string) => void): Step {
  return async (name, work, result) => {
    const startedMs = performance.now()
    const value = await work()
    const took = `${((performance.now() - startedMs) / 1000).toFixed(1)} s`
    log(`✓ ${name.padEnd(12)} ${took.padStart(6)}  ${result?.(value) ?? ''}`.trimEnd())
    return value
  }
}

async function prepare(databaseUrl: string, step: Step): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await step(
      'migrations',
      () => migrate(client, MIGRATIONS),
      (names) => (names.length > 0 ? names.join(', ') : 'nothing new'),
    )
    await step(
      'sample data',
      () => seed(client, createUser),
      (isNew) => (isNew ? 'written' : 'there already'),
    )
  } finally {
    await client.end()
  }
}

/** The same over restarts, so that whoever is signed in stays so. */
function keptSecret(file: string): string {
  try {
    writeFileSync(file, randomBytes(48).toString('base64url'), { flag: 'wx', mode: 0o600 })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
  }
  return readFileSync(file, 'utf8').trim()
}

async function pickPort(who: string, chosen: number | undefined, usual: number, flag: string, log: (line: string) => void): Promise<number> {
  if (chosen !== undefined) {
    const port = await tryPort(chosen)
    if (port === undefined) throw new Error(`Port ${chosen}, meant for ${who}, is taken. Choose another with ${flag}.`)
    return port
  }
  for (let port = usual; port < usual + PORTS_TRIED_MAX; port++) {
    if ((await tryPort(port)) === undefined) continue
    if (port !== usual) log(`  port ${usual} is taken: ${who} uses ${port}`)
    return port
  }
  throw new Error(`Ports ${usual} to ${usual + PORTS_TRIED_MAX - 1} are all taken. Choose one for ${who} with ${flag}.`)
}

/** The port if it is free, for 0 one that is; undefined if it is taken. */
function tryPort(wanted: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (cause: NodeJS.ErrnoException) => (cause.code === 'EADDRINUSE' ? resolve(undefined) : reject(cause)))
    probe.listen(wanted, HOST, () => {
      const address = probe.address()
      const port = typeof address === 'object' && address ? address.port : wanted
      probe.close(() => resolve(port))
    })
  })
}
