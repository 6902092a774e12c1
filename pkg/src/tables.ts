import { RotaError } from './errors.js'
import type { DeepReadonly, Key, MergeRule, TemporaryKey } from './types.js'

/** The fields of `T` that are text keys. */
type Field<T> = keyof T & string

/** The domain of a table's records; its fields are those of `PROTOCOL.md`, section 10, where none are named here. */
export type Domain =
  /**
   * `operators`: the table that operators are in; `capacity`: how many chats one may have where their row does not say; `activity`: the table of
   * their signs of life, `operator_activity`, where it is synced.
   */
  | { readonly kind: 'chat'; readonly operators?: string; readonly capacity?: number; readonly activity?: string }
  | { readonly kind: 'availability' }
  /** `active`: the states in which one goes on; the others name fields. */
  | {
      readonly kind: 'interaction'
      readonly active: readonly string[]
      readonly status?: string
      readonly campaign?: string
      readonly turn?: string
      readonly action?: string
    }
  | { readonly kind: 'form'; readonly status?: string }
  /** `rights`: the fields whose change has everything looked at anew; `role` by default. */
  | { readonly kind: 'profile'; readonly rights?: readonly string[] }

/** How a table is declared. */
export interface TableOptions<T> {
  /** The field, or fields, that make the key. */
  readonly key: Field<T> | readonly Field<T>[]
  /** All fields, the key's included. */
  readonly fields: readonly Field<T>[]
  /** The field that `assign` sets. */
  readonly owner?: Field<T>
  /** Where to find an owner's name: a declared table whose key is the owner's id, and its field. */
  readonly ownerName?: { readonly table: string; readonly field: string }
  /** True where the server gives the keys: an insert may then come without one. For tables with a key of one field. */
  readonly temporaryKeys?: boolean
  /** How conflicts are decided, by field; where nothing is declared, by a person. */
  readonly merge?: { readonly [N in Field<T>]?: MergeRule }
  /** The fields that views may filter, sort, group and sum by, at most 64; the key's always are. Views hold these values, so list what is needed. */
  readonly indexed?: readonly Field<T>[]
  /** The column of the record's version; `rota_version` by default. */
  readonly version?: string
  /** How versions are ordered: as integers, by default; as RFC 3339 times, by instant; as text, by code point. */
  readonly versionOrder?: 'integer' | 'timestamp' | 'string'
  /** The column of the operation that wrote the record; `rota_op` by default. */
  readonly operation?: string
  /** The domain that the records are of, and what its rules need to know of the table. */
  readonly domain?: Domain
  /** Fields whose values never leave the engine in a trace. */
  readonly secret?: readonly Field<T>[]
}

declare const recordType: unique symbol

/** A declared table of records of type `T`. */
export interface Table<T extends object> extends TableOptions<T> {
  readonly [recordType]?: T
}

/** What tells a table that was declared without an owner. */
export interface Unowned {
  readonly owner?: undefined
}

/** What tells a table whose keys the server gives. */
export interface Unkeyed {
  readonly temporaryKeys: true
}

/** What tells a table of a domain. */
export interface OfDomain<K extends Domain['kind']> {
  readonly domain: Extract<Domain, { readonly kind: K }>
}

/** The fields of a chat that its operations alone set. */
type ChatOwn = 'chat_state' | 'assigned_operator_id' | 'last_operator_id' | 'operator_replied_at' | 'assigned_at'

/** Declared tables by name. */
// The record types differ from table to table, and `Table` is invariant in its record's: only `any` fits them all.
// oxlint-disable-next-line typescript/no-explicit-any
export type Tables = Readonly<Record<string, Table<any>>>

/** The names of the tables whose records have an owner. */
export type OwnedName<T extends Tables> = { [N in keyof T & string]: T[N] extends Unowned ? never : N }[keyof T & string]

/** The names of the tables of a domain. */
export type DomainName<T extends Tables, K extends Domain['kind']> = { [N in keyof T & string]: T[N] extends OfDomain<K> ? N : never }[keyof T & string]

/** The record type of a declared table, as the store hands it out. */
export type RecordOf<X> = X extends Table<infer T> ? DeepReadonly<T> : never

/** The record type of a declared table, as an application writes it. */
export type InputOf<X> = X extends Table<infer T> ? T : never

/** What an insert takes: the whole record, or, where the server gives the key, all but that one field. */
export type InsertOf<X> = Referring<InputOf<X>> | (X extends Unkeyed ? AllButOne<Referring<InputOf<X>>> : never)

/** What a patch takes: what is a chat's own is set by the operations of chats alone. */
export type PatchOf<X> = X extends OfDomain<'chat'> ? Partial<Omit<Referring<InputOf<X>>, ChatOwn>> & { readonly [F in ChatOwn]?: never } : Partial<Referring<InputOf<X>>>

/** A number may be the key of a record that has none yet. */
type Referring<R> = { [F in keyof R]: R[F] | (Extract<R[F], number> extends never ? never : TemporaryKey) }

type AllButOne<R> = { [F in keyof R]: Omit<R, F> & { readonly [K in F]?: never } }[keyof R]

/**
 * Declares a table.
 *
 * ```ts
 * const companies = table<Company>({ key: 'id', fields: ['id', 'name', 'owner_id'], owner: 'owner_id' })
 * ```
 */
