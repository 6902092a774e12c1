/** A tab with a plain page, in whichever engine. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Settlement, Status } from 'rota-engine'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { launchChromium } from '../engines/chromium.js'
import type { Driver, DriverTab, EngineName, LaunchOptions } from '../engines/driver.js'
import { launchFirefox } from '../engines/firefox.js'
import { launchWebkit } from '../engines/webkit.js'
import { chosenEngines } from '../harness.js'
import { PlainServer, type PageOptions } from './server.js'

const LAUNCH: Readonly<Record<EngineName, (options: LaunchOptions) => Promise<Driver>>> = { chromium: launchChromium, firefox: launchFirefox, webkit: launchWebkit }

const WAIT_MS_MAX = 15_000

export class PlainTab {
  readonly #tab: DriverTab

  constructor(tab: DriverTab) {
    this.#tab = tab
  }

  async open(url: string): Promise<this> {
    await this.#tab.goto(url)
    await this.waitFor(
      () => ({ errors: window.plain?.errors ?? [], isThere: !!(window.plain?.store ?? window.plain?.ask) }),
      ({ errors, isThere }) => isThere || errors.length > 0,
    )
    return this
  }

  goto(url: string): Promise<void> {
    return this.#tab.goto(url)
  }

  /** Goes back to the page before. */
  async back(): Promise<void> {
    // Its answer may never come: the page that was asked is gone.
    void this.#tab.evaluate('setTimeout(() => history.back(), 0)').catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 300))
    await this.waitFor(
      () => !!(window.plain?.store),
      (isThere) => isThere,
    )
  }

  evaluate<A extends readonly unknown[], R>(run: (...args: A) => R, ...args: A): Promise<Awaited<R>> {
    return this.#tab.evaluate(`(${run.toString()})(${args.map((argument) => JSON.stringify(argument) ?? 'undefined').join(', ')})`) as Promise<Awaited<R>>
  }

  async waitFor<R>(look: () => R, isRight: (seen: Awaited<R>) => boolean, timeoutMs = WAIT_MS_MAX): Promise<Awaited<R>> {
    const endMs = performance.now() + timeoutMs
    for (;;) {
      const seen = await this.evaluate(look)
      if (isRight(seen)) return seen
      if (performance.now() > endMs) throw new Error(`after ${timeoutMs} ms of waiting, ${look.toString()} is ${JSON.stringify(seen)}`)
      await new Promise((resolve) => setTimeout(resolve, 15))
    }
  }

  status(): Promise<Status> {
    return this.evaluate(() => window.plain.store!.status())
  }

  isLive(role?: Status['role']): Promise<Status> {
    return this.waitFor(
      () => window.plain.store!.status(),
      (status) => status.ready && status.link.state === 'live' && (role === undefined || status.role === role),
    )
  }

  city(key: string): Promise<string | null | undefined> {
    return this.evaluate((id) => window.plain.store!.get('companies', id)?.city, key)
  }

  async shows(key: string, city: string): Promise<void> {
    await expect.poll(() => this.city(key), { timeout: WAIT_MS_MAX, interval: 15 }).toBe(city)
  }

  patch(key: string, city: string): Promise<string> {
    return this.evaluate((id, value) => window.plain.patch!(id, value), key, city)
  }

  async ended(id: string): Promise<Settlement> {
    let end: Settlement | undefined
    await expect.poll(async () => (end = await this.evaluate((of) => window.plain.ends![of], id)), { timeout: WAIT_MS_MAX, interval: 15 }).toBeTruthy()
    return end!
  }

  async close(): Promise<void> {
    await this.#tab.close()
  }

  get driver(): DriverTab {
    return this.#tab
  }
}

export interface PlainWorld {
  readonly engine: EngineName
  readonly server: PlainServer
  /** One more tab of the one browser. */
  open(options?: PageOptions): Promise<PlainTab>
  test(name: string, run: () => Promise<void>): void
}

/** Runs tests of plain pages in each engine that was asked for; each test has a browser of its own. */
export function inPlainPages(body: (world: PlainWorld) => void): void {
  for (const engine of chosenEngines()) {
    describe(engine, () => {
      let server: PlainServer
      let driver: Driver
      let folder: string
      beforeAll(async () => {
        server = await PlainServer.start()
      })
      beforeEach(async () => {
        server.reset()
        folder = mkdtempSync(path.join(tmpdir(), 'rota-browser-'))
        driver = await LAUNCH[engine]({ profile: folder })
        // WebKit's driver ends with the last tab.
        if (engine === 'webkit') await driver.newTab()
      })
      afterEach(async () => {
        await driver.close()
        server.cutStreams()
        rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
      })
      afterAll(() => server.stop())
      body({
        engine,
        get server() {
          return server
        },
        open: async (options) => new PlainTab(await driver.newTab()).open(server.page(options)),
        test: (name, run) =>
          test(name, async ({ task }) => {
            task.meta.browsers = { engine, version: driver.version }
            await run()
          }),
      })
    })
  }
}
