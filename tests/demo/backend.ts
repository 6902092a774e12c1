/** What stands behind the pages of a suite that `startForSuite` has started: the gateway, to be stopped and broken, and the database. */

import pg from 'pg'
import { inject } from 'vitest'
import type { Faults, GatewayStats } from '../../www/server/gateway/index.js'
import { DEMO_PEOPLE, type DemoPerson } from '../../www/server/people.js'
import type { Command } from './setup.js'

/** The demo's people, by first name. */
export const people = {
  maya: personOf('Maya'),
  jonas: personOf('Jonas'),
  aiko: personOf('Aiko'),
  priya: personOf('Priya'),
  tomas: personOf('Tomás'),
  lena: personOf('Lena'),
  samuel: personOf('Samuel'),
  ruth: personOf('Ruth'),
}

function personOf(firstName: string): DemoPerson {
  const person = DEMO_PEOPLE.find(({ name }) => name.startsWith(firstName))
  if (!person) throw new Error(`nobody in the demo is called ${firstName}`)
  return person
}

/** The gateway, which every tab talks to. */
export const gateway = {
  /** `kill` cuts every connection, as a crash does; `close` says goodbye. */
  stop: (how: 'close' | 'kill' = 'kill') => command<null>({ do: 'stop', how }),
  /** Starts it again, on the same port. Its faults are off then. */
  start: () => command<null>({ do: 'start' }),
  faults: (faults: Partial<Faults>) => command<null>({ do: 'faults', faults }),
  stats: () => command<GatewayStats>({ do: 'stats' }),
}

const NO_FAULTS: Faults = {
  delayRestMs: 0,
  dropNextRest: 0,
  dropNextRestAnswer: 0,
  duplicateFrames: 0,
  dropFrames: 0,
  halfOpen: false,
  systemDelayMs: 0,
}

/** Before each test: the gateway is up and well, the data is as it was at first, and the ledger is empty. */
export async function putBack(db: DemoDatabase): Promise<void> {
  await gateway.start()
  await gateway.faults(NO_FAULTS)
  await command({ do: 'reset' })
  await db.client.query('delete from rota.ledger')
}

async function command<T>(what: Command): Promise<T> {
  const response = await fetch(inject('controlUrl'), { method: 'POST', body: JSON.stringify(what) })
  if (!response.ok) throw new Error(await response.text())
  return (await response.json()) as T
}

/** The database, as its owner. */
export class DemoDatabase {
  readonly client = new pg.Client({ connectionString: inject('databaseUrl') })

  /** The id of a record's owner; null for nobody. */
  async ownerOf(table: 'companies' | 'leads', key: string): Promise<string | null> {
    const { rows } = await this.client.query<{ owner_id: string | null }>(`select owner_id from ${table} where id = $1`, [key])
    if (!rows[0]) throw new Error(`${table} has no ${key}`)
    return rows[0].owner_id
  }

  /** Changes an owner behind everybody's back. */
  async setOwner(table: 'companies' | 'leads', key: string, personId: string | null): Promise<void> {
    await this.client.query(`update ${table} set owner_id = $2 where id = $1`, [key, personId])
  }

  /** A record of a department whose owner is not one of these; the `skip`-th of them. */
  async recordOf(
    table: 'companies' | 'leads',
    department: DemoPerson['department'],
    notOwnedBy: readonly (DemoPerson | null)[] = [],
    skip = 0,
  ): Promise<string> {
    const { rows } = await this.client.query<{ id: string }>(
      `select id from ${table} where department = $1 and coalesce(owner_id::text, '') <> all ($2) order by id offset $3 limit 1`,
      [department, notOwnedBy.map((person) => person?.id ?? ''), skip],
    )
    if (!rows[0]) throw new Error(`${table} of ${department} has no such record`)
    return rows[0].id
  }

  /** How often the ledger has an operation on this record, by outcome. */
  async decisionsOn(table: 'companies' | 'leads', key: string): Promise<readonly { id: string; outcome: string }[]> {
    const { rows } = await this.client.query<{ id: string; outcome: string }>(
      `select id, answer ->> 'outcome' as outcome from rota.ledger where op ->> 'table' = $1 and op ->> 'key' = $2 order by id`,
      [table, key],
    )
    return rows
  }
}
