import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { isChange, isLive, rawSocket, type Frame } from './raw-socket.js'
import { openWorld, until, type World } from './world.js'

let world: World
const rejections: unknown[] = []
beforeAll(async () => {
  process.on('unhandledRejection', (error) => rejections.push(error))
  world = await openWorld({
    limits: {
      channelsPerSocket: 3,
      bindingsPerChannel: 4,
      joinsPerMinute: 12,
      socketSilenceMs: 1_500,
      bufferedBytes: 3_000_000,
      changesPerTransaction: 100,
      pendingFrames: 50,
    },
  })
})
afterAll(async () => {
  await world.close()
  expect(rejections).toEqual([])
})

const NOTES = { event: '*', schema: 'public', table: 'notes' }
const deep = `${'['.repeat(400_000)}${']'.repeat(400_000)}`

describe('A frame that is none closes the socket, with a reason', () => {
  it.each<[string, string | Buffer, number]>([
    ['not JSON', '{', 1003],
    ['a number', '5', 1003],
    ['null', 'null', 1003],
    ['a list too short', '[null,"1","a"]', 1003],
    ['a list too long', '[null,"1","a","b",{},1]', 1003],
    ['a topic that is a number', '[null,"1",5,"phx_join",{}]', 1003],
    ['a reference that is an object', '[{},"1","realtime:a","phx_join",{}]', 1003],
    ['an empty event', '[null,"1","realtime:a","",{}]', 1003],
    ['a topic of 300 characters', `[null,"1","${'t'.repeat(300)}","phx_join",{}]`, 1003],
    ['JSON of great depth', deep, 1003],
    ['an object where a list belongs', '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}', 1003],
    ['an empty binary frame', Buffer.alloc(0), 1003],
    ['a binary frame of an unknown kind', Buffer.from([9, 0, 0, 1, 1, 0, 1, 65, 66]), 1003],
    ['a binary frame whose lengths lie', Buffer.from([3, 255, 255, 255, 255, 255, 1, 65]), 1003],
    ['a frame of more than a mebibyte', JSON.stringify([null, '1', 'realtime:a', 'x', 'x'.repeat(1_048_576)]), 1009],
  ])('%s', async (_, data, code) => {
    const socket = await rawSocket(world)
    socket.ws.send(data)
    expect((await socket.closed).code).toBe(code)
  })
})

describe('A frame that makes no sense is answered with an error', () => {
  const join = (payload: unknown): Frame => ['1', '1', 'realtime:a', 'phx_join', payload as Record<string, unknown>]
  const changes = (...items: unknown[]): Frame => join({ config: { postgres_changes: items } })
  it.each<[string, Frame, RegExp]>([
    ['an event for a topic nobody joined', [null, '1', 'realtime:x', 'broadcast', {}], /unmatched topic/],
    ['a join of a topic without realtime:', ['1', '1', 'room', 'phx_join', {}], /TopicNameRequired/],
    ['a join with a payload that is text', join('x'), /MalformedJoin/],
    ['a join with a list for config', join({ config: [] }), /MalformedJoin/],
    ['bindings that are no list', join({ config: { postgres_changes: {} } }), /must be a list/],
    ['a binding that is null', changes(null), /must be an object/],
    ['a binding without an event', changes({ schema: 'public', table: 'notes' }), /event must be/],
    ['an unknown event', changes({ ...NOTES, event: 'TRUNCATE' }), /event must be/],
    ['a table that is a number', changes({ ...NOTES, table: 5 }), /must be strings/],
    ['a binding that nests', changes({ ...NOTES, extra: { a: 1 } }), /nested/],
    ['a binding that selects columns', changes({ ...NOTES, select: ['id'] }), /Unsupported: select/],
    ['an unknown schema', changes({ event: '*', schema: 'auth' }), /not in the publication/],
    ['a table that is SQL', changes({ ...NOTES, table: 'notes"; drop table notes; --' }), /not in the publication/],
    ['too many bindings', changes(NOTES, NOTES, NOTES, NOTES, NOTES), /TooManyBindings/],
    ['a filter without a table', changes({ event: '*', schema: 'public', filter: 'id=eq.1' }), /needs a table/],
    ['a filter that is none', changes({ ...NOTES, filter: 'id' }), /MalformedFilter/],
    ['a filter operator not served', changes({ ...NOTES, filter: 'title=like.x' }), /Unsupported: the filter operator like/],
    ['a negated filter', changes({ ...NOTES, filter: 'title=not.eq.x' }), /Unsupported: the filter operator/],
    ['an order on text', changes({ ...NOTES, filter: 'title=gt.x' }), /Unsupported: gt on text/],
    ['a filter on an unknown column', changes({ ...NOTES, filter: 'nope=eq.1' }), /no column nope/],
    ['a filter value that does not fit', changes({ ...NOTES, filter: 'id=eq.x' }), /MalformedFilter: invalid input/],
    ['a filter list left open', changes({ ...NOTES, filter: 'id=in.(1,2' }), /MalformedFilter/],
    ['presence that is a list', join({ config: { presence: [] } }), /MalformedJoin: presence/],
    ['presence under a number', join({ config: { presence: { enabled: true, key: 5 } } }), /presence key/],
    ['broadcast to oneself', join({ config: { broadcast: { self: true } } }), /Unsupported: broadcast/],
    ['a private channel', join({ config: { private: true } }), /Unsupported: private/],
    ['a join that would wait', join({ config: { postgres_changes_options: { wait: true } } }), /Unsupported: postgres_changes_options/],
    ['an unknown event of the phoenix topic', [null, '1', 'phoenix', 'x', {}], /unknown event/],
  ])('%s', async (_, frame, reason) => {
    const socket = await rawSocket(world)
    socket.send(frame)
    const reply = await socket.next(([, ref]) => ref === '1')
    expect(reply.slice(2)).toEqual([frame[2], 'phx_reply', { status: 'error', response: { reason: expect.stringMatching(reason) } }])
    socket.ws.close()
  })

  it('a broadcast of the real client, which is binary, and presence that was not asked for', async () => {
    const socket = await rawSocket(world)
    await socket.join('realtime:a', [])
    const names = ['1', '5', 'realtime:a', 'hi', '']
    socket.ws.send(Buffer.concat([Buffer.from([3, ...names.map((name) => name.length), 1]), Buffer.from(`${names.join('')}{}`)]))
    expect((await socket.next(([, ref]) => ref === '5'))[4]).toMatchObject({ status: 'error', response: { reason: /broadcast/ } })
    socket.send(['1', '6', 'realtime:a', 'presence', { event: 'track' }])
    socket.send(['1', '7', 'realtime:a', 'broadcast', { event: 'x' }])
    socket.send(['1', '8', 'realtime:a', 'made_up', {}])
    for (const ref of ['6', '7', '8']) expect((await socket.next((frame) => frame[1] === ref))[4]['status']).toBe('error')
    socket.ws.close()
  })
})

