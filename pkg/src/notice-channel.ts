import type { NotificationShown } from './notifications.js'

/** What tabs tell each other of notifications. */
export type NoticeMessage = { readonly type: 'created'; readonly notice: NotificationShown } | { readonly type: 'closed'; readonly id: string }

/** Carries notifications between the tabs of a person: by BroadcastChannel, by entries of localStorage where there is none. */
export class NoticeChannel {
  readonly #name: string
  readonly #channel: BroadcastChannel | undefined
  readonly #stopped = new AbortController()

  constructor(name: string, hear: (message: NoticeMessage) => void) {
    this.#name = name
    const { signal } = this.#stopped
    const receive = (data: unknown) => {
      if (isMessage(data)) hear(data)
    }
    if (typeof globalThis.BroadcastChannel === 'function') {
      this.#channel = new BroadcastChannel(name)
      this.#channel.addEventListener('message', ({ data }: MessageEvent) => receive(data), { signal })
      return
    }
    const listen = (event: Event) => {
      const { key, newValue } = event as StorageEvent
      if (key !== name || newValue === null) return
      try {
        receive(JSON.parse(newValue))
      } catch {
        // Nobody of ours wrote it.
      }
    }
    globalThis.addEventListener?.('storage', listen, { signal })
  }

  say(message: NoticeMessage): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
    if (this.#channel) return this.#channel.postMessage(message)
    try {
      globalThis.localStorage.setItem(this.#name, JSON.stringify(message))
      // The entry is only its own event.
      globalThis.localStorage.removeItem(this.#name)
    } catch {
      // Full or blocked: then the tabs don't hear of each other.
    }
  }

  close(): void {
    this.#stopped.abort()
    this.#channel?.close()
  }
}

function isMessage(data: unknown): data is NoticeMessage {
  if (typeof data !== 'object' || data === null) return false
  const { type, notice, id } = data as { type?: unknown; notice?: Partial<NotificationShown> | null; id?: unknown }
  if (type === 'closed') return typeof id === 'string'
  if (type !== 'created' || typeof notice !== 'object' || notice === null) return false
  return typeof notice.id === 'string' && typeof notice.message === 'string' && typeof notice.kind === 'string' && Number.isFinite(notice.atMs) && typeof notice.sound === 'boolean'
}
