// Starts a real PostgreSQL for development and tests, or uses the one DATABASE_URL names.
//
// The first start on a folder makes the database there; later ones only start it. It listens on 127.0.0.1 alone, decodes
// logically, and ends with the process that started it, however that ends: a small watcher holds the other end of a pipe
// and stops the server when the pipe breaks. What an unclean end left behind is put right by the next start.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type Binaries, canEnter, enterableFolder, findBinaries, runAs, type RunAs, shortName } from './postgres-binaries.js'

export interface PostgresOptions {
  /** Where the database lives. As root, a folder the user `postgres` can't enter is replaced by one for temporary files. */
  dataDir: string
  /** Default: a free one. A server that already runs on this folder keeps its own. */
  port?: number
  log?: (line: string) => void
  /** The folder of another npm package with PostgreSQL's programs than the installed one. */
  programs?: string | undefined
  /** Further settings of the server, as on its command line. */
  settings?: Record<string, string>
}

export interface Postgres {
  url: string
  /** Whether this start made the database. */
  firstStart: boolean
  /** Where the database really lives; missing for a server of DATABASE_URL. */
  dataDir?: string
  /** Stops the server if this call started it. May be called twice. */
  stop(): Promise<void>
}

const SETTINGS = {
  wal_level: 'logical',
  max_replication_slots: '20',
  max_wal_senders: '20',
  max_connections: '150',
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  timezone: 'UTC',
}
const PASSWORD_FILE = 'rota-password'
const READY = 'ready to accept connections'
const START_MS_MAX = 60_000

export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const given = process.env['DATABASE_URL']
  if (given) return useServer(given)
  const who = runAs()
  const binaries = await findBinaries(who, options.programs)
  const dataDir = dataFolder(options.dataDir, who)
  const log = options.log ?? (() => undefined)

  const firstStart = !existsSync(path.join(dataDir, 'PG_VERSION'))
  if (firstStart) await makeDatabase(binaries, dataDir, who, log)
  checkMajor(binaries, dataDir)
  const password = readFileSync(path.join(dataDir, PASSWORD_FILE), 'utf8').trim()
  const urlAt = (port: number) => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`

  const running = await settleOldServer(dataDir, urlAt, log)
  if (running !== undefined) return { url: running, firstStart: false, dataDir, stop: async () => undefined }
  const port = options.port ?? (await freePort())
  const server = await launch(binaries, dataDir, port, who, { ...SETTINGS, ...options.settings }, log)
  return { url: urlAt(port), firstStart, dataDir, stop: server.stop }
}

/** Somebody's own server: nothing to start, but what Rota needs of it can be missing. */
async function useServer(url: string): Promise<Postgres> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  try {
    await client.connect()
    const { rows } = await client.query<{ wal: string; version: number; server: string }>(
      `select current_setting('wal_level') as wal, current_setting('server_version_num')::int as version, current_setting('server_version') as server`,
    )
    const found = rows[0]
    if (found === undefined || found.version < 150_000)
      throw new Error(`The server of DATABASE_URL is PostgreSQL ${found?.server}; Rota needs 15 or later.`)
    if (found.wal !== 'logical') {
      throw new Error(
        `The server of DATABASE_URL has wal_level = ${found.wal}, but the live stream needs "logical". Run "ALTER SYSTEM SET wal_level = 'logical'" as a superuser and restart that server, or unset DATABASE_URL to use the bundled PostgreSQL.`,
      )
    }
  } catch (cause) {
    if (cause instanceof Error && cause.message.includes('DATABASE_URL')) throw cause
    // Not the URL itself: it holds a password.
    throw new Error(
      `The server of DATABASE_URL can't be used: ${(cause as Error).message}. Check that it runs and that the URL is right, or unset DATABASE_URL to use the bundled PostgreSQL.`,
      { cause },
    )
  } finally {
    await client.end().catch(() => undefined)
  }
  return { url, firstStart: false, stop: async () => undefined }
}

function dataFolder(wanted: string, who: RunAs): string {
  const dir = path.resolve(wanted)
  const folder = canEnter(path.dirname(dir), who) ? dir : path.join(enterableFolder('rota-postgres-data', who), shortName(dir))
  mkdirSync(path.dirname(folder), { recursive: true })
  return folder
}

/** initdb beside the final folder, then a rename: a first start cut short leaves nothing that looks like a database. */
async function makeDatabase(binaries: Binaries, dataDir: string, who: RunAs, log: (line: string) => void): Promise<void> {
  const half = `${dataDir}.${process.pid}.new`
  rmSync(half, { recursive: true, force: true })
  mkdirSync(half, { recursive: true, mode: 0o700 })
  const passwordFile = `${half}.password`
  writeFileSync(passwordFile, `${randomBytes(18).toString('base64url')}\n`, { mode: 0o600 })
  if (who.uid !== undefined && who.gid !== undefined) for (const file of [half, passwordFile]) chownSync(file, who.uid, who.gid)
  const flags = [
    `--pgdata=${half}`,
    '--username=postgres',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--no-instructions',
  ]
  try {
    const { code, said } = await ended(spawn(binaries.initdb, flags, { ...who, cwd: path.dirname(half), env: { ...process.env, LC_ALL: 'C' } }), log)
    if (code !== 0)
      throw new Error(`PostgreSQL could not make its database in ${dataDir}: ${lastLine(said)}. Check the free space and the folder's rights.`)
    renameSync(passwordFile, path.join(half, PASSWORD_FILE))
    if (existsSync(dataDir) && !existsSync(path.join(dataDir, 'PG_VERSION'))) rmSync(dataDir, { recursive: true })
    renameSync(half, dataDir)
  } catch (cause) {
    if (!existsSync(path.join(dataDir, 'PG_VERSION'))) throw cause // else another process made it meanwhile
  } finally {
    rmSync(half, { recursive: true, force: true })
    rmSync(passwordFile, { force: true })
  }
}

