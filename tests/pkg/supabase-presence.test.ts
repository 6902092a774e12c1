import type { SupabaseClient } from '@supabase/supabase-js'
import type { LinkListener, Peer } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

type Handler = (payload: Record<string, unknown>) => void

class Channel {
  readonly handlers = new Map<string, Handler>()
  readonly tracks = new Map<string, unknown>()
  readonly calls: unknown[] = []
  status: ((status: string) => void) | undefined
  answer = 'ok'

  constructor(
    readonly topic: string,
    readonly config: { config?: { presence?: { key: string; enabled: boolean } } } | undefined,
  ) {}

  on(kind: string, filter: { event?: string }, handler: Handler): this {
    this.handlers.set(kind === 'presence' ? `presence ${filter.event}` : kind, handler)
    return this
  }

  subscribe(status: (status: string) => void): this {
    this.status = status
    return this
  }

  async track(payload: unknown): Promise<string> {
    this.calls.push(payload)
    return this.answer
  }

  async untrack(): Promise<string> {
    this.calls.push('untrack')
    return this.answer
  }

  /** The server says what is tracked now, by its reference. */
  sync(state: Record<string, unknown>): void {
    const presences = (names: Iterable<string>, of: (name: string) => unknown) => [...names].map((name) => ({ presence_ref: name, peers: of(name) }))
    const joined = Object.keys(state).filter((name) => !this.tracks.has(name))
    const left = [...this.tracks.keys()].filter((name) => !(name in state))
    this.handlers.get('presence join')?.({ newPresences: presences(joined, (name) => state[name]) })
    this.handlers.get('presence leave')?.({ leftPresences: presences(left, (name) => this.tracks.get(name)) })
    for (const name of joined) this.tracks.set(name, state[name])
    for (const name of left) this.tracks.delete(name)
    this.handlers.get('presence sync')?.({})
  }
}

class Client {
  readonly channels: Channel[] = []
  readonly removed: Channel[] = []
  leaving = Promise.resolve('ok')
  auth = { getSession: async () => ({ data: { session: { access_token: 'of whoever it is' } }, error: null }) }
  realtime = { setAuth: async () => {}, connectionState: () => 'open', disconnect: async () => {} }

  channel(topic: string, config?: Channel['config']): Channel {
    const channel = new Channel(topic, config)
    this.channels.push(channel)
    return channel
  }

  removeChannel(channel: Channel): Promise<string> {
    this.removed.push(channel)
    return this.leaving
  }
}

const peer = (user: string, doing: 'idle' | 'typing' = 'idle'): Peer => ({ user, tab: `${user}-1`, presence: { place: 'board', doing } })
const links = () => client.channels.filter(({ topic }) => !topic.startsWith('rota-presence-'))
const rooms = () => client.channels.filter(({ topic }) => topic.startsWith('rota-presence-'))

let client: Client
let heard: (readonly Peer[])[]
let listener: LinkListener

beforeEach(() => {
  vi.useFakeTimers()
  client = new Client()
  heard = []
  listener = { joined: () => {}, live: () => {}, closed: () => {}, changed: () => {}, present: (peers) => void heard.push(peers) }
})
afterEach(() => vi.useRealTimers())

/** Opens a link that is live, and the room with it. */
async function inRoom(presence: string | undefined = 'crm') {
  const backend = supabaseBackend(client as unknown as SupabaseClient, presence === undefined ? {} : { presence })
  const connect = async () => {
    const disconnect = backend.connect(['companies'], listener, 'maya')
    const link = links().at(-1)!
    await vi.advanceTimersByTimeAsync(0)
    link.status?.('SUBSCRIBED')
    link.handlers.get('system')?.({ extension: 'postgres_changes', status: 'ok' })
    await vi.advanceTimersByTimeAsync(0)
    return { disconnect, link }
  }
  return { backend, connect, ...(await connect()) }
}

describe('the room', () => {
  test('has a topic that all share and a key of its own, and is joined once the link is live', async () => {
    await inRoom()
    const [room] = rooms()
    expect(room?.topic).toBe('rota-presence-crm')
    expect(room?.config?.config?.presence).toMatchObject({ enabled: true, key: expect.stringMatching(/^[0-9a-f-]{36}$/) })
  })

  test('is not there without a name', async () => {
    const backend = supabaseBackend(client as unknown as SupabaseClient)
    expect(backend.presence).toBeUndefined()
    backend.connect(['companies'], listener, 'maya')
    await vi.advanceTimersByTimeAsync(0)
    expect(rooms()).toEqual([])
  })

  test('is left with the link, and joined again with the next one only when it was left', async () => {
    const { disconnect, connect } = await inRoom()
    let left = () => {}
    client.leaving = new Promise((resolve) => (left = () => resolve('ok')))
    disconnect()
    expect(client.removed).toContain(rooms()[0])
    await connect()
    expect(rooms()).toHaveLength(1)
    left()
    await vi.advanceTimersByTimeAsync(0)
    expect(rooms()).toHaveLength(2)
  })

  test('is left when the link breaks', async () => {
    const { link } = await inRoom()
    link.status?.('CHANNEL_ERROR')
    expect(client.removed).toEqual(rooms())
    rooms()[0]!.sync({ k: [peer('jonas')] })
    expect(heard).toEqual([])
  })
})

