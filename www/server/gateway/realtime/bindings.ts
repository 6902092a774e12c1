/**
 * Reads the configuration of a join: what a channel wants to hear. What cannot be served is refused with a reason; a
 * binding that is accepted is echoed exactly as it came, because the client compares.
 */

import { randomUUID } from 'node:crypto'
import type { Database } from '../database.js'
import type { Limits } from '../options.js'
import { JoinRefused, compileFilter, parseFilter, type RowTest } from './filters.js'
import { isObject } from './frames.js'

export type ChangeType = 'INSERT' | 'UPDATE' | 'DELETE'

export interface Binding {
  id: number
  schema: string
  /** Absent: every published table of the schema. */
  table: string | undefined
  /** Absent: every type. */
  type: ChangeType | undefined
  passes: RowTest
  /** What the reply shows: the client's own item, with the id. */
  echo: Record<string, unknown>
}

interface WantedBinding {
  item: Record<string, unknown>
  schema: string
  table: string | undefined
  type: ChangeType | undefined
  filter: string | undefined
}

export async function readBindings(payload: unknown, db: Database, limits: Limits): Promise<Binding[]> {
  const config = isObject(payload) ? (payload['config'] ?? {}) : undefined
  if (!isObject(config)) throw new JoinRefused('MalformedJoin: config must be an object')
  refuseOtherExtensions(config)
  const items = config['postgres_changes'] ?? []
  if (!Array.isArray(items)) throw new JoinRefused('MalformedJoin: postgres_changes must be a list')
  if (items.length > limits.bindingsPerChannel) {
    throw new JoinRefused(`TooManyBindings: a channel has at most ${limits.bindingsPerChannel} postgres_changes bindings`)
  }
  const wanted = items.map(readItem)
  const published = wanted.length > 0 ? await publishedTables(db) : new Map<string, Set<string>>()
  return Promise.all(wanted.map((binding) => resolve(binding, published, db)))
}

/** The key under which a channel is present; nothing where it did not ask for presence. */
export function readPresenceKey(payload: unknown): string | undefined {
  const config = isObject(payload) ? payload['config'] : undefined
  const presence = isObject(config) ? (config['presence'] ?? {}) : {}
  if (!isObject(presence)) throw new JoinRefused('MalformedJoin: presence must be an object')
  if (presence['enabled'] !== true) return undefined
  const key = presence['key'] ?? ''
  if (typeof key !== 'string' || key.length > PRESENCE_KEY_LENGTH_MAX) throw new JoinRefused('MalformedJoin: the presence key must be a short string')
  return key === '' ? randomUUID() : key
}

const PRESENCE_KEY_LENGTH_MAX = 255

function refuseOtherExtensions(config: Record<string, unknown>): void {
  const { broadcast } = config
  if (config['private'] === true) throw new JoinRefused('Unsupported: private channels are not served here')
  const asksBroadcast = isObject(broadcast) && Object.values(broadcast).some((value) => value !== false && value !== null)
  if (asksBroadcast) throw new JoinRefused('Unsupported: broadcast is not served here')
  const options = config['postgres_changes_options']
  if (isObject(options) && options['wait'] === true) throw new JoinRefused('Unsupported: postgres_changes_options.wait is not served here')
}

function readItem(item: unknown): WantedBinding {
  if (!isObject(item)) throw new JoinRefused('MalformedJoin: a postgres_changes binding must be an object')
  const { event, schema = 'public', table, filter, select } = item
  // The item is sent back: a scalar is all that may hide in it.
  const plain = Object.values(item).every((value) => typeof value !== 'object' || value === null || value === select)
  if (!plain) throw new JoinRefused('MalformedJoin: a postgres_changes binding holds a nested value')
  if (select !== undefined && select !== null) throw new JoinRefused('Unsupported: select in a postgres_changes binding is not served here')
  if (typeof event !== 'string' || !/^(\*|insert|update|delete)$/i.test(event)) {
    throw new JoinRefused('MalformedJoin: event must be *, INSERT, UPDATE or DELETE')
  }
  if (typeof schema !== 'string') throw new JoinRefused('MalformedJoin: schema must be a string')
  if (!isAbsentOrString(table) || !isAbsentOrString(filter)) throw new JoinRefused('MalformedJoin: table and filter must be strings')
  const named = table === '*' ? undefined : (table ?? undefined)
  if (filter && named === undefined) throw new JoinRefused('MalformedJoin: a filter needs a table')
  const type = event === '*' ? undefined : (event.toUpperCase() as ChangeType)
  return { item, schema, table: named, type, filter: filter ? filter : undefined }
}

async function resolve({ item, schema, table, type, filter }: WantedBinding, published: Map<string, Set<string>>, db: Database): Promise<Binding> {
  const tables = published.get(schema)
  if (tables === undefined || (table !== undefined && !tables.has(table))) {
    throw new JoinRefused(`UnableToSubscribe: ${schema}.${table ?? '*'} is not in the publication supabase_realtime`)
  }
  const passes = filter === undefined || table === undefined ? everyRow : await compileFilter(db, schema, table, parseFilter(filter))
  const id = bindingId(`${schema}.${table ?? '*'} ${type ?? '*'} ${filter ?? ''}`)
  return { id, schema, table, type, passes, echo: { ...item, id } }
}

async function publishedTables(db: Database): Promise<Map<string, Set<string>>> {
  const { rows } = await db.query<{ schemaname: string; tablename: string }>(
    "select schemaname, tablename from pg_publication_tables where pubname = 'supabase_realtime'",
  )
  const tables = new Map<string, Set<string>>()
  for (const { schemaname, tablename } of rows) {
    const known = tables.get(schemaname) ?? new Set()
    tables.set(schemaname, known.add(tablename))
  }
  return tables
}

const everyRow: RowTest = () => true

/** FNV-1a, as a positive number that is never 0: clients test the id for truth. */
function bindingId(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 1) + 1
}

function isAbsentOrString(value: unknown): value is string | null | undefined {
  return value === undefined || value === null || typeof value === 'string'
}
