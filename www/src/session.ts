import { createClient, type SupabaseClient } from '@supabase/supabase-js'
import { createStore, init } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { DEMO_PASSWORD, DEMO_PEOPLE, type DemoPerson } from '../server/people.js'
import type { Config } from './config.js'
import { tables, type DemoStore } from './tables.js'

/** Where the page is between nobody and somebody. */
export type Phase =
  | { readonly at: 'starting' }
  | { readonly at: 'choosing'; readonly signingIn: string | null; readonly problem: string | null }
  | { readonly at: 'open'; readonly person: DemoPerson; readonly store: DemoStore; readonly problem: string | null }

/**
 * Who is signed in, and the one store that goes with them. Supabase keeps the session for all tabs of the browser: a
 * second tab finds it, and follows when another tab signs out or lets somebody else in.
 */
export class Session {
  readonly #client: SupabaseClient
  readonly #listeners = new Set<() => void>()
  #phase: Phase = { at: 'starting' }

  constructor({ gatewayUrl, anonKey }: Config) {
    this.#client = createClient(gatewayUrl, anonKey, {
      auth: { storageKey: 'rota-demo-session', detectSessionInUrl: false },
    })
  }

  async start(): Promise<void> {
    await init()
    this.#client.auth.onAuthStateChange((_event, session) => {
      // Not within the callback: Supabase waits for it, with its lock held.
      setTimeout(() => this.#follow(session?.user.id), 0)
    })
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  readonly phase = (): Phase => this.#phase

  async signIn(person: DemoPerson): Promise<void> {
    this.#enter({ at: 'choosing', signingIn: person.id, problem: null })
    const { data, error } = await this.#client.auth.signInWithPassword({ email: person.email, password: DEMO_PASSWORD })
    if (data.user) this.#follow(data.user.id)
    else this.#enter({ at: 'choosing', signingIn: null, problem: reasonOf(error) })
  }

  /** Signs out, so that somebody else can be chosen. The store goes first: it must not meet the end of its session. */
  async leave(): Promise<void> {
    if (this.#phase.at !== 'open') return
    const { person } = this.#phase
    this.#close({ purge: true })
    this.#enter({ at: 'choosing', signingIn: person.id, problem: null })
    const { error } = await this.#client.auth.signOut({ scope: 'local' })
    // Another tab may have let somebody in meanwhile.
    if (this.#phase.at === 'open') return
    if (error) this.#open(person, `You are still signed in. ${reasonOf(error)}`)
    else this.#enter({ at: 'choosing', signingIn: null, problem: null })
  }

  #follow(userId: string | undefined): void {
    const phase = this.#phase
    if (phase.at === 'open' && phase.person.id === userId) return
    this.#close({ purge: true })
    const person = DEMO_PEOPLE.find(({ id }) => id === userId)
    if (person) this.#open(person, null)
    else if (phase.at !== 'choosing') this.#enter({ at: 'choosing', signingIn: null, problem: null })
  }

  #open(person: DemoPerson, problem: string | null): void {
    const store = createStore({ app: 'rota-demo', user: person.id, tables, backend: supabaseBackend(this.#client) })
    window.rota = store
    this.#enter({ at: 'open', person, store, problem })
  }

  /** Whoever signs out leaves no records behind in the browser; what was not sent yet stays, for when they are back. */
  #close(options: { readonly purge: boolean }): void {
    window.rota = undefined
    if (this.#phase.at === 'open') this.#phase.store.close(options)
  }

  #enter(phase: Phase): void {
    this.#phase = phase
    for (const listener of this.#listeners) listener()
  }
}

function reasonOf(error: { readonly name: string; readonly message: string } | null): string {
  if (error?.name === 'AuthRetryableFetchError') return 'The server can’t be reached. Is the demo still running?'
  return error?.message ?? 'The server gave no reason.'
}