describe('what this browser says', () => {
  test('is tracked once the room is joined, and again when it was joined anew', async () => {
    const { backend } = await inRoom()
    const room = rooms()[0]!
    backend.presence!([peer('maya')])
    expect(room.calls).toEqual([])
    room.status?.('SUBSCRIBED')
    expect(room.calls).toEqual([{ peers: [peer('maya')] }])
    room.status?.('CHANNEL_ERROR')
    room.status?.('CLOSED')
    backend.presence!([peer('maya', 'typing')])
    expect([room.calls.length, client.removed]).toEqual([1, [room]])
    await vi.advanceTimersByTimeAsync(10_000)
    expect(rooms()).toHaveLength(2)
    rooms()[1]!.status?.('SUBSCRIBED')
    expect(rooms()[1]!.calls).toEqual([{ peers: [peer('maya', 'typing')] }])
  })

  test('costs no call where nothing has changed, and one to leave', async () => {
    const { backend } = await inRoom()
    const room = rooms()[0]!
    room.status?.('SUBSCRIBED')
    for (let times = 0; times < 4; times++) backend.presence!([peer('maya')])
    backend.presence!([{ ...peer('maya'), presence: null }])
    backend.presence!([])
    expect(room.calls).toEqual([{ peers: [peer('maya')] }, 'untrack'])
  })

  test('takes no more than five calls in half a minute, and the last word is never lost', async () => {
    const { backend } = await inRoom()
    const room = rooms()[0]!
    room.status?.('SUBSCRIBED')
    for (let at = 0; at < 20; at++) {
      backend.presence!([peer(`maya-${at}`)])
      await vi.advanceTimersByTimeAsync(1_000)
    }
    expect(room.calls).toHaveLength(5)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(room.calls.length).toBeLessThanOrEqual(10)
    expect(room.calls.at(-1)).toEqual({ peers: [peer('maya-19')] })
  })

  test('is said again when the server did not take it', async () => {
    const { backend } = await inRoom()
    const room = rooms()[0]!
    room.status?.('SUBSCRIBED')
    room.answer = 'error'
    backend.presence!([peer('maya')])
    await vi.advanceTimersByTimeAsync(0)
    room.answer = 'ok'
    await vi.advanceTimersByTimeAsync(6_000)
    expect(room.calls).toEqual([{ peers: [peer('maya')] }, { peers: [peer('maya')] }])
    await vi.advanceTimersByTimeAsync(60_000)
    expect(room.calls).toHaveLength(2)
  })
})

describe('what others say', () => {
  test('is told, with those who are gone, and again before it runs out', async () => {
    await inRoom()
    const room = rooms()[0]!
    room.sync({ one: [peer('jonas')], two: [peer('lena', 'typing'), peer('omar')] })
    expect(heard).toEqual([[peer('jonas'), peer('lena', 'typing'), peer('omar')]])
    await vi.advanceTimersByTimeAsync(3_000)
    expect(heard).toHaveLength(2)
    room.sync({ one: [peer('jonas')] })
    expect(heard.at(-1)).toEqual([peer('jonas'), { ...peer('lena', 'typing'), presence: null }, { ...peer('omar'), presence: null }])
    await vi.advanceTimersByTimeAsync(9_999)
    expect(heard).toHaveLength(3)
    await vi.advanceTimersByTimeAsync(1)
    expect(heard.at(-1)).toEqual([peer('jonas')])
    room.sync({ three: [peer('jonas', 'typing')] })
    expect(heard.at(-1)).toEqual([peer('jonas', 'typing')])
    room.sync({})
    expect(heard.at(-1)).toEqual([{ ...peer('jonas', 'typing'), presence: null }])
    const { length } = heard
    await vi.advanceTimersByTimeAsync(60_000)
    expect(heard).toHaveLength(length)
  })

  test('may be nonsense, which hides nobody', async () => {
    await inRoom()
    const nonsense = [null, 5, 'x', {}, { user: 5, tab: 'x', presence: {} }, { user: 'x', tab: 'x', presence: null }, { user: 'x', tab: 'x', presence: { place: 'p', doing: 'dancing' } }, { user: 'x', tab: 'x', presence: { place: 'p', doing: 'idle', record: 5 } }]
    rooms()[0]!.sync({ none: undefined, text: 'nobody', nonsense, two: [peer('jonas')] })
    expect(heard).toEqual([[peer('jonas')]])
  })

  test('leaves no timer behind with the link', async () => {
    const { disconnect, backend } = await inRoom()
    const room = rooms()[0]!
    room.status?.('SUBSCRIBED')
    for (let at = 0; at < 9; at++) backend.presence!([peer(`maya-${at}`)])
    room.sync({ one: [peer('jonas')] })
    disconnect()
    await vi.advanceTimersByTimeAsync(0)
    expect(vi.getTimerCount()).toBe(0)
  })
})
