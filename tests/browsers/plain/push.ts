/** Web Push in a plain page: its worker, and a list instead of a server that keeps subscriptions. */

import type { Push, PushClick } from 'rota-engine/push'
import type * as Pushes from 'rota-engine/push'
import type { PlainStore } from './store.js'

export interface OpenedPush {
  readonly push: Push
  /** The clicks that led to this tab. */
  readonly clicks: PushClick[]
  /** Endpoints, as the server has them. */
  readonly kept: Set<string>
}

export async function openPush(store: PlainStore, user: string): Promise<OpenedPush> {
  await navigator.serviceWorker.register('/service-worker.js', { type: 'module' })
  const registration = await navigator.serviceWorker.ready
  // Before that the browser may drop what is pushed.
  const { active } = registration
  await new Promise<void>((resolve) => {
    const look = () => active?.state === 'activated' && resolve()
    active?.addEventListener('statechange', look)
    look()
  })
  const { createPush } = (await import('/new/dist/push.js' as string)) as typeof Pushes
  const kept = new Set<string>()
  const clicks: PushClick[] = []
  const subscriptions = { save: async ({ endpoint }: { endpoint: string }) => kept.add(endpoint), remove: async (endpoint: string) => kept.delete(endpoint) }
  const { publicKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign'])
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', publicKey))
  const text = btoa(String.fromCharCode(...raw)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
  const push = createPush({ store, user, publicKey: text, subscriptions, registration })
  push.onClick((click) => clicks.push(click))
  return { push, clicks, kept }
}
