/** A page with a store of a release, held out as `window.plain`. */

import type * as Pushes from './push.js'
import type { OpenedPush } from './push.js'
import type * as Stores from './store.js'
import type { Opened } from './store.js'

declare global {
  interface Window {
    /** A type of its own for the tests: what a page of this kind holds. */
    plain: Plain
  }
}

export interface Plain extends Partial<Opened>, Partial<OpenedPush> {
  readonly errors: string[]
  /** Since when the page ran last was noted, and what became of it. */
  readonly events: string[]
  /** Asks the worker's store, where it is in one. */
  ask?(question: string, ...words: unknown[]): Promise<unknown>
}

const options = JSON.parse(new URLSearchParams(location.search).get('options') ?? '{}') as { release?: string; user?: string; app?: string; worker?: boolean; push?: boolean }
const plain: Plain = { errors: [], events: [] }
window.plain = plain
addEventListener('error', ({ message }) => plain.errors.push(message))
addEventListener('unhandledrejection', ({ reason }) => plain.errors.push(String(reason)))
addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sample }) => {
  plain.errors.push(`policy: ${violatedDirective} ${blockedURI} ${sample}`)
  void fetch('/violation', { method: 'POST', body: JSON.stringify({ violatedDirective, blockedURI }) })
})
addEventListener('pageshow', ({ persisted }) => plain.events.push(`pageshow ${persisted}`))
addEventListener('pagehide', ({ persisted }) => plain.events.push(`pagehide ${persisted}`))
for (const name of ['freeze', 'resume', 'visibilitychange']) document.addEventListener(name, () => plain.events.push(name))

if (options.worker) {
  const worker = new Worker('/worker.js', { type: 'module' })
  const asked = new Map<number, (answer: unknown) => void>()
  let count = 0
  worker.addEventListener('message', ({ data: [number, answer] }: MessageEvent<[number, unknown]>) => {
    asked.get(number)?.(answer)
    asked.delete(number)
  })
  worker.addEventListener('error', ({ message }) => plain.errors.push(`worker: ${message}`))
  const ask: Plain['ask'] = (...question) =>
    new Promise((resolve) => {
      asked.set(++count, resolve)
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker, which is of no origin but ours
      worker.postMessage([count, ...question])
    })
  await ask('open', options)
  plain.ask = ask
} else {
  const { openStore } = (await import('/store.js' as string)) as typeof Stores
  // Not every engine tells of a module that fails.
  const opened = await openStore(options).catch((error: unknown) => void plain.errors.push(String(error)))
  const pushes = options.push && opened ? await ((await import('/push.js' as string)) as typeof Pushes).openPush(opened.store, options.user ?? 'maya') : {}
  Object.assign(plain, opened, pushes)
}
