import { afterAll, beforeAll, expect, it } from 'vitest'
import { isChange, isLive, rawSocket } from './raw-socket.js'
import { openWorld, until, type World } from './world.js'

let world: World
beforeAll(async () => {
  world = await openWorld()
})
afterAll(() => world.close())

it('a dropped request did nothing; a dropped answer did it', async () => {
  const client = await world.signedIn(world.ada)
  const made = async (): Promise<number> => (await world.db.query('select count(*)::int as n from notes')).rows[0].n
  world.gateway.faults.dropNextRest = 1
  expect((await client.rpc('add_note', { id: 1, title: 'x' })).error).toMatchObject({ message: expect.stringMatching(/fetch failed/) })
  expect(await made()).toBe(0)
  world.gateway.faults.dropNextRestAnswer = 1
  expect((await client.rpc('add_note', { id: 1, title: 'x' })).error).toMatchObject({ message: expect.stringMatching(/fetch failed/) })
  expect(await made()).toBe(1)
  expect((await client.rpc('add_note', { id: 2, title: 'x' })).error).toBeNull()
})

it('a delay delays', async () => {
  world.gateway.faults.delayRestMs = 150
  const begun = performance.now()
  await world.anonymous().rpc('whoami')
  world.gateway.faults.delayRestMs = 0
  expect(performance.now() - begun).toBeGreaterThanOrEqual(149)
})

it('frames are dropped and doubled as told, and a half-open socket is silent both ways', async () => {
  const { faults } = world.gateway
  const socket = await rawSocket(world)
  await socket.join('realtime:a', [{ event: '*', schema: 'public', table: 'notes' }], { access_token: await world.accessToken(world.ada) })
  await socket.next(isLive('realtime:a'))
  const ids = (): number[] => socket.frames.filter(isChange).map((frame) => frame[4]['data'].record.id)
  const insert = (id: number) => world.db.query('insert into notes (id, owner) values ($1, $2)', [id, world.ada.id])
  faults.dropFrames = 1
  await insert(11)
  await insert(12)
  await until(() => ids().length === 1, 'the second')
  faults.duplicateFrames = 1
  await insert(13)
  await insert(14)
  await until(() => ids().length === 4, 'the doubled one and the next')
  expect(ids()).toEqual([12, 13, 13, 14])
  expect(world.gateway.stats().framesDropped).toBe(1)

  faults.halfOpen = true
  socket.send([null, '99', 'phoenix', 'heartbeat', {}])
  await insert(15)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect([ids().length, socket.frames.some(([, ref]) => ref === '99'), socket.ws.readyState]).toEqual([4, false, 1])
  faults.halfOpen = false
  socket.ws.close()
})

it('faults are off unless given, and cannot be reached from outside', async () => {
  for (const path of ['/faults', '/rest/v1/faults', '/auth/v1/faults']) {
    const response = await fetch(world.gateway.url + path, { method: 'POST', headers: world.headers(), body: '{"halfOpen":true}' })
    expect(response.status).toBe(400)
  }
  expect(world.gateway.faults).toMatchObject({ delayRestMs: 0, dropNextRest: 0, dropFrames: 0, halfOpen: false })
})
