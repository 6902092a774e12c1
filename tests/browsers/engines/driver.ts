/** What a browser can be asked to do, whichever it is. One driver for each engine translates; the page object (`tab.ts`) is written once. */

export const ENGINES = ['chromium', 'firefox', 'webkit'] as const
export type EngineName = (typeof ENGINES)[number]

/** What not every engine lets a driver do. */
export type Ability =
  /** Kill the process that a tab's page runs in, and nothing else. */
  | 'crash'
  /** Freeze a tab, as browsers do with tabs long in the background, and resume it. */
  | 'freeze'
  /** Hide a tab behind another one, and show it again. */
  | 'hide'
  /** Take the network away from a profile. */
  | 'offline'
  /** Kill the whole browser, and start it again with the same profile. */
  | 'relaunch'
  /** Set how much an origin may store. */
  | 'quota'
  /** Collect garbage in a page, and count what is left. */
  | 'measure'
  /** Allow a page notifications, and push to its service worker. */
  | 'push'

export interface DriverTab {
  /** Resolves when the document is there. */
  goto(url: string): Promise<void>
  reload(): Promise<void>
  /** Runs an expression in the page, awaits what it gives, and brings that back as JSON would. */
  evaluate(expression: string): Promise<unknown>
  /** Both resolve with the moment at which it was told to go, in ms since 1970. */
  close(): Promise<number>
  crash(): Promise<number>
  freeze(): Promise<void>
  resume(): Promise<void>
  /** Puts it in front of all other tabs, which are hidden by that. */
  show(): Promise<void>
  /** Lets the page's origin store this many bytes and no more; without a number, as many as ever. Needs `quota`. */
  limitStorage?(bytes: number | undefined): Promise<void>
  /** Needs `measure`. */
  measure?(): Promise<Held>
  /** What the person says when the page asks to show notifications. Needs `push`. */
  allowNotifications?(isAllowed: boolean): Promise<void>
  /** Has a push with this text arrive at the worker that the page has registered. Needs `push`. */
  push?(text: string): Promise<void>
  /** Runs an expression in that worker. Needs `push`. */
  evaluateInWorker?(expression: string): Promise<unknown>
}

/** What a page holds once its garbage was collected. */
export interface Held {
  readonly heapBytes: number
  readonly listeners: number
  readonly nodes: number
}

/** One process of one browser, with a folder of its own for what it keeps. */
export interface Driver {
  readonly name: EngineName
  readonly version: string
  readonly abilities: ReadonlySet<Ability>
  newTab(): Promise<DriverTab>
  setOffline(isOffline: boolean): Promise<void>
  close(): Promise<void>
  /** Ends all its processes at once, as a power cut does. What it kept stays. */
  kill(): Promise<void>
}

export interface LaunchOptions {
  /** A folder, made before, that the next process may go on with. */
  readonly profile: string
}

/** Now, on the clock that pages have too: `performance.timeOrigin + performance.now()`. */
export const sharedMs = (): number => performance.timeOrigin + performance.now()

export class Lacking extends Error {
  constructor(engine: EngineName, ability: Ability) {
    super(`${engine} can't do this: ${ability}`)
  }
}
