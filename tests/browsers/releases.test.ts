/** Tabs of this release beside tabs of an earlier one, in one browser: one application, one person, one storage. */

import { expect } from 'vitest'
import { inPlainPages, type PlainTab } from './plain/tab.js'

const PATCH = (key: string, city: string) => ({ name: 'patch', table: 'companies', key, set: { city } })
const problems = (tab: PlainTab) => tab.evaluate(() => window.plain.problems!.map(({ code }) => code))
const stored = (tab: PlainTab) => tab.evaluate(() => Object.keys(localStorage).filter((key) => key.includes(':op:')).length)
const transact = (tab: PlainTab, ...commands: object[]) => tab.evaluate((given) => window.plain.transact!(given), commands)

inPlainPages((world) => {
  const orders = [
    ['old', 'new'],
    ['new', 'old'],
  ] as const

  for (const [first, second] of orders) {
    world.test(`under a leader of the ${first} release, tabs of both share rows, operations and their ends, and the other one takes over`, async () => {
      const leader = await world.open({ release: first })
      await leader.isLive('leader')
      const follower = await world.open({ release: second })
      await follower.isLive('follower')
      expect(await follower.evaluate(() => window.plain.store!.all('companies').length)).toBe(5)

      const [one, two] = [await leader.patch('c1', 'Kiel'), await follower.patch('c2', 'Ulm')]
      for (const tab of [leader, follower]) {
        await tab.shows('c1', 'Kiel')
        await tab.shows('c2', 'Ulm')
      }
      expect(await leader.ended(one)).toMatchObject({ outcome: 'confirmed' })
      expect(await follower.ended(two)).toMatchObject({ outcome: 'confirmed' })
      world.server.backend.put('companies', { id: 'c3', name: 'Company 3', city: 'Hof', owner_id: null })
      for (const tab of [leader, follower]) await tab.shows('c3', 'Hof')

      world.server.backend.judge = ({ key }) => (key === 'c4' ? { outcome: 'refused', code: 'not-yours', message: 'no' } : undefined)
      const three = await follower.patch('c4', 'Trier')
      expect(await follower.ended(three)).toMatchObject({ outcome: 'refused', code: 'not-yours' })
      for (const tab of [leader, follower]) await expect.poll(() => tab.city('c4')).toBeNull()

      world.server.backend.hold()
      const four = await follower.patch('c5', 'Jena')
      await expect.poll(() => world.server.backend.pushes.some(({ id }) => id === four)).toBe(true)
      await leader.close()
      await follower.isLive('leader')
      world.server.backend.release()
      expect(await follower.ended(four)).toMatchObject({ outcome: 'confirmed' })
      expect([...world.server.backend.ledger.keys()].sort()).toEqual([one, two, three, four].sort())
      expect(await stored(follower)).toBe(0)
      expect(await problems(follower)).toEqual([])
    })
  }

  world.test('what only the new release knows is parked by a leader of the old one, reported, kept, and sent by the new one when it leads', async () => {
    const old = await world.open({ release: 'old' })
    await old.isLive('leader')
    const tab = await world.open({ release: 'new' })
    await tab.isLive('follower')
    const id = await transact(tab, PATCH('c1', 'Kiel'), PATCH('c2', 'Ulm'))
    await tab.shows('c1', 'Kiel')
    // The old one goes on with everything else.
    const patched = await tab.patch('c3', 'Hof')
    expect(await tab.ended(patched)).toMatchObject({ outcome: 'confirmed' })
    await expect.poll(() => problems(old)).toContain('newer-entry')
    expect(world.server.backend.pushes.map((push) => push.id)).not.toContain(id)
    expect(await stored(old)).toBe(1)
    await old.close()
    await tab.isLive('leader')
    await expect.poll(() => world.server.backend.ledger.get(id)?.outcome).toBe('confirmed')
    for (const [key, city] of [['c1', 'Kiel'], ['c2', 'Ulm']] as const) {
      await tab.shows(key, city)
      expect(world.server.backend.row('companies', key)).toMatchObject({ city })
    }
    await expect.poll(() => stored(tab)).toBe(0)
    expect(await tab.status()).toMatchObject({ unsent: 0, dead: 0 })
  })

  world.test('it is kept even where only tabs of the old release are left, and a new one takes it up', async () => {
    const tab = await world.open({ release: 'new' })
    await tab.isLive('leader')
    world.server.backend.online = false
    const id = await transact(tab, PATCH('c1', 'Kiel'), PATCH('c2', 'Ulm'))
    await tab.shows('c2', 'Ulm')
    await tab.close()
    world.server.backend.online = true
    const old = await world.open({ release: 'old' })
    await old.isLive('leader')
    await expect.poll(() => problems(old)).toContain('newer-entry')
    expect(await old.city('c1')).toBeNull()
    const patched = await old.patch('c3', 'Hof')
    expect(await old.ended(patched)).toMatchObject({ outcome: 'confirmed' })
    expect(await stored(old)).toBe(1)
    expect(world.server.backend.ledger.has(id)).toBe(false)
    await old.evaluate(() => window.plain.store!.close())
    await old.close()
    const again = await world.open({ release: 'new' })
    await again.isLive('leader')
    await again.shows('c1', 'Kiel')
    await expect.poll(() => world.server.backend.ledger.get(id)?.outcome).toBe('confirmed')
    expect(world.server.backend.pushes.filter((push) => push.id === id && world.server.backend.ledger.has(id)).length).toBeGreaterThan(0)
    await expect.poll(() => stored(again)).toBe(0)
  })

  world.test('under a leader of the new release it is sent at once, and tabs of the old one show what came of it', async () => {
    const tab = await world.open({ release: 'new' })
    await tab.isLive('leader')
    const old = await world.open({ release: 'old' })
    await old.isLive('follower')
    await transact(tab, PATCH('c1', 'Kiel'), PATCH('c2', 'Ulm'))
    for (const shown of [tab, old]) {
      await shown.shows('c1', 'Kiel')
      await shown.shows('c2', 'Ulm')
    }
    expect(await old.status()).toMatchObject({ unsent: 0, dead: 0 })
  })
})
