import type { SupabaseClient } from '@supabase/supabase-js'
import { BackendError, type LinkListener, type Operation, type PullRequest } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { openLive, pause, until } from './world.js'

type Handler = (payload: Record<string, unknown>) => void

class Channel {
  readonly handlers: { kind: string; filter: Record<string, unknown>; handler: Handler }[] = []
  status: ((status: string, error?: Error) => void) | undefined

  constructor(readonly topic: string) {}

  on(kind: string, filter: Record<string, unknown>, handler: Handler): this {
    this.handlers.push({ kind, filter, handler })
    return this
  }

  subscribe(status: (status: string, error?: Error) => void): this {
    this.status = status
    return this
  }

  change(payload: Record<string, unknown>): void {
    this.handlers.find(({ kind }) => kind === 'postgres_changes')?.handler(payload)
  }

  system(payload: Record<string, unknown>): void {
    this.handlers.find(({ kind }) => kind === 'system')?.handler({ extension: 'postgres_changes', ...payload })
  }
}

/** A session with a token of a person's. */
function sessionOf(sub: string | undefined, more: object = {}) {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return { access_token: [part({ alg: 'HS256' }), part({ sub, role: 'authenticated', ...more }), 'signed'].join('.'), expires_at: Date.now() / 1_000 + 3_600 }
}

class Client {
  readonly channels: Channel[] = []
  readonly removed: Channel[] = []
  readonly calls: [string, unknown][] = []
  reply: unknown = { data: { ok: true }, error: null, status: 200 }
  unsubscribed = 0
  authEvent: ((event: string, session?: unknown) => void) | undefined
  /** The tokens that calls were made with. */
  readonly tokens: (string | undefined)[] = []
  session: { access_token: string; expires_at?: number } | null = sessionOf('maya')
  sessionError: Error | null = null
  rest = { headers: new Headers() }
  realtime = { accessTokenValue: undefined as string | undefined, setAuth: vi.fn(async () => {}), connectionState: vi.fn(() => 'open'), disconnect: vi.fn(async () => {}) }
  auth = {
    refreshSession: vi.fn(async (): Promise<{ error: Error | null }> => ({ error: null })),
    getSession: async () => ({ data: { session: this.session }, error: this.sessionError }),
    onAuthStateChange: (listener: (event: string, session?: unknown) => void) => {
      this.authEvent = listener
      return { data: { subscription: { unsubscribe: () => void this.unsubscribed++ } } }
    },
  }

  rpc(name: string, args: unknown) {
    this.calls.push([name, args])
    let token: string | undefined
    const made = {
      setHeader: (_name: string, value: string) => ((token = value), made),
      abortSignal: async () => (this.tokens.push(token), this.reply),
    }
    return made
  }

  channel(topic: string): Channel {
    const channel = new Channel(topic)
    this.channels.push(channel)
    return channel
  }

  async removeChannel(channel: Channel): Promise<string> {
    this.removed.push(channel)
    return 'ok'
  }
}

let client: Client
let heard: unknown[]
let listener: LinkListener
const adapter = () => supabaseBackend(client as unknown as SupabaseClient)

beforeEach(() => {
  client = new Client()
  heard = []
  listener = {
    joined: () => heard.push('joined'),
    live: () => heard.push('live'),
    closed: ({ failure, message }) => heard.push(['closed', failure, message]),
    changed: (events) => heard.push(...events),
  }
})

