import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import type { Peer } from '../backend.js'

/** What Realtime takes of presence by default: this many calls in this time, for each client. */
const CALLS_MAX = 5
const CALLS_MS = 30_000

/** How often the engine hears again who is here; while somebody types, that runs out sooner. */
const TELL_MS = 10_000
const TELL_TYPING_MS = 3_000

/** How long to wait before a channel that broke is joined again. */
const REJOIN_MS = 10_000

const DOING: ReadonlySet<unknown> = new Set<NonNullable<Peer['presence']>['doing']>(['idle', 'typing', 'editing'])

/**
 * Realtime presence on one topic that everybody shares. Each browser tracks the tabs it has; the server tells of those that go without a
 * word. What comes in is what others say of themselves.
 */
export class PresenceChannel {
  readonly #client: SupabaseClient
  readonly #topic: string
  /** Where this browser is, as it is to be known. */
  #wanted: readonly Peer[] = []
  /** The channel that is open, if one is. */
  #open: Joined | undefined
  /** The client hands out the same channel for the same topic until it has left. */
  #left: Promise<unknown> = Promise.resolve()
  /** When the last calls were made. */
  readonly #calledAtMs: number[] = []

  constructor(client: SupabaseClient, topic: string) {
    this.#client = client
    this.#topic = `rota-presence-${topic}`
  }

  /** Says where this browser is. */
  say(peers: readonly Peer[]): void {
    this.#wanted = peers.filter(({ presence }) => presence)
    this.#open?.track()
  }

  /** Listens for as long as a link is open; returns how to stop. A channel that can't be had breaks no link, and is tried again. */
  open(present: (peers: readonly Peer[]) => void): () => void {
    let isWanted = true
    let joined: Joined | undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    const leave = () => {
      clearTimeout(timer)
      if (!joined || this.#open !== joined) return
      this.#open = undefined
      this.#left = joined.leave().catch(() => undefined)
    }
    const join = () =>
      void this.#left.then(() => {
        if (!isWanted) return
        joined = new Joined(this.#client, this.#topic, () => this.#wanted, present, this.#calledAtMs, () => {
          leave()
          if (isWanted) timer = setTimeout(join, REJOIN_MS)
        })
        this.#open = joined
      })
    join()
    return () => {
      isWanted = false
      leave()
    }
  }
}

/** The channel while it is open. */
class Joined {
  readonly #client: SupabaseClient
  readonly #channel: RealtimeChannel
  readonly #wanted: () => readonly Peer[]
  readonly #present: (peers: readonly Peer[]) => void
  readonly #calledAtMs: number[]
  /** What the server was told last, as text. */
  #tracked = '[]'
  #isSubscribed = false
  #isLeft = false
  /**
   * What is tracked on the topic, by its reference. The client's own picture is of no use: up to 2.110 it loses the references of what is
   * changed, and then keeps for good who has gone (supabase-js #2565). A channel is joined once, so what it tells is complete.
   */
  readonly #tracks = new Map<string, unknown>()
  /** Those who were here the last time. */
  #known = new Map<string, Peer>()
  #trackTimer: ReturnType<typeof setTimeout> | undefined
  #tellTimer: ReturnType<typeof setTimeout> | undefined

  constructor(client: SupabaseClient, topic: string, wanted: () => readonly Peer[], present: (peers: readonly Peer[]) => void, calledAtMs: number[], broke: () => void) {
    this.#client = client
    this.#wanted = wanted
    this.#present = present
    this.#calledAtMs = calledAtMs
    this.#channel = client.channel(topic, { config: { presence: { key: globalThis.crypto.randomUUID(), enabled: true } } })
    this.#channel.on<{ peers?: unknown }>('presence', { event: 'join' }, ({ newPresences }) => {
      for (const { presence_ref, peers } of newPresences) this.#tracks.set(presence_ref, peers)
    })
    this.#channel.on('presence', { event: 'leave' }, ({ leftPresences }) => {
      for (const { presence_ref } of leftPresences) this.#tracks.delete(presence_ref)
    })
    this.#channel.on('presence', { event: 'sync' }, () => this.#tell())
    this.#channel.subscribe((status) => {
      if (this.#isLeft) return
      this.#isSubscribed = status === 'SUBSCRIBED'
      if (this.#isSubscribed) this.track()
      else broke()
    })
  }

  /** Tells the server, as soon as it takes another call, where this browser is by then. What has not changed needs no call. */
  track(): void {
    if (!this.#isSubscribed || JSON.stringify(this.#wanted()) === this.#tracked) return
    const now = Date.now()
    const recent = this.#calledAtMs.filter((atMs) => now - atMs < CALLS_MS)
    this.#calledAtMs.splice(0, this.#calledAtMs.length, ...recent)
    clearTimeout(this.#trackTimer)
    const [first = now] = recent
    if (recent.length >= CALLS_MAX) {
      this.#trackTimer = setTimeout(() => this.track(), first + CALLS_MS - now)
      return
    }
    const peers = this.#wanted()
    this.#calledAtMs.push(now)
    this.#tracked = JSON.stringify(peers)
    const call = peers.length > 0 ? this.#channel.track({ peers }) : this.#channel.untrack()
    void call.then((answer) => answer === 'ok' || this.#trackAgain(), () => this.#trackAgain())
  }

  async leave(): Promise<void> {
    this.#isSubscribed = false
    this.#isLeft = true
    clearTimeout(this.#trackTimer)
    clearTimeout(this.#tellTimer)
    await this.#client.removeChannel(this.#channel)
  }

  #trackAgain(): void {
    if (!this.#isSubscribed) return
    this.#tracked = ''
    clearTimeout(this.#trackTimer)
    this.#trackTimer = setTimeout(() => this.track(), CALLS_MS / CALLS_MAX)
  }

  /** Tells who is here now, and who is not any more; and again before that runs out. */
  #tell(): void {
    if (this.#isLeft) return
    const here = new Map<string, Peer>()
    for (const peers of this.#tracks.values()) {
      if (Array.isArray(peers)) for (const peer of peers) if (isPeer(peer)) here.set(JSON.stringify([peer.user, peer.tab]), peer)
    }
    const gone = [...this.#known].filter(([name]) => !here.has(name)).map(([, peer]) => ({ ...peer, presence: null }))
    this.#known = here
    const told = [...here.values(), ...gone]
    if (told.length > 0) this.#present(told)
    clearTimeout(this.#tellTimer)
    if (here.size === 0) return
    const isTyping = [...here.values()].some(({ presence }) => presence?.doing === 'typing')
    this.#tellTimer = setTimeout(() => this.#tell(), isTyping ? TELL_TYPING_MS : TELL_MS)
  }
}

/** Anybody may write anything there; one who writes nonsense must not hide the others. */
function isPeer(given: unknown): given is Peer {
  const { user, tab, presence } = (given ?? {}) as { user?: unknown; tab?: unknown; presence?: unknown }
  if (typeof user !== 'string' || typeof tab !== 'string' || typeof presence !== 'object' || presence === null) return false
  const { place, doing, record } = presence as { place?: unknown; doing?: unknown; record?: unknown }
  if (typeof place !== 'string' || !DOING.has(doing)) return false
  if (record === undefined || record === null) return true
  const { table, key } = record as { table?: unknown; key?: unknown }
  return typeof table === 'string' && typeof key === 'string'
}
