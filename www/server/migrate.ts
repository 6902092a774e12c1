// Applies SQL files in order, each once, and takes them back.
//
// `NNNN_name.sql` goes forward, `NNNN_name.down.sql` back. Each runs in a transaction of its own together with its entry in
// rota_migrations.applied, under a lock, so two processes that start at once don't collide. A file that was changed after
// it was applied is an error: the database would no longer be what the files say.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { ClientBase } from 'pg'

interface Migration {
  name: string
  file: string
  sql: string
  checksum: string
}

/** Any number, the same in every process. */
const LOCK = 7_268_410_127

/** Applies what is not applied yet, folder by folder. Answers the names of the files it applied. */
export async function migrate(client: ClientBase, dirs: string[]): Promise<string[]> {
  const wanted = readFolders(dirs)
  return locked(client, async () => {
    const applied = await readApplied(client)
    for (const { name, checksum, file } of wanted) {
      const known = applied.get(name)
      if (known !== undefined && known !== checksum) {
        throw new Error(
          `${file} was changed after it was applied to this database. Put it back as it was and write a new file for the change; in development, undo it with migrateDown or start with a fresh database.`,
        )
      }
    }
    const news = wanted.filter(({ name }) => !applied.has(name))
    for (const { file, name, sql, checksum } of news) {
      await inTransaction(client, file, async () => {
        await client.query(sql)
        await client.query('insert into rota_migrations.applied (name, checksum) values ($1, $2)', [name, checksum])
      })
    }
    return news.map(({ name }) => name)
  })
}

/** Takes back the last `count` of the folders' applied files (default: all), last first. Answers their names. */
export async function migrateDown(client: ClientBase, dirs: string[], count = Number.POSITIVE_INFINITY): Promise<string[]> {
  const known = readFolders(dirs)
  return locked(client, async () => {
    const applied = await readApplied(client)
    const back = known
      .filter(({ name }) => applied.has(name))
      .reverse()
      .slice(0, count)
    for (const { file, name } of back) {
      const downFile = file.replace(/\.sql$/, '.down.sql')
      const sql = readDown(downFile)
      await inTransaction(client, downFile, async () => {
        await client.query(sql)
        await client.query('delete from rota_migrations.applied where name = $1', [name])
      })
    }
    return back.map(({ name }) => name)
  })
}

function readFolders(dirs: string[]): Migration[] {
  const all = dirs.flatMap(readFolder)
  const seen = new Map<string, string>()
  for (const { name, file } of all) {
    const other = seen.get(name)
    if (other !== undefined) throw new Error(`${other} and ${file} have the same name; an applied file is known by its name, so give one another.`)
    seen.set(name, file)
  }
  return all
}

function readFolder(dir: string): Migration[] {
  const names = readdirSync(dir)
    .filter((name) => name.endsWith('.sql') && !name.endsWith('.down.sql'))
    .sort()
  const numbers = new Set<string>()
  return names.map((name) => {
    const number = /^(\d{4})_[a-z0-9_]+\.sql$/.exec(name)?.[1]
    if (number === undefined) throw new Error(`${path.join(dir, name)} is not named like 0001_what_it_does.sql.`)
    if (numbers.has(number)) throw new Error(`Two files in ${dir} have the number ${number}; their order would be chance.`)
    numbers.add(number)
    const file = path.join(dir, name)
    const sql = readFileSync(file, 'utf8')
    // Line ends differ between checkouts on Windows and elsewhere; that is no change.
    return { name, file, sql, checksum: createHash('sha256').update(sql.replaceAll('\r\n', '\n')).digest('hex') }
  })
}

function readDown(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new Error(`There is no way back: ${file} is missing.`, { cause })
  }
}

async function readApplied(client: ClientBase): Promise<Map<string, string>> {
  // A schema of its own: what is in "public" is offered to clients.
  await client.query(`
    create schema if not exists rota_migrations;
    create table if not exists rota_migrations.applied (
      name text primary key, checksum text not null, applied_at timestamptz not null default now()
    )`)
  const { rows } = await client.query<{ name: string; checksum: string }>('select name, checksum from rota_migrations.applied')
  return new Map(rows.map(({ name, checksum }) => [name, checksum]))
}

async function locked<T>(client: ClientBase, work: () => Promise<T>): Promise<T> {
  await client.query('select pg_advisory_lock($1)', [LOCK])
  try {
    return await work()
  } finally {
    await client.query('select pg_advisory_unlock($1)', [LOCK])
  }
}

async function inTransaction(client: ClientBase, file: string, work: () => Promise<void>): Promise<void> {
  await client.query('begin')
  try {
    await work()
    await client.query('commit')
  } catch (cause) {
    await client.query('rollback')
    const { message, position } = cause as Error & { position?: string }
    const line = position === undefined ? '' : `, line ${readFileSync(file, 'utf8').slice(0, Number(position)).split('\n').length}`
    throw new Error(`${path.basename(file)}${line}: ${message}. Nothing of this file was applied.`, { cause })
  }
}
