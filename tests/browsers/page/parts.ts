/** Takes parts of the browser away, the way pages of other browsers find them missing or forbidden. */

import type { Part } from './set-up.js'

/** Where each is found, and on what. */
const PLACES: Readonly<Record<Part, () => object>> = {
  BroadcastChannel: () => globalThis,
  locks: () => navigator,
  localStorage: () => globalThis,
  indexedDB: () => globalThis,
}

export function hide(part: Part): void {
  // Some are the object's own, some its prototype's.
  for (let at: object | null = PLACES[part](); at; at = Object.getPrototypeOf(at) as object | null) Reflect.deleteProperty(at, part)
  if (part in PLACES[part]()) throw new Error(`this browser does not let go of ${part}`)
}

export function block(part: Part): void {
  const get = (): never => {
    throw new DOMException('access is denied for this document', 'SecurityError')
  }
  Object.defineProperty(PLACES[part](), part, { configurable: true, get })
}
