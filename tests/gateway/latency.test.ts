import { expect, it } from 'vitest'
import { isChange, isLive, rawSocket } from './raw-socket.js'
import { openWorld, until } from './world.js'

/** Prints its figures; the bounds are loose, for slow machines, and catch only a change of kind (polling, say). */
it('a change reaches a listener within milliseconds of its commit, and a thousand within a second', async () => {
  const world = await openWorld()
  const socket = await rawSocket(world)
  await socket.join('realtime:a', [{ event: '*', schema: 'public', table: 'notes' }], { access_token: await world.accessToken(world.ada) })
  await socket.next(isLive('realtime:a'))
  const waits: number[] = []
  for (let id = 1; id <= 300; id++) {
    const arrived = new Promise<number>((resolve) => socket.ws.once('message', () => resolve(performance.now())))
    await world.db.query('insert into notes (id, owner) values ($1, $2)', [id, world.ada.id])
    const committedAt = performance.now()
    waits.push(Math.max(0, (await arrived) - committedAt))
  }
  waits.sort((a, b) => a - b)
  const [p50, p99] = [waits[150]!, waits[297]!]
  const begun = performance.now()
  await Promise.all(
    Array.from({ length: 1_000 }, (_, i) => world.db.query('insert into notes (id, owner) values ($1, $2)', [1_000 + i, world.ada.id])),
  )
  await until(() => socket.frames.filter(isChange).length === 1_300, 'all of them')
  const thousandMs = performance.now() - begun
  console.log(
    `commit to listener: p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms; 1,000 commits written and delivered in ${thousandMs.toFixed(0)} ms`,
  )
  expect(p50).toBeLessThan(100)
  expect(thousandMs).toBeLessThan(10_000)
  socket.ws.close()
  await world.close()
})
