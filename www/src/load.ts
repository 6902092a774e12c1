import type { Status } from 'rota-engine'

/** What a list without records has to say. */
export type Load = { readonly is: 'loaded' } | { readonly is: 'loading' } | { readonly is: 'failed'; readonly why: string }

/** Records kept from the last visit are shown at once, so only an empty list waits for the server. */
export function loadOf({ ready, link }: Status, isEmpty: boolean): Load {
  if (ready || !isEmpty) return { is: 'loaded' }
  // An attempt has failed, and the next one has its time.
  if (link.state === 'stopped' || (link.state === 'offline' && link.retryAtMs !== undefined)) return { is: 'failed', why: link.why }
  return { is: 'loading' }
}
