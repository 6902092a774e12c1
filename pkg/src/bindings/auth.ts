import type { Store } from '../index.js'

/** Whether the person's sign-in holds. `expired`: sending is paused until there is a fresh token, and nothing is lost. */
export type AuthState = 'signed-in' | 'expired' | 'signed-out'

/** What to call when that changes. */
export interface AuthHandlers {
  /** The store of a person who is signed in is there: told once to each component, of each store. */
  readonly onSignedIn?: () => void
  /** The token has ended, and no fresh one could be had. */
  readonly onExpired?: () => void
  /** There is a fresh token: in time, or after the old one has ended. */
  readonly onRefreshed?: () => void
  /** The person has logged out, here or in another tab. */
  readonly onSignedOut?: () => void
}

/** What `useRealtimeAuth` says. */
export interface RealtimeAuth {
  readonly state: AuthState
  readonly isSignedIn: boolean
  /** True while nothing is sent, since the token has ended. */
  readonly isPaused: boolean
  /** Why, for a person; empty when all is well. */
  readonly why: string
  /** Operations of all tabs that wait meanwhile. */
  readonly unsent: number
}

export const FIRST_AUTH: RealtimeAuth = Object.freeze({ state: 'signed-in', isSignedIn: true, isPaused: false, why: '', unsent: 0 })

export function authOf(store: Store): RealtimeAuth {
  const { link, unsent } = store.status()
  const held = link.state === 'paused' ? 'expired' : 'signed-in'
  const state = store.isClosed ? 'signed-out' : held
  return { state, isSignedIn: state === 'signed-in', isPaused: state === 'expired', why: state === 'expired' ? link.why : '', unsent }
}

/** Calls back when it may have changed, the end of the store included. */
export function watchAuth(store: Store, listener: () => void): () => void {
  if (store.isClosed) return () => undefined
  const stops = [store.subscribe(({ status }) => status && listener()), store.onSignedOut(listener)]
  return () => {
    for (const stop of stops) stop()
  }
}

/** Of which store a component was told that somebody is signed in. */
export interface ToldSignedIn {
  of?: Store
}

/** Calls what is to be called at each change of state. */
export function tellAuth(store: Store, handlers: () => AuthHandlers, told: ToldSignedIn): () => void {
  let before = authOf(store).state
  if (before === 'signed-in' && told.of !== store) {
    told.of = store
    handlers().onSignedIn?.()
  }
  // One after the end of the old token is told as the change of state that it brings.
  const stopTokens = store.isClosed ? () => undefined : store.onTokenRefreshed(() => before === 'signed-in' && handlers().onRefreshed?.())
  const stopStates = watchAuth(store, () => {
    const { state } = authOf(store)
    if (state === before) return
    before = state
    const { onExpired, onRefreshed, onSignedOut } = handlers()
    if (state === 'expired') onExpired?.()
    else if (state === 'signed-in') onRefreshed?.()
    else onSignedOut?.()
  })
  return () => {
    stopTokens()
    stopStates()
  }
}
