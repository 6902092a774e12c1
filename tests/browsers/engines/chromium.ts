import puppeteer, { type CDPSession, type Page } from 'puppeteer-core'
import { sharedMs, type Driver, type DriverTab, type Held, type LaunchOptions } from './driver.js'
import { ended, family, killAll } from './processes.js'
import { PuppeteerTab } from './puppeteer.js'

const FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

export async function launchChromium({ profile }: LaunchOptions): Promise<Driver> {
  const executablePath = process.env['CHROME']
  if (!executablePath) throw new Error('Set CHROME to the path of a Chromium or Chrome.')
  // Chromium's sandbox refuses root; everybody else keeps it.
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  const browser = await puppeteer.launch({
    executablePath,
    userDataDir: profile,
    protocolTimeout: 90_000,
    // Pages are kept for the way back, as they are for people.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: [...FLAGS, ...sandbox],
  })
  const pages = new Set<Page>()
  let isOffline = false
  return {
    name: 'chromium',
    version: (await browser.version()).replace(/^.*Chrome\//, ''),
    abilities: new Set(['crash', 'freeze', 'hide', 'offline', 'relaunch', 'quota', 'measure', 'push']),
    newTab: async () => {
      const page = await browser.newPage()
      pages.add(page)
      page.on('close', () => pages.delete(page))
      if (isOffline) await page.setOfflineMode(true)
      return new ChromiumTab(page, await page.createCDPSession())
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

class ChromiumTab extends PuppeteerTab implements DriverTab {
  readonly #cdp: CDPSession

  constructor(page: Page, cdp: CDPSession) {
    super(page)
    this.#cdp = cdp
  }

  async crash(): Promise<number> {
    const crashed = new Promise<void>((resolve) => this.#cdp.once('Inspector.targetCrashed', () => resolve()))
    await this.#cdp.send('Inspector.enable')
    const toldAt = sharedMs()
    // Who has crashed does not answer.
    void this.#cdp.send('Page.crash').catch(() => undefined)
    await crashed
    return toldAt
  }

  async freeze(): Promise<void> {
    await this.#cdp.send('Page.setWebLifecycleState', { state: 'frozen' })
  }

  async resume(): Promise<void> {
    await this.#cdp.send('Page.setWebLifecycleState', { state: 'active' })
  }

  async limitStorage(bytes: number | undefined): Promise<void> {
    await this.#cdp.send('Storage.overrideQuotaForOrigin', { origin: this.#origin, ...(bytes === undefined ? {} : { quotaSize: bytes }) })
  }

  async measure(): Promise<Held> {
    // What is freed by finalizers is collected by the next one.
    for (let round = 0; round < 3; round++) {
      await this.#cdp.send('HeapProfiler.collectGarbage')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const [{ usedSize }, { jsEventListeners, nodes }] = await Promise.all([this.#cdp.send('Runtime.getHeapUsage'), this.#cdp.send('Memory.getDOMCounters')])
    return { heapBytes: usedSize, listeners: jsEventListeners, nodes }
  }
  async allowNotifications(isAllowed: boolean): Promise<void> {
    // What is not allowed then is denied.
    await this.page.browserContext().overridePermissions(this.#origin, isAllowed ? ['notifications'] : [])
  }

  async push(text: string): Promise<void> {
    const registered = new Promise<string>((resolve) =>
      this.#cdp.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
        const ours = registrations.find(({ scopeURL, isDeleted }) => !isDeleted && scopeURL.startsWith(this.#origin))
        if (ours) resolve(ours.registrationId)
      }),
    )
    await this.#cdp.send('ServiceWorker.enable')
    await this.#cdp.send('ServiceWorker.deliverPushMessage', { origin: this.#origin, registrationId: await registered, data: text })
    await this.#cdp.send('ServiceWorker.disable')
  }

  async evaluateInWorker(expression: string): Promise<unknown> {
    const target = await this.page.browser().waitForTarget((each) => each.type() === 'service_worker' && each.url().startsWith(this.#origin))
    const worker = await target.worker()
    if (!worker) throw new Error('the worker is gone')
    return worker.evaluate(expression)
  }

  get #origin(): string {
    return new URL(this.page.url()).origin
  }
}