describe('Bounds', () => {
  it('one channel too many is refused, and a topic joined again is replaced', async () => {
    const socket = await rawSocket(world)
    for (const n of ['1', '2', '3']) expect(await socket.join(`realtime:${n}`, [], {}, n)).toMatchObject({ status: 'ok' })
    expect(await socket.join('realtime:4', [], {}, '4')).toMatchObject({ status: 'error', response: { reason: /Too many channels/ } })
    expect(await socket.join('realtime:3', [], {}, '5')).toMatchObject({ status: 'ok' })
    expect(await socket.next((frame) => frame[3] === 'phx_close')).toEqual(['3', '3', 'realtime:3', 'phx_close', {}])
    expect(world.gateway.stats().channels).toBe(3)
    socket.ws.close()
    await until(() => world.gateway.stats().channels === 0, 'its channels are gone')
  })

  it('too many joins in a minute are refused', async () => {
    const socket = await rawSocket(world)
    for (let n = 1; n <= 12; n++) await socket.join('realtime:a', [], {}, String(n))
    expect(await socket.join('realtime:a', [], {}, '13')).toMatchObject({ status: 'error', response: { reason: /Too many joins/ } })
    socket.ws.close()
  })

  it('a flood of frames closes the socket', async () => {
    const socket = await rawSocket(world)
    for (let n = 0; n < 60; n++) socket.send(['1', String(n), 'realtime:a', 'phx_join', {}])
    expect((await socket.closed).code).toBe(1008)
  })

  it('a socket that says nothing is closed, and one with a heartbeat is not', async () => {
    const [silent, alive] = await Promise.all([rawSocket(world), rawSocket(world)])
    const beat = setInterval(() => alive.send([null, '1', 'phoenix', 'heartbeat', {}]), 300)
    expect(await silent.closed).toMatchObject({ reason: 'silent for too long' })
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect(alive.ws.readyState).toBe(WebSocket.OPEN)
    clearInterval(beat)
    alive.ws.close()
  })

  it('a consumer that reads nothing is cut off, and the others are served', async () => {
    const token = await world.accessToken(world.ada)
    const [slow, quick] = await Promise.all([rawSocket(world), rawSocket(world)])
    const beat = setInterval(() => [slow, quick].forEach((socket) => socket.send([null, '9', 'phoenix', 'heartbeat', {}])), 300)
    for (const socket of [slow, quick]) {
      await socket.join('realtime:a', [NOTES], { access_token: token })
      await socket.next(isLive('realtime:a'))
    }
    slow.ws.pause()
    let id = 1_000
    while (world.gateway.stats().slowConsumersClosed === 0 && id < 1_600) {
      await world.db.query("insert into notes (id, owner, title) select $1 + i, $2, repeat('x', 100000) from generate_series(0, 9) i", [
        id,
        world.ada.id,
      ])
      id += 10
      await until(() => quick.frames.filter(isChange).length === id - 1_000, 'these rows at the quick one')
    }
    expect(world.gateway.stats().slowConsumersClosed).toBe(1)
    clearInterval(beat)
    quick.ws.close()
    slow.ws.terminate()
    await world.db.query('truncate notes')
  })

  it('a transaction too large to stream tells every channel to come again', async () => {
    const socket = await rawSocket(world)
    await socket.join('realtime:a', [NOTES], { access_token: await world.accessToken(world.ada) })
    await socket.next(isLive('realtime:a'))
    await world.db.query('insert into notes (id, owner) select i, $1 from generate_series(1, 101) i', [world.ada.id])
    const system = await socket.next((frame) => frame[3] === 'system' && frame[4]['status'] === 'error')
    expect(system[4]['message']).toMatch(/more than 100 changes/)
    expect(await socket.next((frame) => frame[3] === 'phx_error')).toEqual(['1', '1', 'realtime:a', 'phx_error', {}])
    expect(socket.frames.filter(isChange)).toEqual([])
    socket.ws.close()
  })
})
