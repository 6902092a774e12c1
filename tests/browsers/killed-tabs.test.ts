/** Tabs that die all the time, while people work in them. */

import { afterAll, beforeAll, expect } from 'vitest'
import { inEachBrowser, people, type Profile, type Tab } from './harness.js'
import { Ledger, randomFrom } from './ledger.js'

const SLOTS = 5
const EACH = 200
const BATCH = 5
const SEED = Number(process.env['SEED'] ?? 1)
const COMPANY_FIELDS = ['name', 'city', 'industry', 'employees', 'owner_id']
/** A machine that has too much to do must not make an operation a person's to retry. */
const SET_UP = { options: { retry: { maxRetries: 100 } } }
const LEAD_FIELDS = ['name', 'owner_id']
const { maya, jonas, aiko } = people

/** Somebody who goes on working, in another tab where theirs has died. */
interface Slot {
  readonly number: number
  tab: Tab | undefined
  /** Resolves when the present tab is killed. */
  killed: Promise<void>
  kill: () => void
  readonly accepted: Map<string, number>
}

inEachBrowser((world) => {
  const ledger = new Ledger(world.db.client)
  beforeAll(() => ledger.watch())
  afterAll(() => ledger.forget())

  world.test('of 1,000 operations from five tabs, one of which is killed every second, each takes effect once, in its author’s order', { timeoutMs: 600_000 }, async () => {
    const random = randomFrom(SEED)
    await ledger.watch()
    const { rows } = await world.db.client.query<{ companies: string[]; leads: string[] }>(`select
      (select array_agg(id order by id) from (select id from companies where department = 'Sales' order by id limit 10) c) as companies,
      (select array_agg(id order by id) from (select id from leads where department = 'Sales' order by id limit 10) l) as leads`)
    const { companies, leads } = rows[0]!
    const profile = await world.newProfile()
    const slots = Array.from({ length: SLOTS }, (_, number): Slot => ({ number, tab: undefined, accepted: new Map(), ...newDeath() }))
    const ways = world.engine === 'webkit' ? (['close', 'reload'] as const) : (['close', 'crash', 'reload'] as const)
    const kills: string[] = []

    const done = new AbortController()
    const working = Promise.all(slots.map((slot) => work(profile, slot, { companies, leads })))
    const killing = (async () => {
      while (!done.signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, 1_000))
        const slot = random.pick(slots.filter(({ tab }) => tab !== undefined))
        if (done.signal.aborted || !slot) continue
        const way = random.pick(ways)
        kills.push(way)
        await end(slot, way)
      }
    })()
    await working.finally(() => done.abort())
    await killing
    const tabs: Tab[] = []
    for (const slot of slots) tabs.push(slot.tab ?? (await profile.newTab(SET_UP)))

    // What a page had accepted just before it was killed, and could not tell any more, it has left a note of.
    const noted = await tabs[0]!.evaluate(() => Object.entries(localStorage) as [string, string][])
    for (const [key, id] of noted) if (key.startsWith('made:')) slots[Number(key.split(':')[1])]!.accepted.set(id, Number(key.split(':')[2]))
    const accepted = slots.flatMap((slot) => [...slot.accepted.keys()])
    expect(accepted.length).toBeGreaterThanOrEqual(SLOTS * EACH)
    for (const tab of tabs) await tab.waitUntilReady(60_000)
    for (const tab of tabs) await tab.waitForUnsent(0, 60_000)

    const decisions = await ledger.decisions()
    // Of patches that wait, one may stand for several.
    const joined = new Map(noted.filter(([key]) => key.startsWith('joined:')).map(([key, by]) => [key.slice('joined:'.length), by]))
    const sentAs = (id: string): string => (joined.has(id) ? sentAs(joined.get(id)!) : id)
    const times = new Map<string, number>()
    for (const { id } of decisions) times.set(id, (times.get(id) ?? 0) + 1)
    const wrong = (ids: readonly string[], count: (id: string) => number) => ids.filter((id) => count(id) !== 1).map((id) => `${id}: ${count(id)}`)
    expect(wrong(accepted, (id) => times.get(sentAs(id)) ?? 0), 'in the ledger each accepted operation is there once').toEqual([])
    expect(decisions.filter(({ outcome }) => outcome !== 'confirmed')).toEqual([])
    const effects = await ledger.effects()
    expect(wrong(decisions.map(({ id }) => id), (id) => effects.get(id) ?? 0), 'each changed its row once').toEqual([])
    const numbers = new Map(slots.flatMap((slot) => [...slot.accepted].map(([id, number]) => [id, { slot: slot.number, number }])))
    const last = new Map<string, number>()
    const late: string[] = []
    for (const { id, table, key } of decisions) {
      const made = numbers.get(id)
      if (!made) continue
      const of = `${made.slot} on ${table} ${key}`
      if (made.number < (last.get(of) ?? -1)) late.push(`${id}, number ${made.number} of ${of}, came after ${last.get(of)}`)
      last.set(of, made.number)
    }
    expect(late).toEqual([])
    const truth = { companies: await ledger.rows('companies', COMPANY_FIELDS), leads: await ledger.rows('leads', LEAD_FIELDS) }
    for (const tab of tabs) {
      const shown = { companies: await shownBy(tab, 'companies', COMPANY_FIELDS), leads: await shownBy(tab, 'leads', LEAD_FIELDS) }
      expect(shown).toEqual(truth)
    }
    const left = await tabs[0]!.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('rota:') && key.includes(':op:')))
    expect(left, 'nothing is left in storage').toEqual([])
    console.log(`${world.engine}: seed ${SEED}: ${accepted.length} operations, ${joined.size} of them joined by later ones before they were sent; ${kills.length} tabs killed: ${kills.join(' ')}`)
  })
})

