/** What the package keeps and says of a person's tokens: nothing. */

import { expect } from 'vitest'
import { inEachBrowser, people } from './harness.js'

inEachBrowser((world) => {
  world.test('no token is in anything that the store keeps, nor in what tabs say to each other', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    await two.evaluate((user) => {
      const heard: string[] = (window.tab.notes['heard'] = [])
      new BroadcastChannel(`rota:1:browsers:${user}`).addEventListener('message', ({ data }) => heard.push(JSON.stringify(data)))
    }, people.maya.id)
    const key = await world.db.recordOf('companies', 'Sales', [people.aiko])
    const id = await one.assign('companies', key, people.aiko.id)
    await one.waitForOutcome(id, 'confirmed')
    // One more stays: nobody can be reached to take it.
    await one.evaluate(() => {
      window.tab.notes['fetch'] = window.fetch
      window.fetch = () => Promise.reject(new TypeError('no network'))
    })
    await one.assign('companies', key, people.maya.id)
    await two.waitForOwner('companies', key, people.maya.id)

    const tokens = await one.evaluate(async () => {
      const { data } = await window.tab.client!.auth.getSession()
      return [data.session!.access_token, data.session!.refresh_token]
    })
    expect(tokens.every((token) => token.length > 10)).toBe(true)
    const kept = await one.evaluate(async () => {
      const entries: [string, string][] = Object.entries({ ...localStorage, ...sessionStorage }) as [string, string][]
      const promised = <R>(request: IDBRequest<R>) => new Promise<R>((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }))
      for (const { name = '' } of await indexedDB.databases()) {
        const database = await promised(indexedDB.open(name))
        for (const store of database.objectStoreNames) {
          for (const value of await promised(database.transaction(store).objectStore(store).getAll())) entries.push([`${name}/${store}`, JSON.stringify(value)])
        }
        database.close()
      }
      return entries
    })
    const holders = kept.filter(([, text]) => tokens.some((token) => text.includes(token))).map(([place]) => place)
    // The client keeps its own session, where it was told to.
    expect(holders).toEqual(['rota-browsers-session'])
    expect(kept.filter(([place]) => place.startsWith('rota:')).length).toBeGreaterThan(1)
    const heard = await two.evaluate(() => window.tab.notes['heard'] as string[])
    expect(heard.length).toBeGreaterThan(0)
    expect(heard.filter((message) => tokens.some((token) => message.includes(token)))).toEqual([])
    await one.evaluate(() => void (window.fetch = window.tab.notes['fetch']))
  })
})
