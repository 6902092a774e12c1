/**
 * What tests in real browsers are written with, once for all engines.
 *
 *   inEachBrowser((world) => {
 *     world.test('what holds', { needs: ['crash'], instead: 'what was tested where that is not possible' }, async () => {
 *       const profile = await world.newProfile()             // a browser process with storage of its own
 *       const [one, two] = await profile.newTabs(2)          // tabs in which Maya is signed in, with a live link
 *       const key = await world.db.recordOf('companies', 'Sales')
 *       const id = await one.assign('companies', key, people.aiko.id)
 *       await two.waitForOwner('companies', key, people.aiko.id)
 *     })
 *   })
 *
 * Behind the page are the demo's gateway, which `gateway` stops, starts and breaks, and its PostgreSQL (`world.db`). $BROWSERS names the
 * engines, `chromium` without. What an engine can't be asked to do is skipped there, and the table at the end (`table.ts`) says so.
 * After each test its browsers are gone, and an error in a page that nobody caught fails it.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, inject, test } from 'vitest'
import { DemoDatabase, people, putBack } from '../demo/backend.js'
import { ENGINES, type Ability, type Driver, type EngineName, type LaunchOptions } from './engines/driver.js'
import { launchChromium } from './engines/chromium.js'
import { launchFirefox } from './engines/firefox.js'
import { launchWebkit } from './engines/webkit.js'
import type { SetUp } from './page/set-up.js'
import { Tab } from './tab.js'

export { gateway, people } from '../demo/backend.js'
export { Tab, type Owned } from './tab.js'

declare module 'vitest' {
  interface TaskMeta {
    /** In which engine a test of this suite ran, what stopped it there, and what it measured. */
    browsers?: {
      readonly engine: EngineName
      readonly version: string
      readonly lacks?: readonly Ability[]
      readonly instead?: string
      /** By what was measured. */
      figures?: Record<string, string>
    }
  }
}

const LAUNCH: Readonly<Record<EngineName, (options: LaunchOptions) => Promise<Driver>>> = {
  chromium: launchChromium,
  firefox: launchFirefox,
  webkit: launchWebkit,
}

const ERRORS_MS_MAX = 3_000

interface Needs {
  readonly needs?: readonly Ability[]
  /** What stands for it where something is lacking. */
  readonly instead?: string
  readonly timeoutMs?: number
}

/** A browser with what it keeps. */
export class Profile {
  readonly #launch: () => Promise<Driver>
  #driver: Driver | undefined
  readonly tabs: Tab[] = []

  constructor(launch: () => Promise<Driver>) {
    this.#launch = launch
  }

  get #running(): Driver {
    if (!this.#driver) throw new Error('the browser does not run')
    return this.#driver
  }

  /** Starts the browser, for the first time or again. */
  async start(): Promise<void> {
    this.#driver = await this.#launch()
  }

  /** One more tab: with Maya signed in and a live link, if nothing else is said. */
  async newTab(setUp: SetUp = {}): Promise<Tab> {
    const tab = await this.openTab(setUp)
    await tab.waitUntilReady()
    return tab
  }

