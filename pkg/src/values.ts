import { RotaError } from './errors.js'

/** How deep lists and objects may nest; the engine has the same bound. */
const DEPTH_MAX = 64

/**
 * Copies an object into a plain one: what is read later can't run anybody's code, and can't change under the store.
 * Throws `invalid-value` for whatever is not data; `path` says where it is.
 */
export function plainObject(value: unknown, path: string): Record<string, unknown> {
  return copyObject(value, path, 0, false)
}

/** The same for what an application gives. */
export function givenObject(value: unknown, path: string): Record<string, unknown> {
  return copyObject(value, path, 0, true)
}

function plain(value: unknown, path: string, depth: number, isGiven: boolean): unknown {
  switch (typeof value) {
    case 'string':
      if (isGiven) checkText(value, path)
      return value
    case 'boolean':
      return value
    case 'number':
      if (Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value))) return value === 0 ? 0 : value
      throw refuse(path, Number.isInteger(value) ? `${value}, an integer beyond 2^53 - 1; store it as text` : `${value}`)
    case 'object':
      if (value === null) return null
      if (depth >= DEPTH_MAX) throw refuse(path, `nested deeper than ${DEPTH_MAX}, or in a circle`)
      // `Array.from` visits the holes of a list too.
      return Array.isArray(value) ? Array.from(value, (item, index) => plain(item, `${path}[${index}]`, depth + 1, isGiven)) : copyObject(value, path, depth, isGiven)
    default:
      throw refuse(path, value === undefined ? 'undefined; use null for nothing' : `a ${typeof value}`)
  }
}

function copyObject(value: unknown, path: string, depth: number, isGiven: boolean): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuse(path, 'not an object')
  const prototype: unknown = Object.getPrototypeOf(value)
  // Objects of other windows have another Object.prototype, whose own prototype is null too.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw refuse(path, `a ${value.constructor?.name ?? 'class instance'}; only plain objects can be stored`)
  }
  const copy: Record<string, unknown> = {}
  for (const name of Object.keys(value)) {
    // It can't be sent: making an object of the name and the value would set the prototype.
    if (isGiven && name === '__proto__') throw refuse(`${path}.__proto__`, 'no possible name of a member')
    if (isGiven) checkText(name, `a name in ${path}`)
    const item = plain((value as Record<string, unknown>)[name], `${path}.${name}`, depth + 1, isGiven)
    // Plain assignment to this one name would set the prototype instead.
    if (name === '__proto__') Object.defineProperty(copy, name, { value: item, enumerable: true, configurable: true, writable: true })
    else copy[name] = item
  }
  return copy
}

/** Refuses text that can't arrive: PostgreSQL has no place for the former, and UTF-8 none for the latter. */
export function checkText(text: string, path: string): void {
  if (text.includes('\0')) throw refuse(path, "text with U+0000, which databases can't hold")
  if (/\p{Surrogate}/u.test(text)) throw refuse(path, 'text with half of a surrogate pair')
}

function refuse(path: string, what: string): RotaError {
  return new RotaError('invalid-value', `${path} is ${what}: a value is null, a boolean, a finite number, text, a list or a plain object`)
}

/** What can be read of something that is no data: its own members that are null, booleans, text or finite numbers. Runs no getter. */
export function readableMembers(value: unknown): Record<string, null | boolean | number | string> | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const readable: Record<string, null | boolean | number | string> = {}
  try {
    for (const [name, { value: item }] of Object.entries(Object.getOwnPropertyDescriptors(value)) as [string, { value?: unknown }][]) {
      if (name === '__proto__') continue
      if (item === null || typeof item === 'boolean' || typeof item === 'string' || Number.isFinite(item)) readable[name] = item as null | boolean | number | string
    }
  } catch {
    // A proxy may refuse even this.
    return undefined
  }
  return readable
}

/** Freezes a record and everything in it. */
export function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return
  Object.freeze(value)
  for (const item of Object.values(value)) freeze(item)
}

/** True when all of these fields read the same in two records, however the records came. */
export function readsTheSame(fields: readonly string[], one: object | undefined, other: object | undefined): boolean {
  if (one === other) return true
  if (!one || !other) return false
  return fields.every((field) => isSameValue((one as Record<string, unknown>)[field], (other as Record<string, unknown>)[field]))
}

/** What is not there reads as null. */
function isSameValue(one: unknown, other: unknown): boolean {
  if (one === other || (one ?? null) === (other ?? null)) return true
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (Array.isArray(one) !== Array.isArray(other)) return false
  const names = Object.keys(one)
  if (names.length !== Object.keys(other).length) return false
  return names.every((name) => Object.hasOwn(other, name) && isSameValue((one as Record<string, unknown>)[name], (other as Record<string, unknown>)[name]))
}
