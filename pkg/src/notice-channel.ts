import type { NotificationKind, NotificationShown } from './notifications.js'

/** What tabs tell each other of notifications. */
export type NoticeMessage =
  | { readonly type: 'created'; readonly notice: NotificationShown }
  | { readonly type: 'closed'; readonly id: string }
  /** How notifications of the browser look by now; null: there are to be none. */
  | { readonly type: 'browser'; readonly browser: BrowserLook | null; readonly saidMs: number }
  /** A tab that has just been opened asks for that. */
  | { readonly type: 'opened' }

/** How notifications of the browser look, whichever tab shows them. */
export interface BrowserLook {
  readonly title: string
  readonly kinds?: readonly NotificationKind[]
}

/** Carries notifications between the tabs of a person: by BroadcastChannel, by entries of localStorage where there is none. */
export class NoticeChannel {
  readonly #name: string
  #channel: BroadcastChannel | undefined
  readonly #stopped = new AbortController()

  constructor(name: string, hear: (message: NoticeMessage) => void) {
    this.#name = name
    const { signal } = this.#stopped
    const receive = (data: unknown) => {
      if (isMessage(data)) hear(data)
    }
    if (typeof globalThis.BroadcastChannel === 'function') {
      const open = () => {
        this.#channel = new BroadcastChannel(name)
        this.#channel.addEventListener('message', ({ data }: MessageEvent) => receive(data), { signal })
      }
      open()
      // A page that is kept for the way back would be thrown away for a message on an open channel.
      globalThis.addEventListener?.('pagehide', () => this.#channel?.close(), { signal })
      globalThis.addEventListener?.('pageshow', (event) => (event as PageTransitionEvent).persisted && open(), { signal })
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
    try {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
      if (this.#channel) return this.#channel.postMessage(message)
      globalThis.localStorage.setItem(this.#name, JSON.stringify(message))
      // The entry is only its own event.
      globalThis.localStorage.removeItem(this.#name)
    } catch {
      // Full, blocked, or of a page that is being left: then the tabs don't hear of each other.
    }
  }

  close(): void {
    this.#stopped.abort()
    this.#channel?.close()
  }
}

function isMessage(data: unknown): data is NoticeMessage {
  if (typeof data !== 'object' || data === null) return false
  const { type, notice, id, browser, saidMs } = data as { type?: unknown; saidMs?: unknown; notice?: Partial<NotificationShown> | null; id?: unknown; browser?: Partial<BrowserLook> | null }
  if (type === 'opened') return true
  if (type === 'browser') return Number.isFinite(saidMs) && (browser === null || (typeof browser?.title === 'string' && (browser.kinds === undefined || Array.isArray(browser.kinds))))
  if (type === 'closed') return typeof id === 'string'
  if (type !== 'created' || typeof notice !== 'object' || notice === null) return false
  return typeof notice.id === 'string' && typeof notice.message === 'string' && typeof notice.kind === 'string' && Number.isFinite(notice.atMs) && typeof notice.sound === 'boolean'
}
