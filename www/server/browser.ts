/** A browser for the smoke run and the tests, and the page as they see it. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import puppeteer, { type Browser, type Page } from 'puppeteer-core'
import type { DemoStore } from '../src/tables.js'
import type { DemoPerson } from './people.js'

const FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
const SHOWN_MS_MAX = 15_000

/** Starts the browser of $CHROME with a profile of its own, which goes away with it. */
export async function launchBrowser(): Promise<{ browser: Browser; close(): Promise<void> }> {
  const chrome = process.env['CHROME']
  if (!chrome) throw new Error('Set CHROME to the path of a Chromium or Chrome.')
  const profile = mkdtempSync(path.join(tmpdir(), 'rota-browser-'))
  // Chromium's sandbox refuses root; everybody else keeps it.
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  const browser = await puppeteer.launch({
    executablePath: chrome,
    headless: true,
    userDataDir: profile,
    protocolTimeout: 60_000,
    args: [...FLAGS, ...sandbox],
  })
  return {
    browser,
    close: async () => {
      await browser.close()
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
    },
  }
}

export type Panel = 'companies' | 'leads'

/** What one row shows. */
export interface Row {
  readonly ownerId: string | null
  readonly ownerName: string
  readonly isUpdating: boolean
  readonly error: string | null
}

/** A notice about a change that did not come true. */
export interface ShownNotice {
  readonly operation: string
  readonly state: string
  readonly isMine: boolean
  readonly title: string
  readonly message: string
}

const testId = (id: string): string => `[data-testid="${id}"]`
const ROWS: Readonly<Record<Panel, string>> = { companies: 'company-row', leads: 'lead-row' }
const rowOf = (panel: Panel, key: string): string => `${testId(ROWS[panel])}[data-key="${key}"]`

/** One tab with the demo, as a person uses it. Reads what is on the screen; `store` looks behind it. */
export class DemoPage {
  readonly page: Page
  readonly #url: string
  /** Errors of the page that nobody caught. */
  readonly errors: string[] = []

  constructor(page: Page, url: string) {
    this.page = page
    this.#url = url
    page.on('pageerror', (error) => this.errors.push(error instanceof Error ? (error.stack ?? error.message) : String(error)))
  }

  async open(): Promise<void> {
    await this.page.goto(this.#url, { waitUntil: 'domcontentloaded' })
  }

  async reload(): Promise<void> {
    await this.page.reload({ waitUntil: 'domcontentloaded' })
  }

  /** Chooses a person on the start screen, and waits until both lists are there. */
  async signIn(person: DemoPerson): Promise<void> {
    const card = `${testId('person-card')}[data-person="${person.id}"]`
    await this.#click(card)
    await this.loaded(person)
  }

  /** Waits until both lists are there, for a person who is signed in already. */
  async loaded(person?: DemoPerson): Promise<void> {
    const me = person ? `[data-person="${person.id}"]` : ''
    await this.page.waitForSelector(`${testId('me')}${me}`, { timeout: SHOWN_MS_MAX })
    for (const row of Object.values(ROWS)) await this.page.waitForSelector(testId(row), { timeout: SHOWN_MS_MAX })
  }

  /** Signs out; `evenUnsent` leaves changes behind that were not sent. */
  async switchPerson(evenUnsent = false): Promise<void> {
    await this.#click(testId('switch-person'))
    if (evenUnsent) {
      await this.#click(`${testId('switch-dialog')}[open] ${testId('switch-anyway')}`)
    }
    await this.page.waitForSelector(testId('start-screen'), { timeout: SHOWN_MS_MAX })
  }

  async assignCompany(key: string, personId: string | null): Promise<void> {
    await this.assign('companies', key, personId)
  }

  async assignLead(key: string, personId: string | null): Promise<void> {
    await this.assign('leads', key, personId)
  }

  async assign(panel: Panel, key: string, personId: string | null): Promise<void> {
    await this.page.select(`${rowOf(panel, key)} ${testId('owner-select')}`, personId ?? '')
  }

  /**
   * Assigns, and tells what was to be seen how long after. `store`: as soon as the select's own event was over.
   * `screen`: in the microtasks after it, before any timer, message or frame.
   */
  async assignAndLook(
    panel: Panel,
    key: string,
    personId: string | null,
  ): Promise<{ storeOwner: string | null | undefined; screenOwner: string; tookMs: number }> {
    return this.page.evaluate(
      async (row, table, id, value) => {
        const element = document.querySelector(row)
        const select = element?.querySelector('select')
        if (!element || !select) throw new Error(`there is no ${row}`)
        const startedMs = performance.now()
        select.value = value
        select.dispatchEvent(new Event('change', { bubbles: true }))
        const storeOwner = window.rota?.get(table, id)?.owner_id
        for (let turn = 0; turn < 10; turn++) await Promise.resolve()
        const screenOwner = element.querySelector('[data-testid="owner-name"]')?.textContent?.trim() ?? ''
        return { storeOwner, screenOwner, tookMs: performance.now() - startedMs }
      },
      rowOf(panel, key),
      panel,
      key,
      personId ?? '',
    )
  }

  /** What the row shows; undefined when the row is not there. */
  async row(panel: Panel, key: string): Promise<Row | undefined> {
    return this.page.evaluate(
      (selector) => {
        const element = document.querySelector<HTMLElement>(selector)
        if (!element) return undefined
        return {
          ownerId: element.dataset['owner'] || null,
          ownerName: element.querySelector('[data-testid="owner-name"]')?.textContent?.trim() ?? '',
          isUpdating: element.dataset['updating'] === 'true',
          error: element.querySelector('[data-testid="row-error"] span')?.textContent?.trim() ?? null,
        }
      },
      rowOf(panel, key),
    )
  }

  /** The owner's name as shown; "Unassigned" for nobody. */
  async ownerOf(key: string, panel: Panel = 'companies'): Promise<string | undefined> {
    return (await this.row(panel, key))?.ownerName
  }

  async waitForOwner(key: string, name: string, timeoutMs = SHOWN_MS_MAX, panel: Panel = 'companies'): Promise<void> {
    await this.#until(
      timeoutMs,
      () => this.row(panel, key),
      (row) => row?.ownerName === name,
      (row) => `${panel} ${key} was to show ${name}, but shows ${row?.ownerName ?? 'no such row'}`,
    )
  }

