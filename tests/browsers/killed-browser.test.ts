/** A browser that dies at once, as in a power cut, with changes that nobody but it knows of. */

import { afterAll, beforeAll, expect } from 'vitest'
import { gateway, inEachBrowser, people, type Tab } from './harness.js'
import { Ledger } from './ledger.js'

const CHANGES = 200
/** As good as for ever. */
const ALL = 1_000_000

inEachBrowser((world) => {
  const ledger = new Ledger(world.db.client)
  beforeAll(() => ledger.watch())
  afterAll(() => ledger.forget())

  const needs = {
    needs: ['relaunch', 'offline'],
    instead: 'the simulator, which kills browsers and keeps what was told to be durable',
  } as const
  world.test('a browser killed among 200 changes made off-line comes back with every one that was durable, and all of them arrive once', needs, async () => {
    await ledger.watch()
    const { rows } = await world.db.client.query<{ id: string }>(`select id from companies where department = 'Sales' order by id limit 20`)
    const companies = rows.map(({ id }) => id)
    const profile = await world.newProfile()
    const [tab] = await profile.newTabs(1)
    await profile.setOffline(true)
    await gateway.stop('kill')
    await tab.waitFor('the link to be lost', () => tab.status(), ({ link }) => link.state !== 'live')

    await tab.evaluate(change, CHANGES, companies, [people.maya.id, people.jonas.id, people.aiko.id])
    let durable: readonly string[] = []
    const known = (): Promise<string[]> => tab.evaluate(() => window.tab.notes['durable'])
    durable = await tab.waitFor('half of them to be durable', known, (ids) => ids.length >= CHANGES / 2, 60_000)
    // Those that become durable from now on are not known to be: they may be there, or not.
    await profile.kill()
    expect(durable.length).toBeLessThan(CHANGES)

    await gateway.start()
    // It may sign in, but not send: so what it has, it has kept.
    await gateway.faults({ dropNextRest: ALL })
    await profile.start()
    const back = await profile.openTab()
    const pending = (): Promise<string[]> => back.operations().then(({ pending: found }) => found.map(({ id }) => id))
    await back.waitFor('what was durable', pending, (ids) => durable.every((id) => ids.includes(id)))
    const kept = await settled(back, pending)
    expect(await ledger.decisions()).toEqual([])

    await gateway.faults({ dropNextRest: 0 })
    await back.evaluate(() => window.tab.store!.reconnect())
    await back.waitUntilReady(30_000)
    await back.waitForUnsent(0, 60_000)
    const decisions = await ledger.decisions()
    expect(decisions.map(({ id }) => id).toSorted(), 'each once, and nothing that was not there').toEqual(kept.toSorted())
    expect(decisions.filter(({ outcome }) => outcome !== 'confirmed')).toEqual([])
    const effects = await ledger.effects()
    expect(decisions.filter(({ id }) => effects.get(id) !== 1)).toEqual([])
    console.log(`${world.engine}: ${durable.length} of ${CHANGES} were known to be durable, ${kept.length} were kept, ${decisions.length} arrived`)
  })
})

/** Runs in the page: makes a change a task, and notes which became durable. */
function change(count: number, companies: readonly string[], persons: readonly string[]): void {
  const store = window.tab.store!
  const { notes } = window.tab
  const durable: string[] = (notes['durable'] = [])
  let number = 0
  const next = (): void => {
    const key = companies[number % companies.length]!
    // Patches of a record would be sent as one; who owns it is told each time.
    const made = store.assignments.assign('companies', key, persons[(persons.indexOf(store.get('companies', key)?.owner_id ?? '') + 1) % persons.length]!)
    void made.durable.then((level) => level === 'full' && durable.push(made.id))
    if (++number < count) setTimeout(next, 10)
  }
  next()
}

/** The list once it has stopped to grow. */
async function settled(tab: Tab, look: () => Promise<string[]>): Promise<string[]> {
  let last = await look()
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const now = await look()
    if (now.length === last.length && tab.isAlive) return now
    last = now
  }
}
