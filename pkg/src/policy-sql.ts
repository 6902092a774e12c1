/**
 * The SQL of a policy, for whoever prepares the database. It is in a WebAssembly of its own, so that no page loads it.
 *
 * @packageDocumentation
 */
import * as wasm from '../wasm/policy_sql.js'
import bytes from '../wasm/policy_sql_bytes.js'
import { toRotaError } from './errors.js'
import { unpack } from './packed.js'
import type { Policy } from './policy.js'
import type { Tables } from './tables.js'
import { givenObject } from './values.js'

export { RotaError, type RotaErrorCode } from './errors.js'
export type { Policy, PolicyRule } from './policy.js'
export type { Tables } from './tables.js'

let loading: Promise<unknown> | undefined

/**
 * Writes the SQL of a policy: the guard that the server kit asks before each operation, row-level security, and a trigger for those who write the
 * table itself. It takes what `store.policy` takes, and decides as that does; it may be applied again whenever the declaration has changed.
 *
 * Rejects with the {@link RotaError} that `store.policy` throws for a declaration that can't work. Which tables and fields there are, the database
 * says when the SQL is applied; with `policySql<typeof tables, 'companies'>`, TypeScript does before.
 */
export async function policySql<T extends Tables, N extends keyof T & string>(policy: Policy<T, N>): Promise<string> {
  const declared = givenObject(policy, 'policy')
  await load()
  try {
    return wasm.policySql(declared)
  } catch (error) {
    throw toRotaError(error, () => undefined)
  }
}

function load(): Promise<unknown> {
  loading ??= instantiate().catch((error: unknown) => {
    loading = undefined
    throw error
  })
  return loading
}

async function instantiate(): Promise<void> {
  await wasm.default({ module_or_path: await unpack(bytes) })
}