/** The frames that have arrived are handed on. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

const connect = async () => {
  const disconnect = adapter().connect(['companies', 'people'], listener, 'maya')
  await pause(0)
  return { disconnect, channel: client.channels.at(-1)! }
}

describe('calls', () => {
  const signal = new AbortController().signal

  test('pull and push call the two functions of the server kit, and hand their answer through', async () => {
    const request = { protocol: 1, tables: ['companies'], cursor: null, pending: [] } satisfies PullRequest
    expect(await adapter().pull(request, signal, 'maya')).toEqual({ ok: true })
    await adapter().push({ id: 'x' } as Operation, signal, 'maya')
    expect(client.calls).toEqual([['rota_pull', { request }], ['apply_operation', { op: { id: 'x' } }]])
  })

  test('several operations are one call of the server kit', async () => {
    client.reply = { data: [{ id: 'x' }, { id: 'y' }], error: null, status: 200 }
    const ops = [{ id: 'x' }, { id: 'y' }] as Operation[]
    expect(await adapter().pushAll?.(ops, signal, 'maya')).toEqual([{ id: 'x' }, { id: 'y' }])
    expect(client.calls).toEqual([['apply_operations', { ops }]])
  })

  test('who is at work in a chat is told by the function of the server kit', async () => {
    for (const [data, knows] of [[true, true], [false, false]]) {
      client.reply = { data, error: null, status: 200 }
      expect(await adapter().active?.('chats', 'c-1', signal, 'maya')).toBe(knows)
    }
    expect(client.calls).toEqual([0, 1].map(() => ['record_operator_activity', { p_chat_id: 'c-1' }]))
    await expect(adapter().active?.('talks', 'c-1', signal, 'maya')).rejects.toMatchObject({ failure: 'invalid' })
  })

  test.each([
    [404, 'PGRST202'],
    [404, undefined],
    [400, 'PGRST202'],
  ])('a database without that function (status %i, code %s) takes one a call', async (status, code) => {
    client.reply = { data: null, error: { message: 'no such function', code }, status }
    expect(await adapter().pushAll?.([], signal, 'maya')).toBeUndefined()
  })

  test('a call of several fails as any other does', async () => {
    client.reply = { data: null, error: { message: 'too large' }, status: 413 }
    await expect(adapter().pushAll?.([], signal, 'maya')).rejects.toMatchObject({ failure: 'invalid', message: 'too large' })
  })

  test.each([
    [0, undefined, 'network'],
    [400, '22P02', 'invalid'],
    [401, undefined, 'auth'],
    [401, 'PGRST301', 'auth'],
    [403, '42501', 'forbidden'],
    [404, 'PGRST202', 'invalid'],
    [408, undefined, 'timeout'],
    [410, undefined, 'gone'],
    [429, undefined, 'rate-limit'],
    [500, undefined, 'server'],
    [502, undefined, 'network'],
    [503, undefined, 'network'],
    [503, 'PGRST000', 'network'],
    [503, 'PGRST001', 'network'],
    [503, 'PGRST002', 'network'],
    [504, 'PGRST003', 'network'],
    [504, undefined, 'timeout'],
    [302, undefined, 'unknown'],
  ] as const)('status %i with code %s is %s', async (status, code, failure) => {
    client.reply = { data: null, error: { message: 'as it says', code }, status }
    const error = await adapter().push({} as Operation, signal, 'maya').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(BackendError)
    expect(error).toMatchObject({ failure, message: 'as it says' })
  })

  test('an error without words says the status', async () => {
    client.reply = { data: null, error: { message: '' }, status: 503 }
    await expect(adapter().pull({} as PullRequest, signal, 'maya')).rejects.toMatchObject({ message: 'the server answered 503' })
  })
})

describe('the link', () => {
  test('every connection has a topic of its own, and is removed when it is left', async () => {
    const links = [await connect(), await connect(), await connect()]
    expect(new Set(client.channels.map(({ topic }) => topic)).size).toBe(3)
    links[0]!.disconnect()
    expect(client.removed).toEqual([links[0]!.channel])
  })

  test('a fresh token is put on the socket before it joins; a link that was left meanwhile does not join', async () => {
    let isFresh = () => {}
    client.realtime.setAuth.mockImplementationOnce(() => new Promise<void>((resolve) => (isFresh = resolve)))
    const disconnect = adapter().connect(['companies'], listener, 'maya')
    await until(() => expect(client.realtime.setAuth).toHaveBeenCalledTimes(1))
    disconnect()
    isFresh()
    await pause(0)
    expect(client.channels[0]?.status).toBeUndefined()
    expect(heard).toEqual([])
  })

  test('subscribed is only joined; live is the word of the system', async () => {
    const { channel } = await connect()
    channel.status?.('SUBSCRIBED')
    expect(heard).toEqual(['joined'])
    channel.system({ extension: 'broadcast', status: 'ok' })
    expect(heard).toEqual(['joined'])
    channel.system({ status: 'ok', message: 'Subscribed to PostgreSQL' })
    expect(heard).toEqual(['joined', 'live'])
  })

  test('every table is listened to, in its schema', async () => {
    const { channel } = await connect()
    expect(channel.handlers.map(({ kind, filter }) => [kind, filter])).toEqual([
      ['postgres_changes', { event: '*', schema: 'public', table: 'companies' }],
      ['postgres_changes', { event: '*', schema: 'public', table: 'people' }],
      ['system', {}],
    ])
  })

  test('rows and deletions are handed on, and nothing after the link was left', async () => {
    const { channel, disconnect } = await connect()
    channel.change({ eventType: 'INSERT', new: { id: 'a' }, old: {}, errors: null })
    channel.change({ eventType: 'UPDATE', new: { id: 'b' }, old: { id: 'b' }, errors: [] })
    channel.change({ eventType: 'DELETE', new: {}, old: { id: 'c' }, errors: null })
    await turn()
    channel.change({ eventType: 'INSERT', new: { id: 'late' }, old: {}, errors: null })
    disconnect()
    await turn()
    channel.change({ eventType: 'INSERT', new: { id: 'd' }, old: {}, errors: null })
    channel.system({ status: 'ok' })
    channel.status?.('CLOSED')
    expect(heard).toEqual([
      { table: 'companies', kind: 'changed', row: { id: 'a' } },
      { table: 'companies', kind: 'changed', row: { id: 'b' }, old: { id: 'b' } },
      { table: 'companies', kind: 'deleted', row: { id: 'c' } },
    ])
  })

  test('the frames of one turn come together, in order, and before whatever comes after them', async () => {
    const batches: unknown[][] = []
    listener = { ...listener, changed: (events) => (batches.push(events as unknown[]), heard.push(events.length)) }
    const { channel } = await connect()
    const insert = (id: string) => channel.change({ eventType: 'INSERT', new: { id }, old: {}, errors: null })
    for (let n = 0; n < 100; n++) insert(`a${n}`)
    expect(heard).toEqual([])
    await turn()
    expect(heard).toEqual([100])
    expect(batches[0]).toEqual(Array.from({ length: 100 }, (_, n) => ({ table: 'companies', kind: 'changed', row: { id: `a${n}` } })))
    insert('b')
    channel.status?.('SUBSCRIBED')
    insert('c')
    channel.system({ status: 'ok' })
    for (let n = 0; n < 1_001; n++) insert(`d${n}`)
    channel.status?.('CLOSED')
    insert('too late')
    await turn()
    expect(heard).toEqual([100, 1, 'joined', 1, 'live', 1_000, 1, ['closed', 'network', expect.stringContaining('CLOSED')]])
  })

  test('frames come together where there is no setImmediate, as in browsers', async () => {
    const immediate = globalThis.setImmediate
    vi.stubGlobal('setImmediate', undefined)
    const { channel, disconnect } = await connect()
    const insert = (id: string) => channel.change({ eventType: 'INSERT', new: { id }, old: {}, errors: null })
    for (const id of ['a', 'b']) insert(id)
    expect(heard).toEqual([])
    await new Promise((resolve) => immediate(() => immediate(resolve)))
    await until(() => expect(heard).toHaveLength(2))
    disconnect()
  })

  const ends: [what: string, end: (channel: Channel) => void, failure: string, message: RegExp][] = [
    ['a row the server could not show', (channel) => channel.change({ eventType: 'UPDATE', new: {}, old: {}, errors: ['Error 413: too large'] }), 'server', /413/],
    ['a system error', (channel) => channel.system({ status: 'error', message: 'Unable to subscribe' }), 'server', /Unable/],
    ['a system error without words', (channel) => channel.system({ status: 'error' }), 'server', /the stream failed/],
    ['a system error about the token', (channel) => channel.system({ status: 'error', message: 'Token has expired' }), 'auth', /expired/],
    ['a channel error', (channel) => channel.status?.('CHANNEL_ERROR'), 'network', /CHANNEL_ERROR/],
    ['a channel error about the token', (channel) => channel.status?.('CHANNEL_ERROR', new Error('"InvalidJWTToken: expired"')), 'auth', /expired/],
    ['a channel error about a signature', (channel) => channel.status?.('CHANNEL_ERROR', new Error('JwtSignatureError: Failed to validate JWT signature')), 'auth', /signature/],
    ['a channel error that says unauthorized', (channel) => channel.status?.('CHANNEL_ERROR', new Error('Unauthorized: You do not have permissions')), 'auth', /Unauthorized/],
    ['a channel error that only names a token', (channel) => channel.status?.('CHANNEL_ERROR', new Error('could not parse: unexpected token <')), 'network', /unexpected/],
    ['a system error that only names a token', (channel) => channel.system({ status: 'error', message: 'no column "token" in table "devices"' }), 'server', /column/],
    ['a channel error about a JWT', (channel) => channel.status?.('CHANNEL_ERROR', new Error('JWT expired')), 'auth', /expired/],
    ['a join that timed out', (channel) => channel.status?.('TIMED_OUT'), 'timeout', /TIMED_OUT/],
    ['a channel that was closed', (channel) => channel.status?.('CLOSED'), 'network', /CLOSED/],
  ]

  test.each(ends)('%s ends it, once', async (_what, end, failure, message) => {
    const { channel } = await connect()
    end(channel)
    end(channel)
    channel.status?.('CLOSED')
    expect(heard).toEqual([['closed', expect.stringMatching(failure), expect.stringMatching(message)]])
  })

  test('no token for the socket ends it as a matter of the token', async () => {
    client.realtime.setAuth.mockRejectedValueOnce(new Error('no session'))
    await connect()
    expect(heard).toEqual([['closed', 'auth', 'no session']])
  })

  test('a dead socket is laid down before joining, a good one is kept', async () => {
    await connect()
    expect(client.realtime.disconnect).not.toHaveBeenCalled()
    client.realtime.connectionState.mockReturnValueOnce('closed')
    const { channel } = await connect()
    expect(client.realtime.disconnect).toHaveBeenCalledTimes(1)
    expect(channel.status).toBeDefined()
  })

  test('a client that throws while joining ends it', async () => {
    vi.spyOn(Channel.prototype, 'subscribe').mockImplementationOnce(() => {
      throw new Error('subscribed twice')
    })
    await connect()
    expect(heard).toEqual([['closed', 'unknown', 'subscribed twice']])
  })
})

describe('the token', () => {
  test('a session that can not be refreshed is a matter of the token', async () => {
    await expect(adapter().refreshToken?.('maya')).resolves.toBeUndefined()
    client.auth.refreshSession.mockResolvedValueOnce({ error: new Error('signed out') })
    await expect(adapter().refreshToken?.('maya')).rejects.toMatchObject({ failure: 'auth', message: 'signed out' })
  })

  test('a fresh one is told, other events are not', () => {
    let told = 0
    adapter().onToken?.(() => told++)
    for (const event of ['INITIAL_SESSION', 'USER_UPDATED', 'TOKEN_REFRESHED', 'SIGNED_IN']) client.authEvent?.(event)
    expect(told).toBe(2)
  })

  test('whose it is, is told with it, and whether a session has ended or was ended', () => {
    const told: unknown[] = []
    adapter().onToken?.((news) => told.push(news))
    client.authEvent?.('INITIAL_SESSION', sessionOf('maya'))
    client.authEvent?.('SIGNED_IN', sessionOf('мая'))
    client.authEvent?.('SIGNED_OUT', null)
    client.authEvent?.('SIGNED_IN', { ...sessionOf('lena'), expires_at: Date.now() / 1_000 + 60 })
    client.authEvent?.('SIGNED_OUT', null)
    client.authEvent?.('SIGNED_OUT', null)
    client.authEvent?.('TOKEN_REFRESHED', { access_token: 'no token of ours' })
    expect(told).toEqual([{ user: 'мая' }, { user: null, hasExpired: false }, { user: 'lena' }, { user: null, hasExpired: true }, { user: null, hasExpired: true }, undefined])
  })

  test('a session that is gone when a fresh one is asked for has ended, and nobody has ended it', async () => {
    const told: unknown[] = []
    const backend = adapter()
    backend.onToken?.((news) => told.push(news))
    client.authEvent?.('INITIAL_SESSION', sessionOf('maya'))
    client.auth.refreshSession.mockImplementationOnce(async () => {
      client.authEvent?.('SIGNED_OUT', null)
      return { error: new Error('revoked') }
    })
    await expect(backend.refreshToken?.('maya')).rejects.toMatchObject({ failure: 'auth' })
    expect(told).toEqual([{ user: null, hasExpired: true }])
  })

  describe('of somebody else', () => {
    const signal = new AbortController().signal
    const others = { failure: 'auth', message: expect.stringContaining('somebody else') }
    beforeEach(() => {
      client.session = sessionOf('lena')
    })

    test('is used for no call, and not refreshed', async () => {
      const backend = adapter()
      await expect(backend.pull({} as PullRequest, signal, 'maya')).rejects.toMatchObject(others)
      await expect(backend.push({} as Operation, signal, 'maya')).rejects.toMatchObject(others)
      await expect(backend.pushAll?.([], signal, 'maya')).rejects.toMatchObject(others)
      await expect(backend.refreshToken?.('maya')).rejects.toMatchObject(others)
      expect([client.calls, client.auth.refreshSession.mock.calls]).toEqual([[], []])
    })

    test('joins nothing', async () => {
      const { channel } = await connect()
      expect([channel.status, heard]).toEqual([undefined, [['closed', 'auth', others.message]]])
    })

    test('ends the link as soon as it is on the socket, and no row comes in', async () => {
      client.session = sessionOf('maya')
      const { channel } = await connect()
      client.realtime.accessTokenValue = client.session.access_token
      channel.status?.('SUBSCRIBED')
      channel.system({ status: 'ok' })
      client.realtime.accessTokenValue = sessionOf('lena').access_token
      channel.change({ eventType: 'INSERT', new: { id: 'for lena' }, old: {}, errors: null })
      await turn()
      expect(heard).toEqual(['joined', 'live', ['closed', 'auth', others.message]])
    })

    test('is told by other claims, where the application says so', async () => {
      client.session = sessionOf('auth|7', { person: 'maya' })
      const backend = supabaseBackend(client as unknown as SupabaseClient, { userOf: ({ person }) => person })
      expect(await backend.pull({} as PullRequest, signal, 'maya')).toEqual({ ok: true })
      await expect(backend.pull({} as PullRequest, signal, 'lena')).rejects.toMatchObject(others)
    })
  })

  test('a call is made with the token that was looked at', async () => {
    await adapter().pull({} as PullRequest, new AbortController().signal, 'maya')
    expect(client.tokens).toEqual([`Bearer ${client.session?.access_token}`])
  })

  test('without a session no call is made; while it can not be read there is no network', async () => {
    client.session = null
    await expect(adapter().pull({} as PullRequest, new AbortController().signal, 'maya')).rejects.toMatchObject({ failure: 'auth', message: 'nobody is signed in' })
    client.sessionError = Object.assign(new Error('no route'), { name: 'AuthRetryableFetchError' })
    await expect(adapter().pull({} as PullRequest, new AbortController().signal, 'maya')).rejects.toMatchObject({ failure: 'network' })
    expect(client.calls).toEqual([])
  })

  test('that a client was made with for all calls is left to it, and looked at all the same', async () => {
    client.session = null
    client.rest.headers = new Headers({ Authorization: `Bearer ${sessionOf('maya').access_token}` })
    expect(await adapter().pull({} as PullRequest, new AbortController().signal, 'maya')).toEqual({ ok: true })
    await expect(adapter().pull({} as PullRequest, new AbortController().signal, 'lena')).rejects.toMatchObject({ failure: 'auth' })
    expect(client.tokens).toEqual([undefined])
  })

  test('closing the store ends the subscription to the session, and removes the channel', async () => {
    const world = await openLive()
    const { createStore } = await import('rota-engine')
    const store = createStore({ app: 'supabase', user: 'maya', tables: world.store.tables, backend: adapter(), storage: 'memory', onProblem: () => {} })
    await pause(5)
    expect(client.channels).toHaveLength(1)
    store.close()
    expect(client.unsubscribed).toBe(1)
    expect(client.removed).toEqual(client.channels)
  })
})