  /** Waits until the server has had its say about the row. */
  async waitForSettled(key: string, timeoutMs = SHOWN_MS_MAX, panel: Panel = 'companies'): Promise<void> {
    await this.#until(
      timeoutMs,
      () => this.row(panel, key),
      (row) => row?.isUpdating === false,
      () => `${panel} ${key} still waits for the server`,
    )
  }

  async waitForRowError(key: string, timeoutMs = SHOWN_MS_MAX, panel: Panel = 'companies'): Promise<string> {
    const row = await this.#until(
      timeoutMs,
      () => this.row(panel, key),
      (found) => Boolean(found?.error),
      () => `${panel} ${key} shows no refusal`,
    )
    return row?.error ?? ''
  }

  /** What the header shows. */
  async status(): Promise<{ link: string; role: string; unsent: number; durability: string }> {
    return this.page.evaluate(() => {
      const [link, role, unsent, durability] = ['link', 'role', 'unsent', 'durability'].map(
        (part) => document.querySelector<HTMLElement>(`[data-testid="status-${part}"]`)?.dataset,
      )
      return {
        link: link?.['state'] ?? '',
        role: role?.['role'] ?? '',
        unsent: Number(unsent?.['count'] ?? Number.NaN),
        durability: durability?.['durability'] ?? 'full',
      }
    })
  }

  async unsent(): Promise<number> {
    return (await this.status()).unsent
  }

  async waitForUnsent(count: number, timeoutMs = SHOWN_MS_MAX): Promise<void> {
    await this.#until(
      timeoutMs,
      () => this.unsent(),
      (unsent) => unsent === count,
      (unsent) => `${count} unsent were to be shown, but it is ${unsent}`,
    )
  }

  async waitForLink(state: 'live' | 'connecting' | 'offline' | 'degraded' | 'paused' | 'stopped', timeoutMs = SHOWN_MS_MAX): Promise<void> {
    await this.#until(
      timeoutMs,
      () => this.status(),
      ({ link }) => link === state,
      ({ link }) => `the link was to be ${state}, but is ${link}`,
    )
  }

  async notices(): Promise<readonly ShownNotice[]> {
    return this.page.$$eval(testId('notice'), (elements) =>
      elements.map((element) => {
        const { operation = '', state = '', mine } = (element as HTMLElement).dataset
        return {
          operation,
          state,
          isMine: mine === 'true',
          title: element.querySelector('.notice-title')?.textContent?.trim() ?? '',
          message: element.querySelector('[data-testid="notice-message"]')?.textContent?.trim() ?? '',
        }
      }),
    )
  }

  async waitForNotice(timeoutMs = SHOWN_MS_MAX): Promise<ShownNotice> {
    const [notice] = await this.#until(
      timeoutMs,
      () => this.notices(),
      (all) => all.length > 0,
      () => 'no notice was shown',
    )
    if (!notice) throw new Error('the notice is gone')
    return notice
  }

  async dismissNotices(): Promise<void> {
    while (await this.page.$(testId('notice-dismiss'))) await this.#click(testId('notice-dismiss'))
  }

  async count(panel: Panel, scope: 'all' | 'mine' | 'unassigned'): Promise<number> {
    return this.page.$eval(`${testId(`${panel}-panel`)} ${testId(`count-${scope}`)}`, (element) => Number(element.textContent))
  }

  async reconnect(): Promise<void> {
    await this.#click(testId('reconnect'))
  }

  /** Reads from the page's store: `page.store((rota) => rota.stats())`. The function runs in the page. */
  async store<V>(read: (rota: DemoStore) => V): Promise<V> {
    return (await this.page.evaluate(`(${read.toString()})(window.rota)`)) as V
  }

  /** Cuts the tab's network, open sockets included. */
  async goOffline(): Promise<void> {
    await this.page.setOfflineMode(true)
  }

  async goOnline(): Promise<void> {
    await this.page.setOfflineMode(false)
  }

  /** Not with the mouse: a tab in the background is never laid out, and the mouse would wait for it for ever. */
  async #click(selector: string): Promise<void> {
    await this.page.waitForSelector(selector, { timeout: SHOWN_MS_MAX })
    await this.page.$eval(selector, (element) => (element as HTMLElement).click())
  }

  /** Looks again and again, at what the page shows and not at its timers: a hidden tab's are slow. */
  async #until<V>(timeoutMs: number, look: () => Promise<V>, isRight: (seen: V) => boolean, complaint: (seen: V) => string): Promise<V> {
    const endMs = performance.now() + timeoutMs
    for (;;) {
      const seen = await look()
      if (isRight(seen)) return seen
      if (performance.now() > endMs) throw new Error(`after ${timeoutMs} ms, ${complaint(seen)}`)
      await new Promise((resolve) => setTimeout(resolve, 15))
    }
  }
}
