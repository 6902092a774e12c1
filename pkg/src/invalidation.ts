import { defaultRules } from './init.js'
import type { Tables } from './tables.js'
import type { Value } from './types.js'

/** Which cached queries a change of the server's makes stale. It names keys, or everything. */
export type InvalidationRule = {
  /** Of these tables; of whichever, where none are named. */
  readonly tables?: readonly string[]
  /** Only where one of these fields has changed. */
  readonly changed?: readonly string[]
  /** Only where none of these has. */
  readonly unchanged?: readonly string[]
} & (
  | {
      /** At most 64. In a key, `$table` and `$key` stand for those of what has changed, the key as its record has it: text or a number. */
      readonly keys: readonly QueryKey[]
      readonly everything?: false
    }
  | { readonly everything: true; readonly keys?: readonly [] }
)

/** The key of a query in another cache. */
export type QueryKey = readonly Value[]

/** What other caches hold, and should fetch again. */
export interface Stale {
  /** All of it; then no key is named. */
  readonly everything: boolean
  /** Each once. */
  readonly keys: readonly QueryKey[]
}

/** The rules that applications know already, for the tables of a store, and of what they are about only what is there. */
export function defaultInvalidations(tables: Tables): readonly InvalidationRule[] {
  const owned = Object.entries(tables).flatMap(([name, { owner }]) => (owner === undefined ? [] : [name, owner]))
  const rules = defaultRules(owned) as readonly InvalidationRule[]
  const hasField = (rule: InvalidationRule, field: string) => rule.tables?.some((name) => tables[name]?.fields.includes(field))
  return rules
    .filter((rule) => rule.tables?.every((name) => Object.hasOwn(tables, name)) && (rule.changed ?? []).every((field) => hasField(rule, field)))
    .map((rule) => {
      const { unchanged = [], ...rest } = rule
      // A field that is not there never changes.
      return unchanged.every((field) => hasField(rule, field)) ? rule : (rest as InvalidationRule)
    })
}

/** Puts together what two change lists make stale. */
export function bothStale(one: Stale | undefined, other: Stale | undefined): Stale | undefined {
  if (!one || !other) return one ?? other
  if (one.everything || other.everything) return { everything: true, keys: [] }
  const known = new Set(one.keys.map((key) => JSON.stringify(key)))
  return { everything: false, keys: [...one.keys, ...other.keys.filter((key) => !known.has(JSON.stringify(key)))] }
}
