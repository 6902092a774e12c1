import puppeteer, { type Browser, type Page } from 'puppeteer-core'
import { Lacking, sharedMs, type Driver, type DriverTab, type LaunchOptions } from './driver.js'
import { ended, family, killAll, type Process } from './processes.js'
import { PuppeteerTab } from './puppeteer.js'

const PREFS = {
  // A process for each tab: one of them can be killed, or be busy, without the others. Firefox would share them among tabs of one site.
  'dom.ipc.processCount': 12,
  'dom.ipc.processCount.webIsolated': 12,
  'dom.ipc.processCount.webCOOP+COEP': 12,
  'dom.ipc.processPrelaunch.enabled': false,
  'dom.ipc.keepProcessesAlive.web': 0,
  // A busy page stays busy, without anybody being asked.
  'dom.ipc.processHangMonitor': false,
  'dom.max_script_run_time': 0,
  'privacy.reduceTimerPrecision': false,
  // After it was killed it starts as if nothing had been.
  'browser.sessionstore.resume_from_crash': false,
  'toolkit.startup.max_resumed_crashes': -1,
}

const BURN_MS = 400
const BURNS_MAX = 8

export async function launchFirefox({ profile }: LaunchOptions): Promise<Driver> {
  const executablePath = process.env['FIREFOX']
  if (!executablePath) throw new Error('Set FIREFOX to the path of a Firefox.')
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath,
    userDataDir: profile,
    protocolTimeout: 90_000,
    extraPrefsFirefox: PREFS,
  })
  const pages = new Set<Page>()
  let isOffline = false
  return {
    name: 'firefox',
    version: (await browser.version()).replace(/^.*?\//, ''),
    abilities: new Set(['crash', 'hide', 'offline', 'relaunch']),
    newTab: async () => {
      const page = await browser.newPage()
      pages.add(page)
      page.on('close', () => pages.delete(page))
      if (isOffline) await page.setOfflineMode(true)
      return new FirefoxTab(page, browser)
    },
    setOffline: async (offline) => {
      isOffline = offline
      await Promise.all([...pages].map((page) => page.setOfflineMode(offline)))
    },
    close: () => browser.close(),
    kill: async () => {
      const processes = family(browser.process()?.pid ?? -1)
      killAll(processes)
      await ended(processes)
      await browser.disconnect()
    },
  }
}

class FirefoxTab extends PuppeteerTab implements DriverTab {
  readonly #browser: Browser

  constructor(page: Page, browser: Browser) {
    super(page)
    this.#browser = browser
  }

  async crash(): Promise<number> {
    const process = await this.#process()
    const toldAt = sharedMs()
    killAll([process])
    await ended([process])
    return toldAt
  }

  freeze(): Promise<void> {
    return Promise.reject(new Lacking('firefox', 'freeze'))
  }

  resume(): Promise<void> {
    return Promise.reject(new Lacking('firefox', 'freeze'))
  }

  /** Firefox does not tell in which process a page runs, so the page is kept busy, and the process that works is the one. */
  async #process(): Promise<Process> {
    const contents = () => family(this.#browser.process()?.pid ?? -1).filter(({ command }) => command.includes('-contentproc'))
    const before = new Map(contents().map(({ id, ticks }) => [id, ticks]))
    const told: string[] = []
    // Others may be at work, too, but not in each round.
    for (let round = 0; round < BURNS_MAX; round++) {
      await this.evaluate(`{ const end = performance.now() + ${BURN_MS}; while (performance.now() < end); }`)
      const worked = contents()
        .map((process) => ({ process, ticks: process.ticks - (before.get(process.id) ?? 0) }))
        .sort((a, b) => b.ticks - a.ticks)
      const [most, next] = worked
      if (most && most.ticks >= 5 && (!next || next.ticks * 2 <= most.ticks)) return most.process
      told.push(worked.map(({ process, ticks }) => `${process.id}: ${ticks}`).join(', '))
    }
    throw new Error(`no telling in which process the page runs: ${told.join('; ')}`)
  }
}
