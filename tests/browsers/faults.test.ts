/** Everything that a network can do, mixed, while two people work in two tabs each. */

import { afterAll, beforeAll, expect } from 'vitest'
import { gateway, inEachBrowser, people, type Tab } from './harness.js'
import { Ledger, randomFrom } from './ledger.js'

const SEED = Number(process.env['SEED'] ?? 1)
const STEPS = 20
const { maya, jonas, aiko } = people
const FIELDS = { companies: ['name', 'city', 'industry', 'employees', 'owner_id'], leads: ['name', 'owner_id'] }
/** Impatient enough for a test; patient with a server that fails all the time. */
const SET_UP = { options: { retry: { maxRetries: 100, retryDelay: 200, timeout: 4_000 }, link: { heartbeatMs: 2_000 } } } as const
const CALM = { delayRestMs: 0, dropNextRest: 0, dropNextRestAnswer: 0, duplicateFrames: 0, dropFrames: 0, halfOpen: false, systemDelayMs: 0 }

interface Made {
  readonly id: string
  readonly table: string
  readonly key: string
  readonly set?: Readonly<Record<string, unknown>>
}

inEachBrowser((world) => {
  const ledger = new Ledger(world.db.client)
  beforeAll(() => ledger.watch())
  afterAll(() => ledger.forget())

  world.test('two people in two tabs each work through delays, drops, duplicates, half-open sockets and restarts of the gateway; in the end all agree', { timeoutMs: 400_000 }, async () => {
    const random = randomFrom(SEED)
    await ledger.watch()
    const { rows } = await world.db.client.query<{ id: string }>(`select id from companies where department = 'Sales' order by id limit 8`)
    const keys = rows.map(({ id }) => id)
    const tabs: Tab[] = []
    for (const person of [maya, jonas]) {
      const profile = await world.newProfile()
      for (let count = 0; count < 2; count++) tabs.push(await profile.newTab({ ...SET_UP, user: person.id }))
    }
    for (const tab of tabs) await tab.evaluate(noteJoined)

    const steps: string[] = []
    const made: Made[][] = tabs.map(() => [])
    for (let step = 0; step < STEPS; step++) {
      const [name, fault] = random.pick(FAULTS)
      steps.push(name)
      await fault(random.next)
      for (const [at, tab] of tabs.entries()) {
        const persons = [maya.id, jonas.id, aiko.id, null]
        made[at]!.push(...(await tab.evaluate(work, at, step, keys, [random.pick(keys), random.pick(keys)], random.pick(persons))))
      }
      await new Promise((resolve) => setTimeout(resolve, 300 + random.next() * 1_000))
    }
    await gateway.start()
    await gateway.faults(CALM)
    // One pull: what a stream has lost without a word, nobody can know of.
    for (const tab of tabs) await tab.evaluate(() => window.tab.store!.reconnect())
    for (const tab of tabs) await tab.waitUntilReady(60_000)
    for (const tab of tabs) await tab.waitForUnsent(0, 60_000)
    const rowsOf = async (): Promise<Shown> => ({ companies: await ledger.rows('companies', FIELDS.companies), leads: await ledger.rows('leads', FIELDS.leads) })
    const truth = JSON.stringify(await rowsOf())
    for (const tab of tabs) await tab.waitFor('what the database has', () => tab.evaluate(shows, FIELDS), (shown) => shown === truth, 30_000)

    const decisions = await ledger.decisions()
    const outcomes = new Map(decisions.map(({ id, outcome }) => [id, outcome]))
    expect(outcomes.size).toBe(decisions.length)
    const effects = await ledger.effects()
    expect(decisions.filter(({ id, outcome }) => (effects.get(id) ?? 0) > (outcome === 'confirmed' ? 1 : 0)), 'none took effect twice, or without being confirmed').toEqual([])
    const rowsNow = await rowsOf()
    for (const [at, tab] of tabs.entries()) {
      const joined = await tab.evaluate(() => window.tab.notes['joined'] as Record<string, string>)
      const sentAs = (id: string): string => (joined[id] === undefined ? id : sentAs(joined[id]))
      const settled = await tab.evaluate(() => window.tab.notes['settled'] as Record<string, string>)
      const wrong = made[at]!.filter(({ id }) => outcomes.get(sentAs(id)) === undefined || settled[id] !== outcomes.get(sentAs(id)))
      expect(wrong.map((one) => ({ ...one, told: settled[one.id], ledger: outcomes.get(sentAs(one.id)) })), 'each was decided, and its author was told that').toEqual([])
      for (const patch of made[at]!.filter((one) => one.set)) expect(settled[patch.id], `${patch.id}: nobody else writes this field`).toBe('confirmed')
      const last = new Map(made[at]!.filter((one) => one.set).map((one) => [one.key, one.set!]))
      for (const [key, set] of last) expect(rowsNow.companies[key]).toMatchObject(set)
    }
    const count = (outcome: string): number => decisions.filter((decision) => decision.outcome === outcome).length
    console.log(`${world.engine}: seed ${SEED}: ${made.flat().length} operations, ${decisions.length} decided: ${count('confirmed')} confirmed, ${count('conflicted')} conflicted; ${steps.join(' ')}`)
  })
})

