// What needs no test runner: where the kit lies, and how ids and times are made.
import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'

export type Json = Record<string, any>

export const KIT = fileURLToPath(new URL('../../pkg/sql', import.meta.url))

/** A UUIDv7 of this moment, or of another. */
export function operationId(at = Date.now()): string {
  const time = at.toString(16).padStart(12, '0')
  const noise = randomBytes(10).toString('hex')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${noise.slice(0, 3)}-a${noise.slice(3, 6)}-${noise.slice(6, 18)}`
}

export const hlc = (at = Date.now()): string => `${at.toString(16).padStart(12, '0')}-0000`
