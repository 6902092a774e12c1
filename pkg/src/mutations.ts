import { RotaError } from './errors.js'
import { keyFields, keyText, type DomainName, type InsertOf, type PatchOf, type Tables, type Unowned } from './tables.js'
import type { Key, TemporaryKey } from './types.js'
import { givenObject, readsTheSame } from './values.js'

/** Operations that another one depends on: it is sent after they are confirmed, and ends with them if they are not. At most a hundred. */
export type After = readonly string[]

/** What may be done to chats, each with its arguments (`PROTOCOL.md` §10). Only `request_next` names no chat: the server chooses it. */
export type ChatMutation<N extends string> = {
  readonly table: N
  readonly after?: After
} & (
  | { readonly name: 'request_next'; readonly operator: string; readonly key?: never }
  | { readonly name: 'claim'; readonly key: Key; readonly operator: string }
  | { readonly name: 'release'; readonly key: Key; readonly reason: string }
  | { readonly name: 'transfer'; readonly key: Key; readonly to: string }
  | { readonly name: 'reply' | 'user_message' | 'unassign_chat' | 'complete'; readonly key: Key }
)

/** Something to do to a record. */
export type Mutation<T extends Tables> = PlainMutation<T> | ChatMutation<DomainName<T, 'chat'>>

type PlainMutation<T extends Tables> = {
  [N in keyof T & string]:
    | { readonly name: 'insert'; readonly table: N; readonly record: InsertOf<T[N]>; readonly after?: After }
    | { readonly name: 'patch'; readonly table: N; readonly key: Key; readonly set: PatchOf<T[N]>; readonly after?: After }
    | { readonly name: 'delete'; readonly table: N; readonly key: Key; readonly after?: After }
    | (T[N] extends Unowned ? never : { readonly name: 'assign'; readonly table: N; readonly key: Key; readonly to: string | null; readonly after?: After })
}[keyof T & string]

type AnyMutation = PlainMutation<Tables> | ChatMutation<string>

/** A mutation as the engine is told of it. */
export interface Command {
  readonly name: string
  readonly table: string
  readonly key?: string
  readonly set?: Readonly<Record<string, unknown>>
  readonly args?: Readonly<Record<string, unknown>>
  readonly after?: readonly string[]
}

/** What is to be known of the records that mutations are about. */
export interface Known {
  readonly tables: Tables
  get(table: string, key: string): object | undefined
}

/** Copies a mutation into the form that the engine reads. */
export function commandOf(mutation: AnyMutation, known: Known): Command {
  const command = writable(targetOf(mutation), known)
  const { after } = mutation
  if (after === undefined) return command
  if (!Array.isArray(after) || !after.every((id) => typeof id === 'string')) throw new RotaError('invalid-operation', '"after" is a list of operation ids')
  return { ...command, after: [...after] }
}

/** The same for the parts of a transaction; what is wrong with one says which one it is. */
export function commandsOf(mutations: readonly AnyMutation[], known: Known): Command[] {
  if (!Array.isArray(mutations)) throw new RotaError('invalid-operation', 'transact takes a list of mutations')
  return Array.from(mutations as readonly AnyMutation[], (mutation, index) => {
    try {
      return commandOf(mutation, known)
    } catch (error) {
      if (error instanceof RotaError) throw new RotaError(error.code, `mutation ${index}: ${error.reason}`)
      throw error
    }
  })
}

/**
 * Leaves out what whoever writes back a record that was read does not mean to write: the columns that the server keeps of each record, the key as it
 * is, and of a patch what is in no declared field and reads as it did.
 */
function writable(command: Command, { tables, get }: Known): Command {
  const { table, key, set } = command
  const declared = Object.hasOwn(tables, table) ? tables[table] : undefined
  if (!set || !declared) return command
  const { fields, version = 'rota_version', operation = 'rota_op' } = declared
  const before = (key === undefined ? undefined : get(table, key)) as Readonly<Record<string, unknown>> | undefined
  const keys = keyFields(declared)
  const isKept = (field: string) => field === version || field === operation || (before !== undefined && readsTheSame([field], before, set))
  const isKey = (field: string) => key !== undefined && keys.includes(field) && (before ? readsTheSame([field], before, set) : keys.length === 1 && String(set[field]) === key)
  const left = Object.entries(set).filter(([field]) => !isKey(field) && (fields.includes(field) || !isKept(field)))
  // Where that is all, it was meant.
  return left.length === 0 || left.length === Object.keys(set).length ? command : { ...command, set: Object.fromEntries(left) }
}

function targetOf(mutation: AnyMutation): Command {
  if (typeof mutation !== 'object' || mutation === null) throw new RotaError('invalid-operation', 'mutate takes an object: { name, table, … }')
  const { name, table } = mutation
  if (typeof name !== 'string' || typeof table !== 'string') throw new RotaError('invalid-operation', 'a mutation needs a name and a table')
  switch (mutation.name) {
    case 'insert':
      return { name, table, set: givenObject(mutation.record, 'record') }
    case 'patch':
      return { name, table, key: keyText(mutation.key), set: givenObject(mutation.set, 'set') }
    case 'delete':
      return { name, table, key: keyText(mutation.key) }
    case 'assign':
      return { name, table, key: keyText(mutation.key), args: givenObject({ to: mutation.to }, 'assign') }
    case 'request_next': {
      // One that is named against the types is the engine's to refuse.
      const { key } = mutation as { key?: Key }
      return { name, table, ...(key === undefined ? {} : { key: keyText(key) }), args: givenObject({ operator: mutation.operator }, name) }
    }
    case 'claim':
      return { name, table, key: keyText(mutation.key), args: givenObject({ operator: mutation.operator }, name) }
    case 'release':
      return { name, table, key: keyText(mutation.key), args: givenObject({ reason: mutation.reason }, name) }
    case 'transfer':
      return { name, table, key: keyText(mutation.key), args: givenObject({ to: mutation.to }, name) }
    case 'reply':
    case 'user_message':
    case 'unassign_chat':
    case 'complete':
      return { name, table, key: keyText(mutation.key), args: {} }
    default:
      throw new RotaError('invalid-operation', `there is no operation "${name as string}"; there are insert, patch, delete, assign, and those of chats`)
  }
}

/** The temporary keys of what was inserted without one (`PROTOCOL.md` §2). `commands` are those of an operation that the engine has taken. */
export function temporaryKeysOf(id: string, commands: readonly Command[], tables: Tables): TemporaryKey[] {
  const isTransaction = commands.length > 1
  return commands.flatMap(({ name, table, set = {} }, index) => {
    const declared = tables[table]
    if (name !== 'insert' || !declared?.temporaryKeys || keyFields(declared).some((field) => Object.hasOwn(set, field))) return []
    return (isTransaction ? `~${id}.${index}` : `~${id}`) as TemporaryKey
  })
}
