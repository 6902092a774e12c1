import { RotaError } from './errors.js'
import { keyFields, keyText, type InsertOf, type PatchOf, type Tables, type Unowned } from './tables.js'
import type { Key, TemporaryKey } from './types.js'
import { givenObject } from './values.js'

/** Operations that another one depends on: it is sent after they are confirmed, and ends with them if they are not. At most a hundred. */
export type After = readonly string[]

/** Something to do to a record. */
export type Mutation<T extends Tables> = {
  [N in keyof T & string]:
    | { readonly name: 'insert'; readonly table: N; readonly record: InsertOf<T[N]>; readonly after?: After }
    | { readonly name: 'patch'; readonly table: N; readonly key: Key; readonly set: PatchOf<T[N]>; readonly after?: After }
    | { readonly name: 'delete'; readonly table: N; readonly key: Key; readonly after?: After }
    | (T[N] extends Unowned ? never : { readonly name: 'assign'; readonly table: N; readonly key: Key; readonly to: string | null; readonly after?: After })
}[keyof T & string]

/** A mutation as the engine is told of it. */
export interface Command {
  readonly name: string
  readonly table: string
  readonly key?: string
  readonly set?: Readonly<Record<string, unknown>>
  readonly args?: Readonly<Record<string, unknown>>
  readonly after?: readonly string[]
}

/** Copies a mutation into the form that the engine reads. */
export function commandOf(mutation: Mutation<Tables>): Command {
  const command = targetOf(mutation)
  const { after } = mutation
  if (after === undefined) return command
  if (!Array.isArray(after) || !after.every((id) => typeof id === 'string')) throw new RotaError('invalid-operation', '"after" is a list of operation ids')
  return { ...command, after: [...after] }
}

/** The same for the parts of a transaction; what is wrong with one says which one it is. */
export function commandsOf(mutations: readonly Mutation<Tables>[]): Command[] {
  if (!Array.isArray(mutations)) throw new RotaError('invalid-operation', 'transact takes a list of mutations')
  return Array.from(mutations as readonly Mutation<Tables>[], (mutation, index) => {
    try {
      return commandOf(mutation)
    } catch (error) {
      if (error instanceof RotaError) throw new RotaError(error.code, `mutation ${index}: ${error.reason}`)
      throw error
    }
  })
}

function targetOf(mutation: Mutation<Tables>): Command {
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
    default:
      throw new RotaError('invalid-operation', `there is no operation "${name as string}"; there are insert, patch, delete and assign`)
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
