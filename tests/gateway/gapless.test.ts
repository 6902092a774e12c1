import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { isChange, isLive, rawSocket, type RawSocket } from './raw-socket.js'
import { openWorld, until, type World } from './world.js'

let world: World
const opened: RawSocket[] = []
beforeAll(async () => {
  world = await openWorld()
})
afterEach(async () => {
  for (const socket of opened.splice(0)) socket.ws.terminate()
  world.gateway.faults.systemDelayMs = 0
  await world.quiet()
})
afterAll(() => world.close())

const NOTES = { event: '*', schema: 'public', table: 'notes' } as const
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Writers that never stop: each commit is noted with the moment before its statement was sent. */
function hammer(writers: number): { committed: { id: number; begunAt: number }[]; stop(): Promise<void> } {
  const committed: { id: number; begunAt: number }[] = []
  const state = { going: true }
  let id = Math.floor(Math.random() * 1e9) * 1_000
  const work = Array.from({ length: writers }, async () => {
    while (state.going) {
      const mine = ++id
      const begunAt = performance.now()
      await world.db.query('insert into notes (id, owner) values ($1, $2)', [mine, world.ada.id])
      committed.push({ id: mine, begunAt })
      // Writers, gateway and listener share this process: flat out, they would only measure each other.
      await pause(2)
    }
  })
  return { committed, stop: async () => ((state.going = false), void (await Promise.all(work))) }
}

describe('Nothing that is committed after the ok is missed', () => {
  it.each([0, 1, 50, 300])('with %i ms between the reply and the ok, under constant writing, join after join', async (systemDelayMs) => {
    world.gateway.faults.systemDelayMs = systemDelayMs
    const token = await world.accessToken(world.ada)
    const writing = hammer(4)
    onTestFinished(() => writing.stop())
    for (let round = 0; round < 8; round++) {
      const socket = await rawSocket(world)
      opened.push(socket)
      await socket.join('realtime:a', [NOTES], { access_token: token })
      const repliedAt = performance.now()
      await socket.next(isLive('realtime:a'))
      const liveAt = performance.now()
      // Half, because the reply itself may be read late.
      expect(liveAt - repliedAt).toBeGreaterThanOrEqual(systemDelayMs / 2 - 2)
      await pause(100)
      const due = writing.committed.filter(({ begunAt }) => begunAt > liveAt).map(({ id }) => id)
      expect(due.length).toBeGreaterThan(0)
      const arrived = (): Set<number> => new Set(socket.frames.filter(isChange).map((frame) => frame[4]['data'].record.id))
      await until(() => due.every((id) => arrived().has(id)), 'every row committed after the ok', 5_000)
      socket.ws.terminate()
    }
  })

  it('and what is committed between the reply and the ok is lost, as on the real server: the test above can fail', async () => {
    world.gateway.faults.systemDelayMs = 300
    const socket = await rawSocket(world)
    await socket.join('realtime:a', [NOTES], { access_token: await world.accessToken(world.ada) })
    await world.db.query('insert into notes (id, owner) values (1, $1)', [world.ada.id])
    await socket.next(isLive('realtime:a'))
    await world.db.query('insert into notes (id, owner) values (2, $1)', [world.ada.id])
    await socket.next(isChange)
    expect(socket.frames.filter(isChange).map((frame) => frame[4]['data'].record.id)).toEqual([2])
    socket.ws.close()
  })

  // A commit is in the log, and so in the stream, a moment before other transactions can see it.
  it('a pull right after the ok sees what was committed before it, or the stream brings it', async () => {
    const client = await world.signedIn(world.ada)
    const { data } = await client.auth.getSession()
    const writing = hammer(4)
    onTestFinished(() => writing.stop())
    await until(() => writing.committed.length > 10, 'the writing has begun')
    for (let round = 0; round < 20; round++) {
      const since = writing.committed.at(-1)!.id
      const socket = await rawSocket(world)
      opened.push(socket)
      await socket.join('realtime:a', [NOTES], { access_token: data.session!.access_token })
      await socket.next(isLive('realtime:a'))
      const pulled = await client
        .from('notes')
        .select('id')
        .gt('id', since)
        .lte('id', since + 900)
      const last = since + 900
      const due = writing.committed.filter(({ id }) => id > since && id <= last).map(({ id }) => id)
      const known = (): Set<number> =>
        new Set([...pulled.data!.map(({ id }) => id as number), ...socket.frames.filter(isChange).map((frame) => frame[4]['data'].record.id)])
      await until(() => due.every((id) => known().has(id)), 'every row, by pull or by stream', 5_000)
      socket.ws.terminate()
    }
  })

  it('commits arrive in their order, whatever order their statements ran in', async () => {
    const socket = await rawSocket(world)
    await socket.join('realtime:a', [NOTES], { access_token: await world.accessToken(world.ada) })
    await socket.next(isLive('realtime:a'))
    const [early, late] = await Promise.all([world.db.connect(), world.db.connect()])
    await early.query('begin')
    await early.query('insert into notes (id, owner) values (11, $1)', [world.ada.id])
    await late.query('insert into notes (id, owner) values (12, $1)', [world.ada.id])
    await early.query('commit')
    early.release()
    late.release()
    await until(() => socket.frames.filter(isChange).length === 2, 'both')
    expect(socket.frames.filter(isChange).map((frame) => frame[4]['data'].record.id)).toEqual([12, 11])
    socket.ws.close()
  })
})