function checkMajor(binaries: Binaries, dataDir: string): void {
  const made = readFileSync(path.join(dataDir, 'PG_VERSION'), 'utf8').trim()
  const ours = binaries.version.split('.')[0]
  if (made !== ours)
    throw new Error(
      `${dataDir} was made by PostgreSQL ${made}, but version ${ours} is installed. Remove that folder to start afresh, or install the older version.`,
    )
}

/** Looks at what an earlier start left: gives its URL if it serves, else makes room for a new one. */
async function settleOldServer(dataDir: string, urlAt: (port: number) => string, log: (line: string) => void): Promise<string | undefined> {
  const lockFile = path.join(dataDir, 'postmaster.pid')
  for (let waited = 0; existsSync(lockFile); waited += 250) {
    const [pidLine, , , portLine] = readFileSync(lockFile, 'utf8').split('\n')
    const pid = Number(pidLine)
    if (!isServerOf(pid, dataDir)) {
      log(`removed the lock file of a server that is gone (process ${pid})`)
      rmSync(lockFile, { force: true })
      return undefined
    }
    if (portLine && (await answers(urlAt(Number(portLine))))) {
      log(`a server already runs on ${dataDir}: using it`)
      return urlAt(Number(portLine))
    }
    // It is starting or stopping. Given long enough, it hangs: ask it to stop, then insist.
    if (waited === 15_000) process.kill(pid, 'SIGINT')
    if (waited === 25_000) process.kill(pid, 'SIGQUIT')
    if (waited > 35_000)
      throw new Error(`A server (process ${pid}) holds ${dataDir} but neither answers nor stops. End that process, then try again.`)
    await sleep(250)
  }
  return undefined
}

/** Whether the process lives and is the server of this folder; process ids are used again, after a reboot at the latest. */
function isServerOf(pid: number, dataDir: string): boolean {
  if (!Number.isInteger(pid) || pid <= 1) return false
  try {
    process.kill(pid, 0)
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM'
  }
  if (process.platform !== 'linux') return true
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === dataDir
  } catch {
    return existsSync(`/proc/${pid}`)
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 3_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function launch(binaries: Binaries, dataDir: string, port: number, who: RunAs, settings: Record<string, string>, log: (line: string) => void) {
  chmodSync(dataDir, 0o700)
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  // Detached: Ctrl-C in a terminal goes to its whole group, and the server should outlast those who still use it.
  const child = spawn(binaries.postgres, ['-D', dataDir, '-p', String(port), ...flags], {
    ...who,
    cwd: dataDir,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  })
  const watcher = watchParent(child)
  const atExit = () => void child.kill('SIGINT')
  process.once('exit', atExit)
  const over = ended(child, log).finally(() => {
    process.removeListener('exit', atExit)
    watcher?.kill('SIGKILL')
  })
  const stop = async () => {
    child.kill('SIGINT') // PostgreSQL's fast shutdown: clean, without waiting for clients
    const hard = setTimeout(() => child.kill('SIGQUIT'), 10_000)
    await over.catch(() => undefined)
    clearTimeout(hard)
  }
  await ready(child, over, port, dataDir).catch(async (cause) => {
    await stop()
    throw cause
  })
  for (const handle of [child, child.stderr as unknown as { unref(): void }]) handle.unref() // a script that is done should end
  return { stop }
}

/** Stops the server once this process is gone, even if it was killed and could run no handler. */
function watchParent(child: ChildProcess): ChildProcess | undefined {
  if (process.platform === 'win32' || child.pid === undefined) return undefined
  const watcher = spawn('/bin/sh', ['-c', 'read -r _; kill -INT "$0" 2>/dev/null', String(child.pid)], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  watcher.on('error', () => undefined)
  watcher.unref()
  ;(watcher.stdin as unknown as { unref(): void }).unref()
  return watcher
}

async function ready(child: ChildProcess, over: Promise<{ said: string }>, port: number, dataDir: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const started = new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => chunk.includes(READY) && resolve())
    timer = setTimeout(
      () =>
        reject(
          new Error(`PostgreSQL did not start on ${dataDir} within ${START_MS_MAX / 1000} s. See its log, or remove that folder to start afresh.`),
        ),
      START_MS_MAX,
    )
    over.then(({ said }) => {
      const why = /address already in use/i.test(said) ? `port ${port} is taken: choose another` : lastLine(said)
      reject(new Error(`PostgreSQL did not start on ${dataDir}: ${why}.`))
    }, reject)
  })
  await started.finally(() => clearTimeout(timer))
}

function ended(child: ChildProcess, log: (line: string) => void): Promise<{ code: number | null; said: string }> {
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      const text = chunk.toString('utf8')
      said = (said + text).slice(-4_000)
      for (const line of text.split('\n')) if (line.trim()) log(line)
    })
  }
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => reject(new Error(`${child.spawnfile} can't be run: ${cause.message}`, { cause })))
    child.once('close', (code) => resolve({ code, said }))
  })
}

function lastLine(said: string): string {
  const lines = said.trim().split('\n')
  return lines.findLast((line) => /FATAL|ERROR|error|could not/.test(line)) || lines.at(-1) || 'it said nothing'
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
      .once('error', reject)
      .listen(0, '127.0.0.1', () => {
        const address = probe.address()
        probe.close(() => (address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no free port'))))
      })
  })
}
