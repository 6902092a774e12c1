/** What a tab is opened with. It travels in the page's address, so that a reload brings the same again. */

import type { StoreOptions } from 'rota-engine'
import type { DemoTables } from '../../../www/src/tables.js'

/** Parts of the browser that a test can take away from the page before anything of it runs. */
export const PARTS = ['BroadcastChannel', 'locks', 'localStorage', 'indexedDB'] as const
export type Part = (typeof PARTS)[number]

export interface SetUp {
  /** The person's id, who signs in; nobody without. */
  readonly user?: string
  /** The application's name; `browsers` without. */
  readonly app?: string
  /** Further options of the store, as far as they are data. */
  readonly options?: Pick<StoreOptions<DemoTables>, 'retry' | 'link' | 'concurrency' | 'storage'>
  /** As in a browser that does not have them. */
  readonly hide?: readonly Part[]
  /** As in a browser that has them, and forbids them. */
  readonly block?: readonly Part[]
  /** Alone in its process group, which gives it clocks as fine as the browser has. */
  readonly isolated?: boolean
  /** False: the page loads, and waits for `tab.start()`. */
  readonly start?: boolean
}

export const toQuery = (setUp: SetUp): string => `?${new URLSearchParams({ set: JSON.stringify(setUp) }).toString()}`

export const fromQuery = (query: string): SetUp => JSON.parse(new URLSearchParams(query).get('set') ?? '{}') as SetUp
