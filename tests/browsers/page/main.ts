/** A page without anything to see: a store of the built package on the demo's backend, held out to tests as `window.tab`. */

import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { createStore, init, type Problem } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { DEMO_PASSWORD, DEMO_PEOPLE } from '../../../www/server/people.js'
import { loadConfig } from '../../../www/src/config.js'
import { tables, type DemoStore } from '../../../www/src/tables.js'
import { block, hide } from './parts.js'
import { fromQuery } from './set-up.js'

/** What tests find in the page. */
export interface PageTab {
  /** Signs in, if need be, and opens the store. */
  start(): Promise<void>
  readonly client: SupabaseClient | undefined
  readonly store: DemoStore | undefined
  /** What went wrong and nobody caught. */
  readonly errors: string[]
  readonly problems: Problem[]
  /** Whatever a test wants to find again in a later call. */
  readonly notes: Record<string, any>
  /** When the page began, and when its store first had a record, both in ms since 1970 on the clock that all tabs share. */
  readonly beganAt: number
  firstRecordAt: number | undefined
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
  client: undefined as SupabaseClient | undefined,
  store: undefined as DemoStore | undefined,
  errors: [] as string[],
  problems: [] as Problem[],
  notes: {},
  beganAt: performance.timeOrigin,
  firstRecordAt: undefined as number | undefined,
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
  const { app = 'browsers', options } = setUp
  const onProblem = (problem: Problem) => void tab.problems.push(problem)
  const store = createStore({ ...options, app, user: person.id, tables, backend: supabaseBackend(tab.client), onProblem })
  tab.store = window.rota = store
  const stop = store.subscribe('companies', () => {
    if (store.all('companies').length === 0) return
    tab.firstRecordAt = performance.timeOrigin + performance.now()
    stop()
  })
}
