// Starting, stopping and finding again the database of a development machine.
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, afterEach, expect, inject, test } from 'vitest'
import { canEnter } from '../../www/server/postgres-binaries.js'
import { startPostgres, type Postgres } from '../../www/server/postgres.js'

const folder = mkdtempSync(path.join(tmpdir(), 'rota-start-'))
chmodSync(folder, 0o755) // else, as root, the data would go elsewhere
const dataDir = path.join(folder, 'data')
const running: Postgres[] = []
const start = async (dir = dataDir) => {
  const server = await startPostgres({ dataDir: dir })
  running.push(server)
  return server
}
const ask = async (url: string, sql: string) => {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return (await client.query(sql)).rows[0]
  } finally {
    await client.end()
  }
}
const until = async (what: () => boolean) => {
  for (let waited = 0; !what(); waited += 50) {
    if (waited > 10_000) throw new Error('waited in vain')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
const gone = (pid: number) => {
  try {
    process.kill(pid, 0)
    return false
  } catch {
    return true
  }
}
/** A process that starts the server and then only waits. */
const startElsewhere = async () => {
  const launcher = fileURLToPath(new URL('launcher.ts', import.meta.url))
  const other = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), launcher, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] })
  const url = await new Promise<string>((resolve) => other.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim())))
  return { other, url }
}

afterEach(async () => {
  delete process.env['DATABASE_URL']
  while (running.length > 0) await running.pop()?.stop()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the first start makes a database, the second finds it', async () => {
  const first = await start()
  expect(first.firstStart).toBe(true)
  await ask(first.url, 'create table kept (id int)')
  const row = await ask(
    first.url,
    `select current_setting('wal_level') wal, current_setting('listen_addresses') listen,
    current_setting('server_encoding') encoding, (select datcollate from pg_database where datname = 'postgres') collate`,
  )
  expect(row).toEqual({ wal: 'logical', listen: '127.0.0.1', encoding: 'UTF8', collate: 'C' })
  await first.stop()
  await first.stop()
  const second = await start()
  expect(second.firstStart).toBe(false)
  expect(await ask(second.url, 'select count(*)::int n from kept')).toEqual({ n: 0 })
})

test('a start on a folder whose server runs uses that server, and leaves it running', async () => {
  const first = await start()
  const second = await startPostgres({ dataDir })
  expect(second.url).toBe(first.url)
  await second.stop()
  expect(await ask(first.url, 'select 1 as one')).toEqual({ one: 1 })
})

test('the server ends when the process that started it is killed, and the next start works', async () => {
  const { other, url } = await startElsewhere()
  await ask(url, 'select 1')
  const pid = Number(readFileSync(path.join(dataDir, 'postmaster.pid'), 'utf8').split('\n')[0])
  other.kill('SIGKILL')
  await until(() => gone(pid))
  expect((await start()).firstStart).toBe(false)
})

test('a server that was itself killed is started again, also if its process id belongs to another by now', async () => {
  const first = await start()
  const lockFile = path.join(dataDir, 'postmaster.pid')
  const lock = readFileSync(lockFile, 'utf8')
  const pid = Number(lock.split('\n')[0])
  process.kill(pid, 'SIGKILL')
  await until(() => gone(pid))
  const second = await start()
  expect(await ask(second.url, 'select 1 as one')).toEqual({ one: 1 })
  await second.stop()
  await first.stop()
  writeFileSync(lockFile, lock.replace(String(pid), String(process.pid)))
  expect(await ask((await start()).url, 'select 1 as one')).toEqual({ one: 1 })
})

test('DATABASE_URL is used as it is if it decodes logically, else the error says what to do', async () => {
  process.env['DATABASE_URL'] = inject('postgresUrl')
  const given = await start()
  expect(given).toMatchObject({ url: inject('postgresUrl'), firstStart: false })
  await given.stop()
  expect(await ask(inject('postgresUrl'), 'select 1 as one')).toEqual({ one: 1 })
  delete process.env['DATABASE_URL']
  const replica = await startPostgres({ dataDir, settings: { wal_level: 'replica' } })
  running.push(replica)
  process.env['DATABASE_URL'] = replica.url
  await expect(startPostgres({ dataDir })).rejects.toThrow(/wal_level = replica.*ALTER SYSTEM SET wal_level/)
  process.env['DATABASE_URL'] = 'postgres://nobody:geheim@127.0.0.1:1/none'
  const failure = await startPostgres({ dataDir }).catch((cause: Error) => cause)
  expect(String(failure)).toMatch(/can't be used.*Check that it runs/)
  expect(String(failure)).not.toContain('geheim')
})

test('a port that is taken and a folder of another version are errors that say so', async () => {
  const port = Number(new URL(inject('postgresUrl')).port)
  await expect(startPostgres({ dataDir, port })).rejects.toThrow(`port ${port} is taken`)
  writeFileSync(path.join(dataDir, 'PG_VERSION'), '14\n')
  await expect(startPostgres({ dataDir })).rejects.toThrow(/was made by PostgreSQL 14.*Remove that folder/)
  writeFileSync(path.join(dataDir, 'PG_VERSION'), '18\n')
})

test.skipIf(process.getuid?.() !== 0)("as root, a folder that PostgreSQL's user can't enter is replaced", async () => {
  const closed = path.join(folder, 'closed')
  mkdirSync(closed)
  chmodSync(closed, 0o700)
  expect(canEnter(closed, { uid: 12345, gid: 12345 })).toBe(false)
  expect(canEnter('/tmp', { uid: 12345, gid: 12345 })).toBe(true)
  const inside = path.join(closed, 'data')
  const server = await start(inside)
  expect(existsSync(inside)).toBe(false)
  const dir = server.dataDir ?? ''
  expect(await ask(server.url, `select current_setting('data_directory') as dir`)).toEqual({ dir })
  await server.stop()
  const again = await start(inside)
  expect(again.firstStart).toBe(false)
  await again.stop()
  rmSync(dir, { recursive: true })
})
