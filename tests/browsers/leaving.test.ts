/** A page that is left at the very moment at which it may be. */

import { expect } from 'vitest'
import { inPlainPages, type PlainTab } from './plain/tab.js'

/** How many entries a page of this origin finds of a person who had a store there. */
const countKept = (tab: PlainTab): Promise<number> =>
  tab.evaluate(
    () =>
      new Promise<number>((resolve, reject) => {
        const opening = indexedDB.open('rota:1:plain:maya')
        opening.addEventListener('error', () => reject(new Error('it does not open')))
        opening.addEventListener('success', () => {
          const { result: database } = opening
          const transaction = database.transaction(['operations', 'records'])
          const counts = [transaction.objectStore('operations').count(), transaction.objectStore('records').count()]
          transaction.addEventListener('complete', () => {
            database.close()
            resolve(counts.reduce((sum, { result }) => sum + result, 0))
          })
        })
      }),
  )

inPlainPages((world) => {
  world.test('whoever leaves the page once they are logged out leaves nothing in the browser', async () => {
    for (let at = 0; at < 3_000; at++) world.server.backend.put('companies', { id: `more-${at}`, name: 'A company'.repeat(20), city: null, owner_id: null }, { silently: true })
    const [tab, beside] = [await world.open(), await world.open({ user: 'jonas' })]
    await tab.isLive('leader')
    await beside.goto(world.server.elsewhere)
    await expect.poll(() => countKept(beside), { timeout: 15_000 }).toBeGreaterThan(3_000)
    world.server.backend.online = false
    await tab.patch('c1', 'Kiel')
    await tab.evaluate((where) => {
      // Not waited for: the page that would answer is gone.
      void window.plain.store!.logout({ unsent: 'discard' }).then(() => location.assign(where))
    }, world.server.elsewhere)
    await expect.poll(() => tab.evaluate(() => document.title), { timeout: 15_000 }).toBe('Elsewhere')
    expect(await countKept(beside)).toBe(0)
  })
})
