/** What puppeteer does alike in each engine that it drives. */

import type { Page } from 'puppeteer-core'
import { sharedMs } from './driver.js'

export abstract class PuppeteerTab {
  protected readonly page: Page

  constructor(page: Page) {
    this.page = page
  }

  async goto(url: string): Promise<void> {
    await this.page.goto(url, { waitUntil: 'domcontentloaded' })
  }

  async reload(): Promise<void> {
    await this.page.reload({ waitUntil: 'domcontentloaded' })
  }

  evaluate(expression: string): Promise<unknown> {
    return this.page.evaluate(expression)
  }

  async close(): Promise<number> {
    const toldAt = sharedMs()
    await this.page.close()
    return toldAt
  }

  show(): Promise<void> {
    return this.page.bringToFront()
  }
}
