/** Somebody signs out in one of four tabs while all of them are at work. */

import { expect } from 'vitest'
import { gateway, inEachBrowser, people, type Profile, type Tab } from './harness.js'
import { storedByRota } from './stored.js'

const { aiko, jonas, maya } = people
const DELAY_MS = 1_500
const PURGED_MS_MAX = 1_000

inEachBrowser((world) => {
  const records = async (): Promise<string[]> => {
    const { rows } = await world.db.client.query<{ id: string }>(`select id from companies where department = 'Sales' order by id limit 24`)
    return rows.map(({ id }) => id)
  }

  for (const from of ['the leader', 'a follower'] as const) {
    const needs = { needs: ['freeze', 'hide'], instead: 'three tabs that are awake', timeoutMs: 120_000 } as const
    world.test(`when a person signs out in ${from} of four tabs with writes in flight, no tab shows, stores or sends anything of theirs again, a frozen one included`, needs, async () => {
      const keys = await records()
      const profile = await world.newProfile()
      const tabs = await openWatched(profile, 4)
      const [leader, follower, third, frozen] = tabs
      expect((await leader.status()).role).toBe('leader')
      await gateway.faults({ delayRestMs: DELAY_MS })
      for (const [at, tab] of tabs.entries()) await tab.evaluate(giveAway, keys.slice(at * 6, at * 6 + 6), [aiko.id, jonas.id, maya.id])
      await leader.waitFor('calls on their way', () => leader.operations(), ({ pending }) => pending.some(({ state }) => state === 'sent'))
      await third.show()
      await frozen.freeze()
      await follower.waitFor('all to know of all', () => follower.status(), ({ unsent }) => unsent === 24)

      const signsOut = from === 'the leader' ? leader : follower
      const atMs = await signsOut.evaluate(async () => {
        void window.tab.store!.logout({ unsent: 'discard' })
        return performance.timeOrigin + performance.now()
      })
      const awake = [leader, follower, third]
      for (const tab of awake) await tab.waitFor('nothing to be shown', () => tab.evaluate(shows), isNothing, PURGED_MS_MAX)
      await signsOut.waitFor('nothing to be stored', () => signsOut.evaluate(storedByRota), isMarksOnly, PURGED_MS_MAX)

      // The answers to what was on its way come now, to nobody.
      const untilMs = performance.now() + DELAY_MS + 1_500
      while (performance.now() < untilMs) {
        for (const tab of awake) expect(await tab.evaluate(shows)).toSatisfy(isNothing)
        expect(await signsOut.evaluate(storedByRota)).toSatisfy(isMarksOnly)
      }
      await frozen.show()
      await frozen.resume()
      await frozen.waitFor('nothing to be shown', () => frozen.evaluate(shows), isNothing, PURGED_MS_MAX)
      await new Promise((resolve) => setTimeout(resolve, DELAY_MS + 500))
      expect(await frozen.evaluate(storedByRota)).toSatisfy(isMarksOnly)
      for (const tab of tabs) {
        const late = await tab.evaluate((ms) => window.tab.notes['calls'].filter((call: { atMs: number }) => call.atMs > ms), atMs + PURGED_MS_MAX)
        expect(late, 'nothing is asked or sent any more').toEqual([])
        expect(await tab.evaluate(() => window.tab.notes['settled']), 'each has its end').toHaveLength(6)
      }
      // Who signs in again finds a store that works, and nothing of before.
      await gateway.faults({ delayRestMs: 0 })
      const again = await profile.newTab()
      expect((await again.status()).unsent).toBe(0)
      const id = await again.assign('companies', keys[0]!, null)
      await again.waitForOutcome(id, 'confirmed')
    })
  }
})

/** Tabs that note every call of theirs to the server. */
async function openWatched(profile: Profile, count: number): Promise<[Tab, Tab, Tab, Tab]> {
  const tabs: Tab[] = []
  while (tabs.length < count) {
    const tab = await profile.openTab({ start: false })
    await tab.evaluate(async () => {
      const calls: unknown[] = (window.tab.notes['calls'] = [])
      const real = window.fetch
      window.fetch = (...given) => {
        const url = given[0] instanceof Request ? given[0].url : String(given[0])
        if (url.includes('/rest/')) calls.push({ atMs: performance.timeOrigin + performance.now(), url })
        return real(...given)
      }
      await window.tab.start()
    })
    await tab.waitUntilReady()
    tabs.push(tab)
  }
  return tabs as [Tab, Tab, Tab, Tab]
}

/** Runs in the page. */
function giveAway(keys: readonly string[], persons: readonly string[]): void {
  const store = window.tab.store!
  const settled: unknown[] = (window.tab.notes['settled'] = [])
  for (const key of keys) {
    const owner = store.get('companies', key)?.owner_id ?? ''
    void store.assignments.assign('companies', key, persons[(persons.indexOf(owner) + 1) % persons.length]!).settled.then((end) => settled.push(end))
  }
}

interface Shown {
  readonly isClosed: boolean
  readonly records: number
  readonly operations: number
  readonly unsent: number
}

function shows(): Shown {
  const store = window.tab.store!
  const { pending, recent } = store.operations()
  const records = (['people', 'companies', 'leads'] as const).reduce((sum, table) => sum + store.all(table).length, 0)
  return { isClosed: store.isClosed, records, operations: pending.length + recent.length, unsent: store.status().unsent }
}

const isNothing = ({ isClosed, records, operations, unsent }: Shown): boolean => isClosed && records === 0 && operations === 0 && unsent === 0

/** That somebody signed out, and when, is all that is left: the mark for tabs that are asleep. */
const isMarksOnly = (stored: readonly [string, unknown][]): boolean => stored.every(([key]) => /^rota:\d+:[^:]*:[^:]*:out:/.test(key) || key === 'rota:probe')
