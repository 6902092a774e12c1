/**
 * What end-to-end tests are written with: one browser, people in it, the database behind it, and the gateway between,
 * to be stopped and started. Call `useDemo()` at the top of a test file.
 */

import type { Browser, BrowserContext } from 'puppeteer-core'
import { afterAll, afterEach, beforeAll, beforeEach, inject } from 'vitest'
import { DemoPage, launchBrowser } from '../../www/server/browser.js'
import type { DemoPerson } from '../../www/server/people.js'
import { DemoDatabase, putBack } from '../demo/backend.js'

export { DemoPage, type Panel, type Row, type ShownNotice } from '../../www/server/browser.js'
export type { DemoPerson } from '../../www/server/people.js'
export { gateway, people } from '../demo/backend.js'

export interface World {
  readonly browser: Browser
  readonly db: DemoDatabase
  /** A browser profile with nobody signed in: its tabs share storage, and other contexts' tabs do not. */
  newContext(): Promise<BrowserContext>
  /** A new tab in which this person signs in. Without a context, in a profile of its own. */
  newPerson(person: DemoPerson, context?: BrowserContext): Promise<DemoPage>
  /** One more tab of a context in which this person is signed in. */
  newTab(person: DemoPerson, context: BrowserContext): Promise<DemoPage>
}

/** Gives a file's tests their world. Before each test the data is as it was at first; after it, its tabs are gone. */
export function useDemo(): World {
  let browser: Browser | undefined
  let closeBrowser: (() => Promise<void>) | undefined
  const contexts: BrowserContext[] = []
  const tabs: DemoPage[] = []
  const db = new DemoDatabase()
  const opened = (): Browser => {
    if (!browser) throw new Error('the browser starts before the first test')
    return browser
  }

  beforeAll(async () => {
    ;({ browser, close: closeBrowser } = await launchBrowser())
    await db.client.connect()
  })
  beforeEach(() => putBack(db))
  afterEach(async () => {
    const errors = tabs.splice(0).flatMap((tab) => tab.errors)
    await Promise.all(contexts.splice(0).map((context) => context.close()))
    // An error that nobody caught is a failure, whatever else the test looked at.
    if (errors.length > 0) throw new Error(`a page threw: ${errors.join('\n')}`)
  })
  afterAll(async () => {
    await closeBrowser?.()
    await db.client.end()
  })

  const newContext = async (): Promise<BrowserContext> => {
    const context = await opened().createBrowserContext()
    contexts.push(context)
    return context
  }
  const open = async (context: BrowserContext): Promise<DemoPage> => {
    const tab = new DemoPage(await context.newPage(), inject('pageUrl'))
    tabs.push(tab)
    await tab.open()
    return tab
  }
  return {
    get browser() {
      return opened()
    },
    db,
    newContext,
    newPerson: async (person, context) => {
      const tab = await open(context ?? (await newContext()))
      await tab.signIn(person)
      await tab.waitForLink('live')
      return tab
    },
    newTab: async (person, context) => {
      const tab = await open(context)
      await tab.loaded(person)
      await tab.waitForLink('live')
      return tab
    },
  }
}