type Shown = Record<'companies' | 'leads', Record<string, Record<string, unknown>>>

const FAULTS: readonly (readonly [string, (next: () => number) => Promise<unknown>])[] = [
  ['calm', () => gateway.faults(CALM)],
  ['delays', (next) => gateway.faults({ delayRestMs: Math.round(next() * 1_500) })],
  ['drops', (next) => gateway.faults({ dropNextRest: 1 + Math.floor(next() * 6) })],
  ['drops-answers', (next) => gateway.faults({ dropNextRestAnswer: 1 + Math.floor(next() * 6) })],
  ['duplicates', (next) => gateway.faults({ duplicateFrames: 5 + Math.floor(next() * 30) })],
  ['loses-frames', (next) => gateway.faults({ dropFrames: 1 + Math.floor(next() * 5) })],
  ['half-open', () => gateway.faults({ halfOpen: true })],
  ['reads-again', () => gateway.faults({ halfOpen: false })],
  ['late-system', (next) => gateway.faults({ systemDelayMs: Math.round(next() * 1_000) })],
  ['restart', () => gateway.stop('kill').then(() => gateway.start())],
  ['goodbye', () => gateway.stop('close').then(() => gateway.start())],
]

/** Runs in the page. */
function noteJoined(): void {
  const joined: Record<string, string> = (window.tab.notes['joined'] = {})
  window.tab.notes['settled'] = {}
  window.tab.store!.subscribe(({ operations }) => {
    for (const { id, replacedBy } of operations) if (replacedBy) joined[id] = replacedBy
  })
}

/** Runs in the page. Each tab has a field of its own in every company, and all may give each company away. */
function work(tab: number, step: number, keys: readonly string[], targets: readonly [string, string], owner: string | null): Made[] {
  const store = window.tab.store!
  const settled = window.tab.notes['settled'] as Record<string, string>
  const text = `${tab}:${step}`
  const set = [{ name: text }, { city: text }, { industry: text }, { employees: step + 1 }][tab]!
  const key = keys[(tab + step) % keys.length]!
  const made = [
    { key, set, ...store.mutate({ name: 'patch', table: 'companies', key, set }) },
    ...targets.filter((target, at) => targets.indexOf(target) === at && store.get('companies', target)?.owner_id !== owner).map((target) => ({ key: target, ...store.assignments.assign('companies', target, owner) })),
  ]
  for (const { id, settled: end } of made) void end.then(({ outcome }) => (settled[id] = outcome))
  return made.map(({ id, key: of, ...rest }) => ({ id, table: 'companies', key: of, ...('set' in rest ? { set: rest.set } : {}) }))
}

/** Runs in the page: as the database would say it, as text, since not every driver keeps the order of members. */
function shows(fields: { companies: readonly string[]; leads: readonly string[] }): string {
  const store = window.tab.store!
  const rowsOf = (table: 'companies' | 'leads'): Record<string, Record<string, unknown>> =>
    Object.fromEntries(
      [...(store.all(table) as readonly unknown[] as readonly ({ id: string } & Record<string, unknown>)[])]
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
        .map((row) => [row.id, Object.fromEntries(fields[table].map((field) => [field, row[field]]))]),
    )
  return JSON.stringify({ companies: rowsOf('companies'), leads: rowsOf('leads') })
}
