/** Several tabs of one browser, one backend: what must hold in every engine. */

import { expect } from 'vitest'
import { gateway, inEachBrowser, people, type Tab } from './harness.js'

const { aiko, jonas, maya } = people
const roles = async (tabs: readonly Tab[]): Promise<string[]> => Promise.all(tabs.map(async (tab) => (await tab.status()).role))

inEachBrowser((world) => {
  const confirmedOnce = async (key: string, id: string, table: 'companies' | 'leads' = 'companies') =>
    expect(await world.db.decisionsOn(table, key)).toEqual([{ id, outcome: 'confirmed' }])

  world.test('two tabs share an assignment, made in either, and the server confirms it', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    expect(await roles([one, two])).toEqual(['leader', 'follower'])
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
      await confirmedOnce(key, id, table)
    }
  })

  world.test('of five tabs that open at the same moment exactly one leads', async () => {
    const profile = await world.newProfile()
    const tabs: Tab[] = []
    // Loaded one after the other, as some engines can't do otherwise; started at once.
    while (tabs.length < 5) tabs.push(await profile.openTab({ start: false }))
    const startAt = Date.now() + 500
    for (const tab of tabs) {
      await tab.evaluate((at) => void setTimeout(() => void window.tab.start().catch((error: unknown) => window.tab.errors.push(String(error))), at - Date.now()), startAt)
    }
    for (const tab of tabs) await tab.waitFor('a store', () => tab.evaluate(() => window.tab.store !== undefined), Boolean)
    for (const tab of tabs) await tab.waitUntilReady()
    expect((await roles(tabs)).sort()).toEqual(['follower', 'follower', 'follower', 'follower', 'leader'])
  })

  world.test('the leader is closed: the next tab leads, and sends what either had made', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    const [ofLeader, ofFollower] = [await world.db.recordOf('companies', 'Sales', [aiko]), await world.db.recordOf('leads', 'Sales', [aiko])]
    await gateway.stop()
    await one.waitForLink('offline')
    const first = await one.assign('companies', ofLeader, aiko.id)
    const second = await two.assign('leads', ofFollower, aiko.id)
    for (const tab of [one, two]) await tab.waitForUnsent(2)
    await one.close()
    await two.waitForRole('leader')
    expect((await two.status()).unsent).toBe(2)
    await gateway.start()
    await two.reconnect()
    await two.waitForUnsent(0, 30_000)
    await confirmedOnce(ofLeader, first)
    await confirmedOnce(ofFollower, second, 'leads')
    expect(await two.owner('companies', ofLeader)).toBe(aiko.id)
  })

  world.test(
    'the leader crashes with a call on its way: the next tab leads, and the server has the change once',
    { needs: ['crash'], instead: 'the leader is closed, and the leader hangs' },
    async () => {
      const profile = await world.newProfile()
      const [one, two, three] = await profile.newTabs(3)
      const [ofLeader, ofFollower] = [await world.db.recordOf('companies', 'Sales', [aiko]), await world.db.recordOf('leads', 'Sales', [aiko])]
      await gateway.faults({ delayRestMs: 1_500 })
      const first = await one.assign('companies', ofLeader, aiko.id)
      await two.waitForUnsent(1)
      await one.crash()
      const second = await two.assign('leads', ofFollower, aiko.id)
      await two.waitFor('a leader among those that live', () => roles([two, three]), (found) => found.includes('leader'))
      await gateway.faults({ delayRestMs: 0 })
      await two.waitForOutcome(second, 'confirmed', 30_000)
      for (const tab of [two, three]) await tab.waitForUnsent(0, 30_000)
      await confirmedOnce(ofLeader, first)
      await confirmedOnce(ofFollower, second, 'leads')
      for (const tab of [two, three]) expect(await tab.owner('companies', ofLeader)).toBe(aiko.id)
    },
  )

  world.test('the leader hangs: another tab leads within ten seconds, and when it wakes it changes no outcome', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    const [ofLeader, ofFollower] = [await world.db.recordOf('companies', 'Sales', [aiko]), await world.db.recordOf('leads', 'Sales', [aiko])]
    // Its call never arrives, and it does not hear of that before it wakes.
    await gateway.faults({ dropNextRest: 1 })
    const [first] = await Promise.all([one.assign('companies', ofLeader, aiko.id), one.block(15_000)])
    const second = await two.assign('leads', ofFollower, aiko.id)
    await two.waitForRole('leader', 11_000)
    await two.waitForUnsent(0)
    await two.waitForOutcome(second, 'confirmed')
    await confirmedOnce(ofLeader, first)
    // Somebody else decides, before it wakes.
    await world.db.setOwner('companies', ofLeader, jonas.id)
    await two.waitForOwner('companies', ofLeader, jonas.id)

    await one.waitForRole('follower', 30_000)
    await one.waitForOwner('companies', ofLeader, jonas.id)
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    expect(await roles([one, two])).toEqual(['follower', 'leader'])
    for (const tab of [one, two]) {
      expect(await tab.owner('companies', ofLeader)).toBe(jonas.id)
      expect(await tab.owner('leads', ofFollower)).toBe(aiko.id)
      expect((await tab.status()).unsent).toBe(0)
    }
    expect((await one.outcome(first))?.outcome).toBe('confirmed')
    expect(await world.db.ownerOf('companies', ofLeader)).toBe(jonas.id)
    await confirmedOnce(ofLeader, first)
    await confirmedOnce(ofFollower, second, 'leads')
  })

  world.test('a change made off-line survives the reload of every tab, and goes out once', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    const key = await world.db.recordOf('companies', 'Sales', [aiko])
    await gateway.stop()
    await one.waitForLink('offline')
    const id = await two.assign('companies', key, aiko.id)
    for (const tab of [one, two]) await tab.waitForUnsent(1)
    await one.reload()
    await two.reload()
    for (const tab of [one, two]) {
      await tab.waitForOwner('companies', key, aiko.id)
      await tab.waitForUnsent(1)
    }
    expect(await world.db.decisionsOn('companies', key)).toEqual([])
    await gateway.start()
    await one.reconnect()
    for (const tab of [one, two]) await tab.waitForUnsent(0, 30_000)
    await confirmedOnce(key, id)
  })

  world.test(
    'the network is gone and comes back: both tabs go on, and nothing is sent twice',
    { needs: ['offline'], instead: 'the gateway is killed and started again' },
    async () => {
      const profile = await world.newProfile()
      const [one, two] = await profile.newTabs(2)
      const key = await world.db.recordOf('companies', 'Sales', [aiko])
      await profile.setOffline(true)
      const id = await two.assign('companies', key, aiko.id)
      await one.waitForOwner('companies', key, aiko.id)
      await one.waitForLink('offline')
      expect((await one.status()).unsent).toBe(1)
      await profile.setOffline(false)
      for (const tab of [one, two]) {
        await tab.waitForLink('live', 30_000)
        await tab.waitForUnsent(0)
      }
      await confirmedOnce(key, id)
    },
  )

  world.test('the gateway is killed and started again, with changes in between: all tabs end equal to the database', async () => {
    const profile = await world.newProfile()
    const tabs = await profile.newTabs(2)
    const [changed, deleted] = [await world.db.recordOf('companies', 'Support', [maya]), await world.db.recordOf('leads', 'Support')]
    await gateway.stop('kill')
    for (const tab of tabs) await tab.waitForLink('offline')
    await world.db.setOwner('companies', changed, maya.id)
    await world.db.client.query(`delete from leads where id = $1`, [deleted])
    await gateway.start()
    for (const tab of tabs) await tab.waitForLink('live', 70_000)
    for (const table of ['companies', 'leads'] as const) {
      const { rows } = await world.db.client.query<{ id: string; owner: string | null }>(`select id, owner_id as owner from ${table} order by id`)
      const shown = (tab: Tab) =>
        tab.evaluate(
          (name) => window.tab.store!.all(name).map(({ id, owner_id: owner }) => ({ id, owner })).sort((a, b) => (a.id < b.id ? -1 : 1)),
          table,
        )
      for (const tab of tabs) await expect.poll(() => shown(tab), { timeout: 10_000 }).toEqual(rows)
    }
  })

  world.test('frames that are lost, doubled or late, and calls that are cut, leave all tabs equal to the database', async () => {
    const profile = await world.newProfile()
    const tabs = await profile.newTabs(2)
    await gateway.faults({ duplicateFrames: 5, dropNextRest: 1, dropNextRestAnswer: 1, delayRestMs: 150 })
    const made: { key: string; id: string }[] = []
    for (let at = 0; at < 6; at++) {
      const key = await world.db.recordOf('companies', 'Sales', [aiko], at)
      made.push({ key, id: await tabs[at % 2]!.assign('companies', key, aiko.id) })
    }
    for (const tab of tabs) await tab.waitForUnsent(0, 40_000)
    for (const { key, id } of made) {
      await confirmedOnce(key, id)
      for (const tab of tabs) expect(await tab.owner('companies', key)).toBe(aiko.id)
    }
  })

  world.test('a frozen leader holds nobody up, and catches up when it is resumed', { needs: ['freeze'], instead: 'the leader hangs' }, async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    await two.show()
    await one.freeze()
    const key = await world.db.recordOf('companies', 'Sales', [aiko])
    const id = await two.assign('companies', key, aiko.id)
    await two.waitForOutcome(id, 'confirmed', 20_000)
    const other = await world.db.recordOf('leads', 'Sales', [jonas])
    await world.db.setOwner('leads', other, jonas.id)
    await two.waitForOwner('leads', other, jonas.id)
    await one.resume()
    await one.waitForOwner('companies', key, aiko.id)
    await one.waitForOwner('leads', other, jonas.id)
    await one.waitForUnsent(0)
    await two.waitFor('one leader', () => roles([one, two]), (found) => found.filter((role) => role === 'leader').length === 1)
    await confirmedOnce(key, id)
  })
})
