/**
 * The gateway's connections to PostgreSQL. The gateway itself is the owner; whatever it does for a client runs in a
 * transaction that has first become that client: role, claims and a time limit, all local to the transaction.
 */

import pg from 'pg'
import type { Limits } from './options.js'
import type { Role } from './tokens.js'

/** Anything that runs one statement: a pool, a client, or a transaction of either. */
export interface Queryable {
  query<R extends pg.QueryResultRow = pg.QueryResultRow>(text: string, values?: unknown[]): Promise<pg.QueryResult<R>>
}

/** Both the pull and the stream must spell a time the same way, or one fact would look like two. */
export const SESSION_SETTINGS = '-c TimeZone=UTC -c DateStyle=ISO,MDY -c IntervalStyle=postgres -c extra_float_digits=1'

/** No connection to be had: nothing was done. */
export class DatabaseAway extends Error {}

export interface CallerIdentity {
  role: Role
  claimsJson: string
}

export class Database implements Queryable {
  readonly #pool: pg.Pool
  readonly #open = new Set<pg.PoolClient>()
  readonly #statementMs: number
  #closed = false

  constructor(
    readonly url: string,
    limits: Limits,
    log: (line: string) => void,
    connections: number,
  ) {
    this.#statementMs = limits.statementMs
    this.#pool = new pg.Pool({
      connectionString: url,
      max: connections,
      connectionTimeoutMillis: 5_000,
      options: SESSION_SETTINGS,
      keepAlive: true,
    })
    this.#pool.on('connect', (client) => {
      this.#open.add(client)
      // A client in use reports the same failure through its query; without a listener it would end the process.
      client.on('error', () => {})
    })
    this.#pool.on('remove', (client) => this.#open.delete(client))
    this.#pool.on('error', (error) => {
      if (!this.#closed) log(`database: idle connection lost: ${error.message}`)
    })
  }

  /** As the owner, outside any transaction of a client. */
  query<R extends pg.QueryResultRow = pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<pg.QueryResult<R>> {
    return this.#pool.query<R>(text, values)
  }

  /** As the owner, in one transaction. */
  transaction<T>(work: (client: Queryable) => Promise<T>): Promise<T> {
    return this.#within('begin', work)
  }

  /** As the caller, in one transaction; nothing set here outlives it. */
  asCaller<T>(caller: CallerIdentity, access: 'read only' | 'read write', work: (client: Queryable) => Promise<T>): Promise<T> {
    return this.#within(`begin ${access}`, async (client) => {
      await client.query(
        "select set_config('role', $1, true), set_config('request.jwt.claims', $2, true), set_config('statement_timeout', $3, true)",
        [caller.role, caller.claimsJson, String(this.#statementMs)],
      )
      return work(client)
    })
  }

  async #within<T>(begin: string, work: (client: Queryable) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect().catch((error: Error) => {
      throw new DatabaseAway(error.message)
    })
    let broken: Error | undefined
    try {
      await client.query(begin)
      const result = await work(client)
      await client.query('commit')
      return result
    } catch (error) {
      await client.query('rollback').catch((failure: Error) => {
        broken = failure
      })
      throw error
    } finally {
      // A connection that could not roll back may still be someone else: it is thrown away, not reused.
      client.release(broken)
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#pool.end()
  }

  /** Cuts every connection at once; what was running fails. */
  kill(): void {
    this.#closed = true
    for (const client of this.#open) destroyStream(client)
    this.#pool.end().catch(() => {})
  }
}

/** `pg` has no public way to cut a connection without a goodbye. */
export function destroyStream(client: pg.ClientBase): void {
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } }
  connection?.stream?.destroy()
}
