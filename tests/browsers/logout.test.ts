/** A person signs out: from then on nothing of theirs is shown, kept or sent, in any tab of the browser. */

import { expect } from 'vitest'
import { gateway, inEachBrowser, people, type Tab } from './harness.js'

const { aiko, maya } = people
const CLOSED_MS_MAX = 1_000

const logOut = (tab: Tab, unsent: 'wait' | 'discard'): Promise<string> =>
  tab.evaluate(
    (how) =>
      window.tab.store!.logout({ unsent: how as 'wait' | 'discard' }).then(
        () => 'done',
        (error: unknown) => String(error),
      ),
    unsent,
  )

const seen = (tab: Tab) =>
  tab.evaluate(() => {
    const { store } = window.tab
    return { isClosed: store!.isClosed, records: store!.all('companies').length + store!.all('leads').length + store!.all('people').length, operations: store!.operations().pending.length }
  })

inEachBrowser((world) => {
  /** Four tabs, each with three changes, of which one at most is on its way at a time. */
  const fourTabsAtWork = async (): Promise<{ tabs: Tab[]; made: Map<string, string> }> => {
    const profile = await world.newProfile()
    const tabs: Tab[] = await profile.newTabs(4, { options: { concurrency: 1 } })
    const made = new Map<string, string>()
    for (let at = 0; at < 12; at++) {
      const key = await world.db.recordOf('companies', 'Sales', [aiko], at)
      made.set(key, await tabs[at % 4]!.assign('companies', key, aiko.id))
    }
    return { tabs, made }
  }
  const decided = async (): Promise<string[]> => {
    const { rows } = await world.db.client.query<{ id: string }>('select id from rota.ledger order by id')
    return rows.map(({ id }) => id)
  }

  world.test('one of four tabs signs out with writes in flight: no tab shows, keeps or sends anything of theirs again', async () => {
    await gateway.faults({ delayRestMs: 1_000 })
    const { tabs, made } = await fourTabsAtWork()
    expect(await logOut(tabs[2]!, 'discard')).toBe('done')
    for (const tab of tabs) {
      await tab.waitFor('it to be closed', () => seen(tab), ({ isClosed }) => isClosed, CLOSED_MS_MAX)
      expect(await seen(tab)).toEqual({ isClosed: true, records: 0, operations: 0 })
    }
    await tabs[0]!.waitFor('nothing to be kept', () => tabs[0]!.kept(maya.id), ({ operations, records }) => operations + records === 0, 5_000)
    // What was on its way may have arrived. Nothing else does.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    const arrived = await decided()
    expect(arrived.length).toBeLessThan(made.size)
    await gateway.faults({ delayRestMs: 0 })
    for (const tab of tabs.slice(0, 2)) await tab.reload()
    for (const tab of tabs.slice(0, 2)) {
      await tab.waitUntilReady()
      expect((await tab.status()).unsent).toBe(0)
    }
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(await decided()).toEqual(arrived)
    for (const [key, id] of made) {
      expect(await tabs[0]!.owner('companies', key), arrived.includes(id) ? 'sent before' : 'never sent').toBe(await world.db.ownerOf('companies', key))
      expect((await world.db.ownerOf('companies', key)) === aiko.id).toBe(arrived.includes(id))
    }
    for (const tab of tabs.slice(2)) expect(await seen(tab)).toEqual({ isClosed: true, records: 0, operations: 0 })
  })

  world.test('one of four tabs signs out and waits: everything is sent first, once, and then nothing is left', async () => {
    await gateway.faults({ delayRestMs: 50 })
    const { tabs, made } = await fourTabsAtWork()
    await tabs[1]!.evaluate(() => void window.tab.store!.logout({ unsent: 'wait' }))
    for (const tab of tabs) await tab.waitFor('it to be closed', () => seen(tab), ({ isClosed }) => isClosed, 20_000)
    expect(await decided()).toEqual([...made.values()].sort())
    await tabs[0]!.waitFor('nothing to be kept', () => tabs[0]!.kept(maya.id), ({ operations, records }) => operations + records === 0, 5_000)
    for (const key of made.keys()) expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
  })

  world.test('a tab that sleeps through a logout shows nothing of it when it wakes, and sends nothing', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    const key = await world.db.recordOf('companies', 'Sales', [aiko])
    await gateway.stop()
    await one.waitForLink('offline')
    await two.assign('companies', key, aiko.id)
    await two.block(4_000)
    expect(await logOut(one, 'discard')).toBe('done')
    await gateway.start()
    await two.waitFor('it to be closed', () => seen(two), ({ isClosed }) => isClosed, 10_000)
    expect(await seen(two)).toEqual({ isClosed: true, records: 0, operations: 0 })
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect(await decided()).toEqual([])
    await one.waitFor('nothing to be kept', () => one.kept(maya.id), ({ operations, records }) => operations + records === 0, 5_000)
  })
})