function newDeath(): Pick<Slot, 'killed' | 'kill'> {
  let kill = (): void => {}
  const killed = new Promise<void>((resolve) => (kill = resolve))
  return { killed, kill }
}

async function end(slot: Slot, way: 'close' | 'crash' | 'reload'): Promise<void> {
  const { tab } = slot
  if (!tab) return
  slot.tab = undefined
  slot.kill()
  if (way === 'reload') {
    await tab.reload()
    Object.assign(slot, newDeath(), { tab })
  } else {
    await tab[way]()
  }
}

async function work(profile: Profile, slot: Slot, records: { companies: readonly string[]; leads: readonly string[] }): Promise<void> {
  let number = 0
  const deadline = performance.now() + 480_000
  while (slot.accepted.size < EACH) {
    if (performance.now() > deadline) throw new Error(`slot ${slot.number} has made ${slot.accepted.size} operations only`)
    if (!slot.tab) {
      // Reloading it does not take its slot away for long.
      await new Promise((resolve) => setTimeout(resolve, 200))
      if (slot.tab) continue
      const tab = await profile.openTab(SET_UP)
      if (!slot.tab) Object.assign(slot, newDeath(), { tab })
      continue
    }
    const first = number
    number += BATCH
    const made = slot.tab.evaluate(makeSome, slot.number, first, BATCH, records.companies, records.leads, [maya.id, jonas.id, aiko.id])
    const killed = slot.killed.then(() => undefined)
    const ids = await Promise.race([made, killed]).catch(async (error: unknown) => {
      // What was being told when the tab died is lost.
      const isKilled = await Promise.race([killed.then(() => true), new Promise<false>((resolve) => setTimeout(resolve, 500, false))])
      if (!isKilled) throw error
      return undefined
    })
    ids?.forEach((id, index) => slot.accepted.set(id, first + index))
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
}

/** Runs in the page. Every slot has a field of its own in each company, and two leads of its own to give away. */
function makeSome(slot: number, first: number, count: number, companies: readonly string[], leads: readonly string[], persons: readonly string[]): string[] {
  const store = window.tab.store!
  const ids: string[] = []
  // A page that has just begun shows the cache, and who decides on what is in there may lose to what is known since.
  if (!store.status().ready || ![...companies.map((key) => store.get('companies', key)), ...leads.map((key) => store.get('leads', key))].every(Boolean)) return ids
  if (!window.tab.notes['isHeard']) {
    window.tab.notes['isHeard'] = true
    store.subscribe(({ operations }) => {
      for (const { id, replacedBy } of operations) if (replacedBy) localStorage.setItem(`joined:${id}`, replacedBy)
    })
  }
  for (let number = first; number < first + count; number++) {
    const company = companies[number % companies.length]!
    const lead = leads[slot * 2 + (number % 2)]!
    const owner = store.get('leads', lead)?.owner_id ?? null
    const other = persons[(persons.indexOf(owner ?? '') + 1) % persons.length]!
    const text = `${slot}:${number}`
    const set = [{ name: text }, { city: text }, { industry: text }, { employees: number + 1 }][slot]
    const { id } =
      set && number % 3 > 0 ? store.mutate({ name: 'patch', table: 'companies', key: company, set }) : store.assignments.assign('leads', lead, other)
    localStorage.setItem(`made:${slot}:${number}`, id)
    ids.push(id)
  }
  return ids
}

function shownBy(tab: Tab, table: 'companies' | 'leads', fields: readonly string[]): Promise<Record<string, Record<string, unknown>>> {
  return tab.evaluate(
    (name, wanted) =>
      Object.fromEntries(window.tab.store!.all(name).map((row) => [row.id, Object.fromEntries(wanted.map((field) => [field, (row as unknown as Record<string, unknown>)[field]]))])),
    table,
    fields,
  )
}
