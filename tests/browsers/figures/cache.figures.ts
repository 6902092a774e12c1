/** How long after a navigation there is something to show, with the server away: what the browser kept of 208 records. */

import { gateway, inEachBrowser } from '../harness.js'
import { spread } from './numbers.js'

const ROUNDS = 20

inEachBrowser((world) => {
  world.test('from the cache', { timeoutMs: 300_000 }, async (note) => {
    const profile = await world.newProfile()
    const tab = await profile.newTab({ isolated: true })
    const measure = async (): Promise<{ storeMs: number; recordMs: number }[]> => {
      const found: { storeMs: number; recordMs: number }[] = []
      while (found.length < ROUNDS) {
        await tab.reload()
        const { storeMs, recordMs } = await tab.waitFor(
          'a record',
          () => tab.evaluate(() => ({ storeMs: window.tab.storeMs, recordMs: window.tab.firstRecordMs })),
          (times) => times.recordMs !== undefined,
        )
        found.push({ storeMs: storeMs!, recordMs: recordMs! })
      }
      return found
    }
    await measure() // warms up
    await gateway.stop()
    const cached = await measure()
    note('navigation → store, engine loaded and person known', spread(cached.map(({ storeMs }) => storeMs)))
    note('navigation → first record, from the cache, server away', spread(cached.map(({ recordMs }) => recordMs)))
    note('of that, store → first record', spread(cached.map(({ storeMs, recordMs }) => recordMs - storeMs)))
  })
})
