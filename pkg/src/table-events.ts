import { Beginning } from './beginning.js'
import { RotaError } from './errors.js'
import { callSafely } from './mirror.js'
import { keyFields, keyText, type RecordOf, type Tables } from './tables.js'
import type { Changes, Key } from './types.js'
import { readsTheSame } from './values.js'
import type { Filter, ViewSpec } from './viewing.js'

/** A record came, changed, or went. */
export interface RecordEvent<R> {
  readonly type: 'inserted' | 'updated' | 'deleted'
  readonly key: string
  /** As it shows now; of one that is gone, as it was. */
  readonly record: R
  /** As it showed before; nothing of one that is new. */
  readonly before: R | undefined
}

/** Which records to hear of. */
export type WatchSpec<T extends Tables> = { [N in keyof T & string]: { readonly table: N; readonly filter?: Filter<RecordOf<T[N]>> } }[keyof T & string]

/** What of a store is needed here. */
interface Watched {
  readonly tables: Tables
  readonly openedAtMs: number
  status(): { readonly ready: boolean }
  all(table: string): readonly object[]
  subscribe(listener: (changes: Changes) => void): () => void
  readonly views: { open(spec: ViewSpec<Tables>): { rows(): readonly object[]; passes(key: string): boolean; close(): void } }
}

/**
 * Tells what comes, changes and goes in a table, as soon as it shows. With a filter, what begins to pass it comes, and what passes it no more
 * goes. What the first fetch brings did not come now, a record that gets its real key is the same one, and what changes no declared field changes nothing.
 */
export function watchTable(store: Watched, given: { readonly table: string; readonly filter?: unknown }, listener: (event: RecordEvent<object>) => void): () => void {
  const { table, filter } = given
  const view = filter === undefined ? undefined : store.views.open({ table, filter } as ViewSpec<Tables>)
  const rows = () => view?.rows() ?? store.all(table)
  const fields = keyFields(store.tables[table] ?? { key: 'id' })
  const keyOf = (record: object) => keyText(fields.map((field) => (record as Record<string, Key>)[field]) as unknown as Key)
  const declared = store.tables[table]?.fields ?? []
  const known = new Map(rows().map((record) => [keyOf(record), record]))
  const beginning = new Beginning(() => store.status().ready, store.openedAtMs)
  const tell = (event: RecordEvent<object>) => callSafely(() => listener(event))
  const take = (changes: Changes): void => {
    const { records, renamed } = changes
    const isNews = beginning.look(changes)
    for (const { table: of, from, to } of renamed ?? []) {
      const record = of === table ? known.get(from) : undefined
      if (record && known.delete(from)) known.set(to, record)
    }
    for (const { table: of, key, record } of records) {
      if (of !== table) continue
      // Not by all rows of the view: there may be many, and one change.
      const [before, after] = [known.get(key), record && (view?.passes(key) ?? true) ? record : undefined]
      if (after) known.set(key, after)
      else known.delete(key)
      // The row that confirms a change shows the same once more.
      if (!isNews(table, key) || readsTheSame(declared, before, after)) continue
      if (after) tell({ type: before ? 'updated' : 'inserted', key, record: after, before })
      else if (before) tell({ type: 'deleted', key, record: before, before })
    }
  }
  const stop = store.subscribe(take)
  return () => {
    stop()
    view?.close()
    known.clear()
  }
}

/** Refuses what names no table. */
export function requireWatch(given: unknown, tables: Tables, listener: unknown): void {
  if (typeof given !== 'object' || given === null || typeof listener !== 'function') throw new RotaError('invalid-operation', 'watch takes { table, filter? } and a function')
  const { table } = given as { table?: unknown }
  if (typeof table !== 'string' || !Object.hasOwn(tables, table)) throw new RotaError('unknown-table', `there is no table "${String(table)}"`)
}
