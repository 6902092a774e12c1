/** Several tabs of one browser, one backend: what must hold in every engine. */

import { expect } from 'vitest'
import { inEachBrowser, people } from './harness.js'

const { aiko } = people

inEachBrowser((world) => {
  world.test('two tabs share an assignment, made in either, and the server confirms it', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    expect([(await one.status()).role, (await two.status()).role]).toEqual(['leader', 'follower'])
    for (const [author, table] of [
      [one, 'companies'],
      [two, 'leads'],
    ] as const) {
      const key = await world.db.recordOf(table, 'Sales', [aiko])
      const id = await author.assign(table, key, aiko.id)
      expect(await author.owner(table, key), 'at once').toBe(aiko.id)
      for (const tab of [one, two]) await tab.waitForOwner(table, key, aiko.id)
      await author.waitForOutcome(id, 'confirmed')
      for (const tab of [one, two]) await tab.waitForUnsent(0)
      expect(await world.db.ownerOf(table, key)).toBe(aiko.id)
      expect(await world.db.decisionsOn(table, key)).toEqual([{ id, outcome: 'confirmed' }])
    }
  })
})
