// The change feed under a slow reader: its cursor misses nothing while eight writers commit late and out of order. The same
// reader with a plain serial number for a cursor does miss changes, which shows that the test would notice.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createWorld, type Json, RUTH, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

const WRITERS = 8
const WRITES = 40
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Each writer changes records of its own, several in a transaction, and now and then sits on a change before it commits. */
async function write(prefix: string, at: number): Promise<void> {
  for (let turn = 0; turn < WRITES; turn += 1) {
    const connection = await world.open()
    try {
      const key = `${prefix}${String(at).padStart(2, '0')}${String(turn).padStart(2, '0')}`
      await connection.query(`insert into companies (id, name, department) values ($1, 'Fresh', 'Sales')`, [key])
      await pause((at * 7 + turn * 13) % 40)
      if (turn % 5 === 4) await connection.query('delete from companies where id = $1', [`${key.slice(0, -2)}${String(turn - 1).padStart(2, '0')}`])
      await connection.query(turn % 9 === 8 ? 'rollback' : 'commit')
    } finally {
      connection.release()
    }
  }
}

interface Reader {
  read(into: Map<string, boolean>): Promise<void>
}

/** Reads with pauses while all write, and once more when all have; answers what it knows and what is really there. */
async function follow(prefix: string, reader: Reader): Promise<{ known: string[]; real: string[] }> {
  const known = new Map<string, boolean>()
  await reader.read(known)
  const over = new AbortController()
  const reading = (async () => {
    while (!over.signal.aborted) {
      await pause(25)
      await reader.read(known)
    }
  })()
  await Promise.all(Array.from({ length: WRITERS }, (_, at) => write(prefix, at)))
  over.abort()
  await reading
  await reader.read(known)
  const mine = (key: string) => key.startsWith(prefix)
  const { rows } = await world.owner.query<{ id: string }>('select id from companies')
  return {
    known: [...known].filter(([key, there]) => there && mine(key)).map(([key]) => key).sort(),
    real: rows.map(({ id }) => id).filter(mine).sort(),
  }
}

/** The protocol's cursor, by pulls as a client makes them. */
function byCursor(): Reader {
  let cursor: string | null = null
  return {
    read: async (into) => {
      const answer = await world.as(RUTH).pull({ cursor })
      for (const row of answer['records'].companies ?? []) into.set(row.id, true)
      for (const { key } of answer['gone']) into.set(key, false)
      cursor = answer['cursor']
    },
  }
}

/** What one would write first: everything with a number above the highest seen. */
function bySerial(): Reader {
  let highest = '0'
  return {
    read: async (into) => {
      const { rows } = await world.owner.query<Json>(
        `select key, version::text, deleted from rota.feed where table_name = 'companies' and version > $1 order by version`,
        [highest],
      )
      for (const { key, deleted, version } of rows) {
        into.set(key as string, !deleted)
        highest = version as string
      }
    },
  }
}

test('a slow reader beside eight concurrent writers misses nothing by its cursor', async () => {
  const { known, real } = await follow('c-71', byCursor())
  expect(real.length).toBeGreaterThan(200)
  expect(known).toEqual(real)
})

test('the same reader with a plain serial number for a cursor misses changes', async () => {
  const { known, real } = await follow('c-72', bySerial())
  expect(known).not.toEqual(real)
  expect(real.filter((key) => !known.includes(key)).length).toBeGreaterThan(0)
})
