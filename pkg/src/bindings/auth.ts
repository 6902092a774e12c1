import type { Store } from '../index.js'

/** Whether the person's sign-in holds. `expired`: sending is paused until there is a fresh token, and nothing is lost. */
export type AuthState = 'signed-in' | 'expired' | 'signed-out'

/** What to call when that changes. */
export interface AuthHandlers {
  /** The token has ended, and no fresh one could be had. */
  readonly onExpired?: () => void
  /** There is a fresh token after all. */
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

/** Calls what is to be called at each change of state. */
export function tellAuth(store: Store, handlers: () => AuthHandlers): () => void {
  let before = authOf(store).state
  return watchAuth(store, () => {
    const { state } = authOf(store)
    if (state === before) return
    before = state
    const { onExpired, onRefreshed, onSignedOut } = handlers()
    if (state === 'expired') onExpired?.()
    else if (state === 'signed-in') onRefreshed?.()
    else onSignedOut?.()
  })
}
