/** A page without anything to see: a store of the built package on the demo's backend, held out to tests as `window.tab`. */

import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { createStore, init, table, type Problem } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { DEMO_PASSWORD, DEMO_PEOPLE } from '../../../www/server/people.js'
import { loadConfig } from '../../../www/src/config.js'
import { tables, type DemoStore } from '../../../www/src/tables.js'
import type * as Bindings from './bindings.js'
import { block, hide } from './parts.js'
import { fromQuery } from './set-up.js'

/** What tests find in the page. */
export interface PageTab {
  /** Signs in, if need be, and opens the store. */
  start(): Promise<void>
  readonly client: SupabaseClient | undefined
  readonly store: DemoStore | undefined
  /** The package, for tests that make stores of their own; loaded, but `init()` is theirs to call where nothing was started. */
  readonly rota: { readonly createStore: typeof createStore; readonly init: typeof init; readonly table: typeof table }
  /** One more store, of another application: on the same backend, with its own everything. */
  openStore(app: string): DemoStore
  /** Components of React and Vue, loaded when asked for. */
  bindings(): Promise<typeof Bindings>
  /** What went wrong and nobody caught. */
  readonly errors: string[]
  readonly problems: Problem[]
  /** Whatever a test wants to find again in a later call. */
  readonly notes: Record<string, any>
  /** How long after the page's navigation began its store was there, and had a record, in ms. */
  readonly storeMs: number | undefined
  readonly firstRecordMs: number | undefined
}

declare global {
  interface Window {
    tab: PageTab
  }
}

const setUp = fromQuery(location.search)
for (const part of setUp.hide ?? []) hide(part)
for (const part of setUp.block ?? []) block(part)

const tab = {
  start,
  openStore,
  bindings: () => import('./bindings.js'),
  client: undefined as SupabaseClient | undefined,
  store: undefined as DemoStore | undefined,
  rota: { createStore, init, table },
  errors: [] as string[],
  problems: [] as Problem[],
  notes: {},
  storeMs: undefined as number | undefined,
  firstRecordMs: undefined as number | undefined,
}
window.tab = tab
addEventListener('error', ({ error, message }) => tab.errors.push(error instanceof Error ? `${error.message}\n${error.stack}` : message))
addEventListener('unhandledrejection', ({ reason }) => tab.errors.push(reason instanceof Error ? `${reason.message}\n${reason.stack}` : String(reason)))

if (setUp.start !== false) await start()

async function start(): Promise<void> {
  const person = DEMO_PEOPLE.find(({ id }) => id === setUp.user)
  const [{ gatewayUrl, anonKey }] = await Promise.all([loadConfig(), init()])
  // The session outlives a reload also where the test has taken localStorage away: that is the store's trouble, not the client's.
  const isPlain = !setUp.hide?.includes('localStorage') && !setUp.block?.includes('localStorage')
  const auth = { storageKey: 'rota-browsers-session', detectSessionInUrl: false, storage: isPlain ? localStorage : sessionStorage }
  tab.client = createClient(gatewayUrl, anonKey, { auth })
  if (!person) return
  const { data } = await tab.client.auth.getSession()
  if (data.session?.user.id !== person.id) {
    const { error } = await tab.client.auth.signInWithPassword({ email: person.email, password: DEMO_PASSWORD })
    if (error) throw error
  }
  const store = openStore(setUp.app ?? 'browsers')
  tab.store = window.rota = store
  tab.storeMs = performance.now()
  const stop = store.subscribe('companies', () => {
    if (store.all('companies').length === 0) return
    tab.firstRecordMs = performance.now()
    stop()
  })
}

function openStore(app: string): DemoStore {
  if (!tab.client || setUp.user === undefined) throw new Error('nobody has signed in')
  const onProblem = (problem: Problem) => void tab.problems.push(problem)
  return createStore({ ...setUp.options, app, user: setUp.user, tables, backend: supabaseBackend(tab.client), onProblem })
}
