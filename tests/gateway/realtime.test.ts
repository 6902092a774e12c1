// Answers of the network are read as they come.
/* oxlint-disable typescript/no-explicit-any */
import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { isChange, isLive, rawSocket } from './raw-socket.js'
import { openWorld, until, type World } from './world.js'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterEach(async () => {
  await world.quiet()
  await world.db.query('delete from notes')
})
afterAll(() => world.close())

const ALL = { event: '*', schema: 'public', table: 'notes' } as const

/** Listens and waits until the server has said that the stream is live. */
async function listen(client: SupabaseClient, name: string, binding: object = ALL): Promise<{ channel: RealtimeChannel; events: any[] }> {
  const events: any[] = []
  const channel = client.channel(name)
  channel.on('postgres_changes', binding as typeof ALL, (event) => events.push(event))
  await new Promise<void>((resolve, reject) => {
    channel.on('system', {}, (system) => (system.status === 'ok' ? resolve() : reject(new Error(system.message))))
    channel.subscribe((status, error) => status === 'CHANNEL_ERROR' && reject(error))
  })
  return { channel, events }
}

describe('Through the real client', () => {
  it('INSERT, UPDATE and DELETE arrive in order, with the values a SELECT would give', async () => {
    const client = await world.signedIn(world.ada)
    const { events } = await listen(client, 'shapes')
    await world.db.query(`insert into notes values (10, $1, 'ten', 1, 5, 1.5, true, '{a,"b c",NULL}', '{"k": 1}', '2026-11-21 10:00:00.123456+00')`, [
      world.ada.id,
    ])
    await until(() => events.length === 1, 'the insert')
    const selected = (await client.from('notes').select().eq('id', 10).single()).data
    await world.db.query("update notes set title = 'TEN', done = null where id = 10")
    // Rights are asked of the row as it is now: one that is gone already would not be shown, here as on the real server.
    await until(() => events.length === 2, 'the update')
    await world.db.query('delete from notes where id = 10')
    await until(() => events.length === 3, 'all three')
    const [insert, update, remove] = events
    expect(insert).toMatchObject({ eventType: 'INSERT', schema: 'public', table: 'notes', new: selected, old: {}, errors: null })
    expect(insert.commit_timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(update).toMatchObject({ eventType: 'UPDATE', new: { ...selected, title: 'TEN', done: null }, old: { id: 10 } })
    expect(remove).toMatchObject({ eventType: 'DELETE', new: {}, old: { id: 10 } })
    expect(Object.keys(remove.old)).toEqual(['id'])
  })

  it('row-level security hides the rows of others, and a row that has become another’s', async () => {
    const [mine, theirs] = await Promise.all([listen(await world.signedIn(world.ada), 'rls'), listen(await world.signedIn(world.bob), 'rls')])
    await world.db.query("insert into notes (id, owner, title) values (20, $1, 'ada'), (21, $2, 'bob')", [world.ada.id, world.bob.id])
    await until(() => mine.events.length === 1 && theirs.events.length === 1, 'one row each')
    await world.db.query('update notes set owner = $1 where id = 20', [world.bob.id])
    await until(() => theirs.events.length === 2, 'the update, at its new owner')
    await world.db.query('delete from notes where id in (20, 21)')
    await until(() => mine.events.length >= 3 && theirs.events.length >= 4, 'the deletes')
    const seen = (events: any[]) => events.map(({ eventType, new: row, old }) => `${eventType} ${row.id ?? old.id}`)
    expect(seen(mine.events)).toEqual(['INSERT 20', 'DELETE 20', 'DELETE 21'])
    expect(seen(theirs.events)).toEqual(['INSERT 21', 'UPDATE 20', 'DELETE 20', 'DELETE 21'])
  })

  it('an unpublished table is refused with its name', async () => {
    const client = world.anonymous()
    await expect(listen(client, 'unpublished', { event: '*', schema: 'public', table: 'unpublished' })).rejects.toThrow(
      /public\.unpublished is not in the publication/,
    )
    await client.removeAllChannels()
  })

  it('shows only the columns that the role may read, and the composite key of a deleted row', async () => {
    const { events } = await listen(world.anonymous(), 'board', { event: '*', schema: 'public', table: 'board' })
    await world.db.query("insert into board values ('x', '2026-01-01', 'X', 'secret')")
    await until(() => events.length === 1, 'the insert')
    await world.db.query("delete from board where team = 'x'")
    await until(() => events.length === 2, 'both')
    expect(events[0].new).toEqual({ team: 'x', day: '2026-01-01', label: 'X' })
    expect(events[1].old).toEqual({ team: 'x', day: '2026-01-01' })
  })

  it('with replica identity full, an UPDATE brings the whole old row and a DELETE its key alone', async () => {
    const { events } = await listen(await world.signedIn(world.ada), 'full', { event: '*', schema: 'public', table: 'history' })
    await world.db.query("insert into history values (1, 'a')")
    await until(() => events.length === 1, 'the change')
    await world.db.query("update history set label = 'b'")
    await until(() => events.length === 2, 'the change')
    await world.db.query('delete from history')
    await until(() => events.length === 3, 'all three')
    expect(events.map(({ old }) => old)).toEqual([{}, { id: 1, label: 'a' }, { id: 1 }])
  })

  it('a table that the role may not read brings the error, and no values', async () => {
    const { events } = await listen(await world.signedIn(world.ada), 'closed', { event: '*', schema: 'public', table: 'closed' })
    await world.db.query('insert into closed values (1)')
    await until(() => events.length === 1, 'the refusal')
    expect(events[0]).toMatchObject({ eventType: 'INSERT', new: {}, old: {}, errors: ['Error 401: Unauthorized'] })
  })

  it.each([
    ['id=eq.32', [32]],
    ['id=neq.32', [31, 33]],
    ['id=gt.31,id=lt.33', [32]],
    ['id=in.(31,33)', [31, 33]],
    ['n=gte.9', [33]],
    ['title=eq."x,y"', [33]],
    ['at=lt.2026-01-01T00:00:00Z', [31]],
    ['done=eq.true', [31]],
  ])('the filter %s lets through what it says', async (filter, expected) => {
    const { channel, events } = await listen(await world.signedIn(world.ada), `filter ${filter}`, { ...ALL, event: 'INSERT', filter })
    await world.db.query('delete from notes')
    await world.db.query(
      `insert into notes (id, owner, title, n, at, done) values (31, $1, 'x', 1, '2025-12-31T23:00:00Z', true), (32, $1, 'y', null, '2026-01-01T01:00:00+01:00', false),
        (33, $1, 'x,y', 10, '2026-01-01T00:00:00.5Z', null), (34, $2, 'end', 10, null, true)`,
      [world.ada.id, world.bob.id],
    )
    await until(() => events.length >= expected.length, 'the rows')
    await world.db.query("insert into notes (id, owner, title, n, at, done) values (99, $1, 'x', 1, '2027-01-01', false)", [world.bob.id])
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(events.map((event) => event.new.id)).toEqual(expected)
    await world.db.query('delete from notes')
    await channel.unsubscribe()
  })

  it('two clients with the same claims cost one check, another person one more', async () => {
    const two = await Promise.all([world.signedIn(world.ada), world.signedIn(world.ada)])
    const tabs = await Promise.all(two.map((client) => listen(client, 'shared')))
    const before = world.gateway.stats().rlsQueries
    await world.db.query('insert into notes (id, owner) select i, $1 from generate_series(40, 59) i', [world.ada.id])
    await until(() => tabs.every(({ events }) => events.length === 20), 'twenty rows on both')
    expect(world.gateway.stats().rlsQueries - before).toBe(1)
    const third = await listen(await world.signedIn(world.bob), 'shared')
    await world.db.query('update notes set n = 1 where id between 40 and 59')
    await until(() => tabs.every(({ events }) => events.length === 40), 'forty')
    expect(world.gateway.stats().rlsQueries - before).toBe(3)
    expect(third.events).toEqual([])
    await world.db.query('delete from notes')
  })

  it('a new token keeps the channel, and changes what it is shown', async () => {
    const client = await world.signedIn(world.ada)
    const statuses: string[] = []
    const events: any[] = []
    const systems: string[] = []
    const channel = client.channel('renewed').on('postgres_changes', ALL, (event) => events.push(event))
    channel.on('system', {}, ({ status }) => systems.push(status))
    channel.subscribe((status) => statuses.push(status))
    await until(() => systems.length === 1, 'live')
    await client.realtime.setAuth(await world.forge({ role: 'authenticated', sub: world.bob.id }))
    await until(() => systems.length === 2, 'live under the new claims')
    await world.db.query("insert into notes (id, owner, title) values (60, $1, 'ada'), (61, $2, 'bob')", [world.ada.id, world.bob.id])
    await until(() => events.length === 1, "Bob's row")
    expect(events[0].new.id).toBe(61)
    expect([statuses, systems]).toEqual([['SUBSCRIBED'], ['ok', 'ok']])
    await world.db.query('delete from notes')
  })

  it('a token that runs out closes the channel, with the reason', async () => {
    const client = world.anonymous()
    await client.realtime.setAuth(await world.forge({ role: 'authenticated', sub: world.ada.id }, { expiresIn: 2 }))
    const statuses: string[] = []
    const systems: any[] = []
    const channel = client.channel('expiring').on('postgres_changes', ALL, () => {})
    channel.on('system', {}, (system) => systems.push(system))
    channel.subscribe((status) => statuses.push(status))
    await until(() => statuses.includes('CLOSED'), 'closed')
    expect(statuses).toEqual(['SUBSCRIBED', 'CLOSED'])
    expect(systems.at(-1)).toMatchObject({ extension: 'system', status: 'error', message: expect.stringMatching(/^Token has expired/) })
  })

  it('several bindings of one channel each hear their own', async () => {
    const client = await world.signedIn(world.ada)
    const heard: string[] = []
    const channel = client.channel('several')
    channel.on('postgres_changes', { ...ALL, event: 'INSERT' }, () => heard.push('insert'))
    channel.on('postgres_changes', { ...ALL, event: 'DELETE' }, () => heard.push('delete'))
    channel.on('postgres_changes', { event: '*', schema: 'public' }, ({ table }) => heard.push(`schema ${table}`))
    let live = false
    channel.on('system', {}, () => (live = true)).subscribe()
    await until(() => live, 'live')
    await world.db.query('insert into notes (id, owner) values (70, $1)', [world.ada.id])
    await until(() => heard.length === 2, 'the insert')
    await world.db.query('delete from notes where id = 70')
    await until(() => heard.length === 4, 'the delete')
    await world.db.query("insert into history values (9, 'x')")
    await until(() => heard.length === 5, 'all')
    expect(heard).toEqual(['insert', 'schema notes', 'delete', 'schema notes', 'schema history'])
  })
})

describe.each(['1.0.0', '2.0.0'] as const)('On the wire, vsn %s', (vsn) => {
  it('a join echoes its bindings with ids, and a change has the exact shape', async () => {
    const socket = await rawSocket(world, vsn)
    const binding = { table: 'notes', schema: 'public', event: 'INSERT', filter: 'id=gt.0', other: 1 }
    const reply = await socket.join('realtime:wire', [binding], { access_token: await world.accessToken(world.ada) })
    expect(reply).toEqual({ status: 'ok', response: { postgres_changes: [{ ...binding, id: expect.any(Number) }] } })
    const system = await socket.next(isLive('realtime:wire'))
    expect(system).toEqual([
      null,
      null,
      'realtime:wire',
      'system',
      { extension: 'postgres_changes', status: 'ok', message: 'Subscribed to PostgreSQL', channel: 'wire' },
    ])
    await world.db.query('insert into notes (id, owner, big, tags) values (80, $1, 9007199254740993, $2)', [world.ada.id, ['a']])
    const [, , , , payload] = await socket.next(isChange)
    await world.db.query('delete from notes where id = 80')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(payload).toEqual({
      ids: [reply['response'].postgres_changes[0].id],
      data: {
        schema: 'public',
        table: 'notes',
        type: 'INSERT',
        commit_timestamp: expect.stringMatching(/Z$/),
        columns: expect.arrayContaining([
          { name: 'id', type: 'int8' },
          { name: 'tags', type: '_text' },
          { name: 'at', type: 'timestamptz' },
        ]),
        record: {
          id: 80,
          owner: world.ada.id,
          title: null,
          n: null,
          big: '9007199254740993',
          price: null,
          done: null,
          tags: ['a'],
          meta: null,
          at: null,
        },
        errors: null,
      },
    })
    socket.send(['1', '9', 'realtime:wire', 'phx_leave', {}])
    expect(await socket.next((frame) => frame[3] === 'phx_close')).toEqual(['1', '1', 'realtime:wire', 'phx_close', {}])
    expect(socket.frames.filter(isChange)).toHaveLength(1)
    socket.ws.close()
  })

  it('a heartbeat is answered', async () => {
    const socket = await rawSocket(world, vsn)
    socket.send([null, '7', 'phoenix', 'heartbeat', {}])
    expect(await socket.next((frame) => frame[1] === '7')).toEqual([null, '7', 'phoenix', 'phx_reply', { status: 'ok', response: {} }])
    socket.ws.close()
  })
})

it('a row too large travels without its large values, and an unchanged large value is left out', async () => {
  const { events } = await listen(await world.signedIn(world.ada), 'large', { event: '*', schema: 'public', table: 'notes' })
  const incompressible = "(select string_agg(md5(i::text), '') from generate_series(1, 40000) i)"
  await world.db.query(`insert into notes (id, owner, title, n) values (90, $1, ${incompressible}, 1)`, [world.ada.id])
  await until(() => events.length === 1, 'the insert')
  await world.db.query('update notes set n = 2 where id = 90')
  await until(() => events.length === 2, 'both')
  expect(events[0]).toMatchObject({ errors: ['Error 413: Payload Too Large'], new: { id: 90, n: 1 } })
  expect(events[0].new).not.toHaveProperty('title')
  expect(events[1]).toMatchObject({ errors: null, new: { id: 90, n: 2 } })
  expect(events[1].new).not.toHaveProperty('title')
  await world.db.query('delete from notes')
})
