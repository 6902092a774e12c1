import type { StreamEvent } from '../backend.js'

/** How many frames are handed on at once, at most. */
const FRAMES_MAX = 1_000

/**
 * Gathers the frames of one turn of the event loop: a statement that writes a hundred rows comes as a hundred frames, and whoever listens is to hear of them once.
 * No timer, since those of hidden pages ring late.
 */
export class Frames {
  readonly #hand: (events: readonly StreamEvent[]) => void
  #events: StreamEvent[] = []
  #channel: MessageChannel | undefined

  constructor(hand: (events: readonly StreamEvent[]) => void) {
    this.#hand = hand
  }

  add(event: StreamEvent): void {
    this.#events.push(event)
    if (this.#events.length >= FRAMES_MAX) this.flush()
    else if (this.#events.length === 1) this.#soon()
  }

  /** Hands on what is here, now. */
  flush(): void {
    const events = this.#events
    this.#events = []
    if (events.length > 0) this.#hand(events)
  }

  /** Forgets what is here, and lets go of everything. */
  end(): void {
    this.#events = []
    this.#channel?.port1.close()
    this.#channel = undefined
  }

  #soon(): void {
    // Node has this instead, by which no process is kept alive for longer than the turn.
    const { setImmediate: immediate } = globalThis as { setImmediate?: (run: () => void) => unknown }
    if (immediate) return void immediate(() => this.flush())
    if (typeof MessageChannel !== 'function') return void Promise.resolve().then(() => this.flush())
    if (!this.#channel) {
      this.#channel = new MessageChannel()
      this.#channel.port1.addEventListener('message', () => this.flush())
      this.#channel.port1.start()
    }
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
    this.#channel.port2.postMessage(null)
  }
}
