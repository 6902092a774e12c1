import { RotaError } from './errors.js'
import { keyFields, type Tables } from './tables.js'

/** Looks whether what is declared names tables and fields that are there. What has another shape than a declaration's is the engine's to refuse. */

/** Refuses a policy that names what is not declared. */
export function checkPolicy(tables: Tables, declared: Readonly<Record<string, unknown>>): void {
  const { table, owner, department, people } = declared
  const of = 'a policy'
  requireTable(of, tables, table)
  requireField(of, tables, [table], owner)
  requireField(of, tables, [table], department)
  if (!isObject(people)) return
  requireTable(of, tables, people['table'])
  const hasRoles = (textsOf(declared['rules']) ?? []).some((rule) => isObject(rule) && rule['roles'])
  const { key, role = hasRoles ? 'role' : undefined, department: theirs, active } = people
  for (const field of [key, role, theirs, active]) requireField(of, tables, [people['table']], field)
  requireKey(of, tables, people['table'], key ?? 'id')
}

/** Refuses rules of invalidation that name what is not declared. A field must be one of some table that its rule is for. */
export function checkInvalidations(tables: Tables, rules: unknown): void {
  if (!Array.isArray(rules)) return
  for (const [at, rule] of rules.entries()) {
    if (!isObject(rule)) continue
    const of = `rule ${at} of invalidation`
    const named = textsOf(rule['tables'])
    for (const table of named ?? []) requireTable(of, tables, table)
    for (const field of [...(textsOf(rule['changed']) ?? []), ...(textsOf(rule['unchanged']) ?? [])]) requireField(of, tables, named ?? Object.keys(tables), field)
  }
}

function textsOf(value: unknown): readonly unknown[] | undefined {
  return Array.isArray(value) ? value : undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function requireTable(of: string, tables: Tables, name: unknown): void {
  if (typeof name === 'string' && !Object.hasOwn(tables, name)) throw new RotaError('invalid-configuration', `${of} names the table "${name}", which is not declared`)
}

/** A person is looked up by the key of their record: by another field, nobody would be found, and everything be left to the server. */
function requireKey(of: string, tables: Tables, name: unknown, field: unknown): void {
  const table = typeof name === 'string' && Object.hasOwn(tables, name) ? tables[name] : undefined
  if (!table || typeof field !== 'string') return
  const keys = keyFields(table)
  if (keys.length === 1 && keys[0] === field) return
  throw new RotaError('invalid-configuration', `${of} knows people by "${field}", but "${name as string}" is declared with the key ${keys.map((own) => `"${own}"`).join(', ')}: declare the table with the key "${field}", or name its own as people.key`)
}

function requireField(of: string, tables: Tables, names: readonly unknown[], field: unknown): void {
  if (typeof field !== 'string') return
  const declared = names.filter((name): name is string => typeof name === 'string' && Object.hasOwn(tables, name))
  if (declared.length === 0 || declared.some((name) => tables[name]?.fields.includes(field))) return
  throw new RotaError('invalid-configuration', `${of} names the field "${field}", which ${declared.map((name) => `"${name}"`).join(', ')} ${declared.length === 1 ? 'does' : 'do'} not have`)
}
