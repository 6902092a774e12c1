/** Pages that are hidden, frozen, kept for the way back, or that slept: they hand over, come back right, and have missed nothing. */

import { expect } from 'vitest'
import { inPlainPages, type PlainTab } from './plain/tab.js'

const events = (tab: PlainTab) => tab.evaluate(() => window.plain.events)
const errors = (tab: PlainTab) => tab.evaluate(() => window.plain.errors)
/** A word in a page that must be another one's after a real reload. */
const mark = (tab: PlainTab) => tab.evaluate(() => void window.plain.events.push('marked'))

inPlainPages((world) => {
  // The other engines load a page anew under a driver, which must come out as right.
  const keepsPages = world.engine === 'chromium'
  const put = (key: string, city: string) => world.server.backend.put('companies', { id: key, name: key, city, owner_id: null })

  world.test('a page that is left and gone back to is the same page, kept whole, and shows what it missed', async () => {
    const [leader, other] = [await world.open(), await world.open()]
    await leader.isLive('leader')
    await other.isLive('follower')
    await mark(leader)
    world.server.backend.hold()
    const under = await leader.patch('c1', 'Kiel')
    await expect.poll(() => world.server.backend.pushes.length).toBe(1)
    await leader.goto(world.server.elsewhere)
    // The other one leads at once, and sends what the first had under way.
    const before = performance.now()
    await other.isLive('leader')
    expect(performance.now() - before).toBeLessThan(3_000)
    world.server.backend.release()
    await expect.poll(() => world.server.backend.ledger.has(under)).toBe(true)
    put('c2', 'Ulm')
    world.server.backend.remove('companies', 'c3')
    await other.shows('c2', 'Ulm')

    await leader.back()
    await leader.shows('c2', 'Ulm')
    if (keepsPages) {
      expect(await events(leader)).toEqual(expect.arrayContaining(['marked', 'pagehide true', 'pageshow true']))
      expect(await leader.ended(under)).toMatchObject({ outcome: 'confirmed' })
    }
    expect(await leader.evaluate(() => window.plain.store!.get('companies', 'c3') === undefined)).toBe(true)
    await leader.isLive('follower')
    await other.patch('c4', 'Hof')
    await leader.shows('c4', 'Hof')
    expect(await leader.ended(await leader.patch('c5', 'Jena'))).toMatchObject({ outcome: 'confirmed' })
    expect(world.server.backend.ledger.size).toBe(3)
    expect(await errors(leader)).toEqual([])
  })

  world.test('the only tab, left with changes unsent and gone back to, sends them, and leads again', async () => {
    const tab = await world.open()
    await tab.isLive('leader')
    await mark(tab)
    world.server.backend.online = false
    await tab.patch('c1', 'Kiel')
    await tab.goto(world.server.elsewhere)
    await expect.poll(() => world.server.streams).toBe(0)
    world.server.backend.online = true
    put('c2', 'Ulm')
    await tab.back()
    await tab.isLive('leader')
    await tab.shows('c2', 'Ulm')
    await expect.poll(() => world.server.backend.row('companies', 'c1')?.['city']).toBe('Kiel')
    if (keepsPages) expect(await events(tab)).toContain('marked')
  })

  if (!keepsPages) return

  world.test('a logout while a page is kept for the way back reaches it when it is gone back to', async () => {
    const [kept, other] = [await world.open(), await world.open()]
    await kept.isLive('leader')
    await other.isLive('follower')
    await kept.goto(world.server.elsewhere)
    await other.isLive('leader')
    await other.evaluate(() => window.plain.store!.logout({ unsent: 'discard' }))
    await kept.back()
    await kept.waitFor(() => window.plain.store?.isClosed ?? true, (isClosed) => isClosed)
    expect(await kept.evaluate(() => window.plain.store?.all('companies').length ?? 0)).toBe(0)
  })

  world.test('a frozen leader hands over before it is frozen, and comes back as a follower that knows everything', async () => {
    const [leader, other] = [await world.open(), await world.open()]
    await leader.isLive('leader')
    await other.isLive('follower')
    await other.driver.show()
    await leader.driver.freeze()
    await other.isLive('leader')
    put('c1', 'Kiel')
    await other.shows('c1', 'Kiel')
    expect(await other.ended(await other.patch('c2', 'Ulm'))).toMatchObject({ outcome: 'confirmed' })
    await leader.driver.resume()
    for (const [key, city] of [['c1', 'Kiel'], ['c2', 'Ulm']] as const) await leader.shows(key, city)
    expect(await events(leader)).toContain('freeze')
    await leader.isLive('follower')
  })

  world.test('a frozen follower is never given the lock', async () => {
    const [leader, frozen, third] = [await world.open(), await world.open(), await world.open()]
    await third.isLive('follower')
    await third.driver.show()
    await frozen.driver.freeze()
    await leader.close()
    const before = performance.now()
    await third.isLive('leader')
    expect(performance.now() - before).toBeLessThan(3_000)
    put('c1', 'Kiel')
    await third.shows('c1', 'Kiel')
    await frozen.driver.resume()
    await frozen.shows('c1', 'Kiel')
  })

  world.test('a hidden tab hears of everything', async () => {
    const hidden = await world.open()
    await hidden.isLive('leader')
    const front = await world.open()
    await front.isLive('follower')
    await front.driver.show()
    expect(await hidden.evaluate(() => document.visibilityState)).toBe('hidden')
    await front.patch('c1', 'Kiel')
    await hidden.shows('c1', 'Kiel')
    await expect.poll(() => world.server.backend.row('companies', 'c1')?.['city']).toBe('Kiel')
  })

  world.test('a page that slept takes its stream for dead, and pulls', async () => {
    const tab = await world.open()
    await tab.isLive('leader')
    expect(world.server.streams).toBe(1)
    // The stream says nothing of it, as one that died with the network.
    world.server.backend.put('companies', { id: 'c1', name: 'c1', city: 'Kiel', owner_id: null }, { silently: true })
    // The wall clock goes on while the machine sleeps, the monotonic one stands still.
    await tab.evaluate(() => {
      const now = Date.now.bind(Date)
      Date.now = () => now() + 3_600_000
    })
    await tab.shows('c1', 'Kiel')
    await tab.isLive('leader')
  })
})