describe('When things die', () => {
  it('supabase-js joins again after the gateway was killed and started anew, and hears the next change', async () => {
    const client = await world.signedIn(world.ada)
    const statuses: string[] = []
    const ids: number[] = []
    let oks = 0
    const channel = client.channel('survivor').on('postgres_changes', NOTES, ({ new: row }) => ids.push((row as { id: number }).id))
    channel.on('system', {}, ({ status }) => (oks += status === 'ok' ? 1 : 0))
    channel.subscribe((status) => statuses.push(status))
    await until(() => oks === 1, 'live')
    await world.gateway.kill()
    await until(() => statuses.includes('CHANNEL_ERROR'), 'the error')
    await world.db.query('insert into notes (id, owner) values (21, $1)', [world.ada.id])
    await world.restart()
    await until(() => oks === 2, 'live again')
    await world.db.query('insert into notes (id, owner) values (22, $1)', [world.ada.id])
    await until(() => ids.length > 0, 'the next change')
    expect(ids).toEqual([22])
    expect(statuses).toEqual(['SUBSCRIBED', 'CHANNEL_ERROR', 'SUBSCRIBED'])
    await client.removeAllChannels()
  })

  it('a lost replication connection sends every channel an error, and clients join again without a gap after the ok', async () => {
    const client = await world.signedIn(world.ada)
    const systems: { status: string; message: string }[] = []
    const ids: number[] = []
    const channel = client.channel('cut').on('postgres_changes', NOTES, ({ new: row }) => ids.push((row as { id: number }).id))
    channel.on('system', {}, (system) => systems.push(system)).subscribe()
    await until(() => systems.length === 1, 'live')
    await world.db.query('select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()')
    await until(() => systems.length === 3, 'an error and live again')
    expect(systems.map(({ status }) => status)).toEqual(['ok', 'error', 'ok'])
    expect(systems[1]!.message).toMatch(/interrupted/)
    await world.db.query('insert into notes (id, owner) values (31, $1)', [world.ada.id])
    await until(() => ids.includes(31), 'the next change')
    expect(world.gateway.stats().replicationStarts).toBeGreaterThan(1)
    await client.removeAllChannels()
  })

  it('no slot is left behind, neither by close nor by kill', async () => {
    const slots = async (): Promise<number> =>
      (await world.db.query('select count(*)::int as n from pg_replication_slots where database = current_database()')).rows[0].n
    for (const end of ['kill', 'close'] as const) {
      await until(async () => (await slots()) === 1, 'one slot')
      await world.gateway[end]()
      await until(async () => (await slots()) === 0, 'no slot')
      await world.restart()
    }
  })

  it('a join made while the stream is down goes live when the stream is back', async () => {
    await world.gateway.kill()
    // A slot is made only when every transaction of its time has ended: until then the stream cannot start.
    const holder = await world.db.connect()
    await holder.query('begin')
    await holder.query("insert into history values (1, 'open')")
    await world.restart()
    const socket = await rawSocket(world)
    const reply = await socket.join('realtime:a', [NOTES], { access_token: await world.accessToken(world.ada) })
    expect(reply['status']).toBe('ok')
    await expect(socket.next(isLive('realtime:a'), 500)).rejects.toThrow()
    await holder.query('rollback')
    holder.release()
    await socket.next(isLive('realtime:a'))
    socket.ws.close()
  })
})