  /** One more tab, which is not waited for once it has its page. */
  async openTab(setUp: SetUp = {}): Promise<Tab> {
    const tab = new Tab(await this.#running.newTab(), inject('pageUrl'))
    this.tabs.push(tab)
    await tab.open({ user: people.maya.id, ...setUp })
    return tab
  }

  /** Tabs one after the other, so that the first of them leads. */
  async newTabs<N extends number>(count: N, setUp: SetUp = {}): Promise<TabsOf<N>> {
    const tabs: Tab[] = []
    while (tabs.length < count) tabs.push(await this.newTab(setUp))
    return tabs as TabsOf<N>
  }

  /** Takes the network away from all tabs, or gives it back. Needs `offline`. */
  setOffline(isOffline: boolean): Promise<void> {
    return this.#running.setOffline(isOffline)
  }

  /** Ends all processes of the browser at once. `start` begins again with what is kept. Needs `relaunch`. */
  async kill(): Promise<void> {
    for (const tab of this.tabs) tab.isAlive = false
    await this.#running.kill()
    this.#driver = undefined
  }

  async close(): Promise<void> {
    const driver = this.#driver
    this.#driver = undefined
    await driver?.close()
  }
}

type TabsOf<N extends number> = N extends 1 ? [Tab] : N extends 2 ? [Tab, Tab] : N extends 3 ? [Tab, Tab, Tab] : N extends 4 ? [Tab, Tab, Tab, Tab] : Tab[]

export interface World {
  readonly engine: EngineName
  readonly db: DemoDatabase
  newProfile(): Promise<Profile>
  test(name: string, run: Run): void
  test(name: string, needs: Needs, run: Run): void
}

type Run = (note: (what: string, figure: string) => void) => Promise<void>

/** The engines that were asked for. */
export function chosenEngines(): readonly EngineName[] {
  const chosen = (process.env['BROWSERS'] || 'chromium').split(',')
  for (const name of chosen) if (!ENGINES.includes(name as EngineName)) throw new Error(`there is no engine "${name}"; there are ${ENGINES.join(', ')}`)
  return chosen as EngineName[]
}

export function inEachBrowser(body: (world: World) => void): void {
  for (const engine of chosenEngines()) describe(engine, () => body(worldOf(engine)))
}

function worldOf(engine: EngineName): World {
  const db = new DemoDatabase()
  const profiles: { profile: Profile; folder: string }[] = []
  let version = ''
  let abilities: ReadonlySet<Ability> = new Set()

  const newProfile = async (): Promise<Profile> => {
    const folder = mkdtempSync(path.join(tmpdir(), 'rota-browser-'))
    const profile = new Profile(async () => {
      const driver = await LAUNCH[engine]({ profile: folder })
      ;({ version, abilities } = driver)
      return driver
    })
    profiles.push({ profile, folder })
    await profile.start()
    return profile
  }
  const leave = async (): Promise<void> => {
    const left = profiles.splice(0)
    const errors = await Promise.all(left.flatMap(({ profile }) => profile.tabs.filter(({ isAlive }) => isAlive).map(errorsOf)))
    await Promise.all(left.map(({ profile }) => profile.close()))
    for (const { folder } of left) rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
    const found = errors.flat()
    if (found.length > 0) throw new Error(`a page threw: ${found.join('\n')}`)
  }

  beforeAll(async () => {
    await db.client.connect()
    // Its version and what it can do are known once it runs.
    await newProfile()
    await leave()
  })
  beforeEach(() => putBack(db))
  afterEach(leave)
  afterAll(() => db.client.end())

  return {
    engine,
    db,
    newProfile,
    test: (name: string, first: Needs | Run, second?: Run) => {
      const [{ needs = [], instead, timeoutMs }, run] = typeof first === 'function' ? [{} as Needs, first] : [first, second!]
      test(name, { timeout: timeoutMs ?? 120_000 }, async ({ task, skip }) => {
        const lacks = needs.filter((need) => !abilities.has(need))
        task.meta.browsers = { engine, version, ...(lacks.length > 0 ? { lacks, ...(instead === undefined ? {} : { instead }) } : {}) }
        if (lacks.length > 0) skip(`${engine} can't: ${lacks.join(', ')}`)
        const figures: Record<string, string> = {}
        await run((what, figure) => (figures[what] = figure))
        task.meta.browsers = { ...task.meta.browsers, figures }
      })
    },
  }
}

/** A page that hangs has no errors to tell. */
function errorsOf(tab: Tab): Promise<string[]> {
  const hangs = new Promise<string[]>((resolve) => setTimeout(resolve, ERRORS_MS_MAX, []).unref())
  return Promise.race([tab.errors().catch(() => []), hangs])
}