export function table<T extends object>(options: TableOptions<T> & Unowned & Unkeyed & OfDomain<'chat'>): Table<T> & Unowned & Unkeyed & OfDomain<'chat'>
export function table<T extends object>(options: TableOptions<T> & Unowned & OfDomain<'chat'>): Table<T> & Unowned & OfDomain<'chat'>
export function table<T extends object>(options: TableOptions<T> & Unowned & Unkeyed & OfDomain<'availability'>): Table<T> & Unowned & Unkeyed & OfDomain<'availability'>
export function table<T extends object>(options: TableOptions<T> & Unkeyed & OfDomain<'availability'>): Table<T> & Unkeyed & OfDomain<'availability'>
export function table<T extends object>(options: TableOptions<T> & Unowned & OfDomain<'availability'>): Table<T> & Unowned & OfDomain<'availability'>
export function table<T extends object>(options: TableOptions<T> & OfDomain<'availability'>): Table<T> & OfDomain<'availability'>
export function table<T extends object>(options: TableOptions<T> & Unowned & Unkeyed & OfDomain<'profile'>): Table<T> & Unowned & Unkeyed & OfDomain<'profile'>
export function table<T extends object>(options: TableOptions<T> & Unkeyed & OfDomain<'profile'>): Table<T> & Unkeyed & OfDomain<'profile'>
export function table<T extends object>(options: TableOptions<T> & Unowned & OfDomain<'profile'>): Table<T> & Unowned & OfDomain<'profile'>
export function table<T extends object>(options: TableOptions<T> & OfDomain<'profile'>): Table<T> & OfDomain<'profile'>
export function table<T extends object>(options: TableOptions<T> & Unowned & Unkeyed & OfDomain<'form'>): Table<T> & Unowned & Unkeyed & OfDomain<'form'>
export function table<T extends object>(options: TableOptions<T> & Unkeyed & OfDomain<'form'>): Table<T> & Unkeyed & OfDomain<'form'>
export function table<T extends object>(options: TableOptions<T> & Unowned & OfDomain<'form'>): Table<T> & Unowned & OfDomain<'form'>
export function table<T extends object>(options: TableOptions<T> & OfDomain<'form'>): Table<T> & OfDomain<'form'>
export function table<T extends object>(options: TableOptions<T> & Unowned & Unkeyed & OfDomain<'interaction'>): Table<T> & Unowned & Unkeyed & OfDomain<'interaction'>
export function table<T extends object>(options: TableOptions<T> & Unkeyed & OfDomain<'interaction'>): Table<T> & Unkeyed & OfDomain<'interaction'>
export function table<T extends object>(options: TableOptions<T> & Unowned & OfDomain<'interaction'>): Table<T> & Unowned & OfDomain<'interaction'>
export function table<T extends object>(options: TableOptions<T> & OfDomain<'interaction'>): Table<T> & OfDomain<'interaction'>
export function table<T extends object>(options: TableOptions<T> & Unowned & Unkeyed): Table<T> & Unowned & Unkeyed
export function table<T extends object>(options: TableOptions<T> & Unkeyed): Table<T> & Unkeyed
export function table<T extends object>(options: TableOptions<T> & Unowned): Table<T> & Unowned
export function table<T extends object>(options: TableOptions<T>): Table<T>
export function table<T extends object>(options: TableOptions<T>): Table<T> {
  return options
}

/** The fields that make the key, in their declared order. */
export function keyFields({ key }: Pick<Tables[string], 'key'>): string[] {
  return typeof key === 'string' ? [key] : [...(key ?? [])]
}

/** What the engine is told of a table. */
export function describeTable(name: string, { key, fields, owner, temporaryKeys, merge, indexed, version, versionOrder, operation, secret, domain }: Tables[string]): Record<string, unknown> {
  return {
    name,
    key: keyFields({ key }),
    fields: [...(fields ?? [])],
    ...(owner === undefined ? {} : { owner }),
    ...(temporaryKeys === undefined ? {} : { temporaryKeys }),
    ...(merge === undefined ? {} : { merge }),
    ...(indexed === undefined ? {} : { indexed: [...indexed] }),
    ...(version === undefined ? {} : { version }),
    ...(versionOrder === undefined ? {} : { versionOrder }),
    ...(operation === undefined ? {} : { operation }),
    ...(secret === undefined ? {} : { secret: [...secret] }),
    ...(domain === undefined ? {} : { domain }),
  }
}

/** The text form of a key, under which the store knows the record (`PROTOCOL.md` §1). */
export function keyText(key: Key): string {
  if (typeof key === 'string') return key
  if (typeof key === 'number') return numberText(key)
  // A key of one part is that part, in a list or not.
  if (Array.isArray(key) && key.length === 1) return keyText(key[0] as Key)
  if (Array.isArray(key) && key.length > 0) return JSON.stringify(key.map((part) => (typeof part === 'number' ? numberText(part) : requireText(part))))
  return requireText(key)
}

function numberText(part: number): string {
  if (Number.isSafeInteger(part)) return String(part)
  throw new RotaError('missing-key', `a key must be text, an integer or a list of these, not ${part}`)
}

function requireText(part: unknown): string {
  if (typeof part === 'string') return part
  throw new RotaError('missing-key', `a key must be text, an integer or a list of these, not ${part === null ? 'null' : typeof part}`)
}
