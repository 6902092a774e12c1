/** Browsers that lack a part, or forbid it to the page: whatever is missing is made up for, or told. */

import { expect } from 'vitest'
import { gateway, inEachBrowser, people } from './harness.js'

const { aiko, jonas } = people

inEachBrowser((world) => {
  const confirmedOnce = async (key: string, id: string, table: 'companies' | 'leads' = 'companies') =>
    expect(await world.db.decisionsOn(table, key)).toEqual([{ id, outcome: 'confirmed' }])

  world.test('without BroadcastChannel tabs still share what they do, with no server in between', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2, { hide: ['BroadcastChannel'] })
    expect([(await one.status()).role, (await two.status()).role]).toEqual(['leader', 'follower'])
    const [first, second] = [await world.db.recordOf('companies', 'Sales', [aiko]), await world.db.recordOf('leads', 'Sales', [aiko])]
    await gateway.stop()
    await one.waitForLink('offline')
    const ofTwo = await two.assign('companies', first, aiko.id)
    await one.waitForOwner('companies', first, aiko.id)
    const ofOne = await one.assign('leads', second, aiko.id)
    await two.waitForOwner('leads', second, aiko.id)
    await gateway.start()
    await two.reconnect()
    for (const tab of [one, two]) await tab.waitForUnsent(0, 30_000)
    await confirmedOnce(first, ofTwo)
    await confirmedOnce(second, ofOne, 'leads')
    const leftOver = await one.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('rota:')))
    expect(leftOver, 'what lies about').toEqual([])
  })

  world.test('without Web Locks every tab sends its own, and the server has each once', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2, { hide: ['locks'] })
    expect([(await one.status()).role, (await two.status()).role]).toEqual(['alone', 'alone'])
    const [first, second] = [await world.db.recordOf('companies', 'Sales', [aiko]), await world.db.recordOf('leads', 'Sales', [aiko])]
    const ofOne = await one.assign('companies', first, aiko.id)
    const ofTwo = await two.assign('leads', second, aiko.id)
    await one.waitForOutcome(ofOne, 'confirmed')
    await two.waitForOutcome(ofTwo, 'confirmed')
    for (const tab of [one, two]) {
      await tab.waitForOwner('companies', first, aiko.id)
      await tab.waitForOwner('leads', second, aiko.id)
      await tab.waitForUnsent(0)
    }
    await confirmedOnce(first, ofOne)
    await confirmedOnce(second, ofTwo, 'leads')
  })

  world.test('without Web Locks a tab that is closed leaves its change to the next', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2, { hide: ['locks'] })
    const key = await world.db.recordOf('companies', 'Sales', [aiko])
    await gateway.stop()
    for (const tab of [one, two]) await tab.waitForLink('offline')
    const id = await one.assign('companies', key, aiko.id)
    await one.close()
    await gateway.start()
    const three = await profile.newTab({ hide: ['locks'] })
    for (const tab of [two, three]) {
      await tab.waitForOwner('companies', key, aiko.id, 70_000)
      await tab.waitForUnsent(0, 30_000)
    }
    await confirmedOnce(key, id)
  })

  // What the status says, which is what `mutate` can promise when it returns; and what a change comes to a moment later.
  for (const [what, durability, kept, setUp] of [
    ['localStorage', 'async', 'full', { hide: ['localStorage'] }],
    ['IndexedDB', 'tab', 'tab', { hide: ['indexedDB'] }],
    ['localStorage, which is forbidden,', 'async', 'full', { block: ['localStorage'] }],
    ['IndexedDB, which is forbidden,', 'tab', 'tab', { block: ['indexedDB'] }],
  ] as const) {
    world.test(`without ${what} a change made off-line survives a reload, and the status says ${durability}`, async () => {
      const profile = await world.newProfile()
      const [one, two] = await profile.newTabs(2, setUp)
      for (const tab of [one, two]) expect((await tab.status()).durability).toBe(durability)
      const key = await world.db.recordOf('companies', 'Sales', [aiko])
      await gateway.stop()
      await one.waitForLink('offline')
      const id = await one.assign('companies', key, aiko.id)
      await one.waitFor('it to be kept', () => one.durable(id), (found) => found === kept)
      await two.waitForOwner('companies', key, aiko.id)
      await two.close()
      await one.reload()
      await one.waitForUnsent(1)
      await gateway.start()
      await one.reconnect()
      await one.waitForUnsent(0, 30_000)
      await one.waitForOwner('companies', key, aiko.id)
      await confirmedOnce(key, id)
    })
  }

  for (const how of ['block', 'hide'] as const) {
    world.test(`with no storage at all (${how === 'block' ? 'forbidden' : 'missing'}) the status says memory, and all else works`, async () => {
      const profile = await world.newProfile()
      const [one, two] = await profile.newTabs(2, { [how]: ['localStorage', 'indexedDB'] })
      for (const tab of [one, two]) expect((await tab.status()).durability).toBe('memory')
      expect([(await one.status()).role, (await two.status()).role]).toEqual(['leader', 'follower'])
      const key = await world.db.recordOf('companies', 'Sales', [aiko])
      const id = await two.assign('companies', key, aiko.id)
      await two.waitForOutcome(id, 'confirmed')
      await two.waitFor('what it promises', () => two.durable(id), (found) => found !== undefined)
      for (const tab of [one, two]) await tab.waitForOwner('companies', key, aiko.id)
      await confirmedOnce(key, id)
    })
  }

  world.test('with nothing of it all a tab is alone, and works', async () => {
    const profile = await world.newProfile()
    const hide = ['BroadcastChannel', 'locks', 'localStorage', 'indexedDB'] as const
    const [one, two] = await profile.newTabs(2, { hide })
    for (const tab of [one, two]) {
      const { role, durability } = await tab.status()
      expect({ role, durability }).toEqual({ role: 'alone', durability: 'memory' })
    }
    const key = await world.db.recordOf('companies', 'Sales', [jonas])
    const id = await two.assign('companies', key, jonas.id)
    await two.waitForOutcome(id, 'confirmed')
    for (const tab of [one, two]) await tab.waitForOwner('companies', key, jonas.id)
    await confirmedOnce(key, id)
  })
})
