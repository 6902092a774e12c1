import { useCallback, useEffect, useRef, useSyncExternalStore } from 'react'
import { FIRST_AUTH, authOf, tellAuth, watchAuth, type AuthHandlers, type RealtimeAuth, type ToldSignedIn } from '../bindings/auth.js'
import { NONE } from '../bindings/first.js'
import { firstRealtimeOf, realtimeOf, tellRealtime, type PatientsSpec, type RealtimeHandlers, type RealtimeState } from '../bindings/realtime.js'
import type { ProfileEvent, RecordEvent, RecordOf, RegisteredRecord, RegisteredTables, Stale, Store, SubmissionEvent, Tables, ViewSpec, WatchSpec } from '../index.js'
import { useStore } from './store.js'
import { useLatest, useNoted } from './stored.js'

/** What a hook takes that only calls back. */
export interface Enabled {
  /** False for silence; true by default. */
  readonly enabled?: boolean
}

/** Subscribes once for as long as a component is there, whatever functions it gives. */
function useWatching(watch: (store: Store) => () => void, isEnabled: boolean, what = ''): void {
  const store = useStore()
  const latest = useLatest(watch)
  // What is watched may be another; the function that watches it is at every rendering.
  // oxlint-disable-next-line react-hooks/exhaustive-deps
  useEffect(() => (isEnabled ? latest.current(store) : undefined), [store, isEnabled, what, latest])
}

/**
 * Calls back when records of a table, or those of them that pass a filter, come, change or go, and says whether that is live. Spec and handlers may be written down in
 * the call.
 */
export function useRealtime<T extends Tables = RegisteredTables, const S extends WatchSpec<T> = WatchSpec<T>>(spec: S, handlers: RealtimeHandlers<RecordOf<T[S['table']]>> & Enabled = {}): RealtimeState {
  const { enabled = true } = handlers
  const latest = useLatest(handlers)
  const watched = { table: spec.table, filter: spec.filter }
  useWatching((store) => store.watch(watched as never, (event: RecordEvent<object>) => tellRealtime(event as never, latest.current)), enabled, JSON.stringify(watched))
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.subscribe(({ status }) => status && listener()), [store])
  return useNoted(
    subscribe,
    () => realtimeOf(store),
    () => firstRealtimeOf(store),
  )
}

/** What {@link useRealtimePatients} returns. */
export interface RealtimePatients<R> extends RealtimeState {
  /** The records of the list, in order. The same list until one of them, or their order, changes. */
  readonly patients: readonly R[]
}

const PATIENTS = { table: 'patients' } as const

/**
 * Returns a live list of patients, or of whatever the spec describes, and calls back when one that passes its filter comes, changes or goes. Renders again only when what
 * the component reads of it has changed.
 */
export function useRealtimePatients<T extends Tables = RegisteredTables, const S extends ViewSpec<T> = PatientsSpec<T>>(
  spec: S = PATIENTS as unknown as S,
  handlers: RealtimeHandlers<RecordOf<T[S['table']]>> & Enabled = {},
): RealtimePatients<RecordOf<T[S['table']]>> {
  const { enabled = true } = handlers
  const store = useStore()
  const text = JSON.stringify(spec)
  const latest = useLatest(handlers)
  const { table, filter } = spec as ViewSpec<Tables>
  useWatching((open) => open.watch({ table, filter } as never, (event: RecordEvent<object>) => tellRealtime(event as never, latest.current)), enabled, text)
  const subscribe = useCallback(
    (listener: () => void) => {
      if (!enabled) return () => undefined
      const view = store.view(JSON.parse(text) as never)
      view.subscribe(listener)
      const stop = store.subscribe(({ status }) => status && listener())
      return () => {
        stop()
        view.close()
      }
    },
    [store, text, enabled],
  )
  const patients = () => (enabled ? (store.views.read(spec as never).rows as readonly RecordOf<T[S['table']]>[]) : NONE)
  return useNoted(
    subscribe,
    () => ({ patients: patients(), ...realtimeOf(store) }),
    () => ({ patients: patients(), ...firstRealtimeOf(store) }),
  )
}

/** Calls back when a submission arrives, stands differently or is gone, here, in another tab, or by somebody else. */
export function useFormSubmissionUpdates<R = RegisteredRecord<'form'>>(listener: (event: SubmissionEvent<R>) => void, { enabled = true }: Enabled = {}): void {
  const latest = useLatest(listener)
  useWatching((store) => store.submissions.watch((event) => latest.current(event as SubmissionEvent<R>)), enabled)
}

/** Calls back when somebody's profile comes, changes or goes; `rights` is told apart from any other edit. */
export function useProfileUpdates<R = RegisteredRecord<'profile'>>(listener: (event: ProfileEvent<R>) => void, { enabled = true }: Enabled = {}): void {
  const latest = useLatest(listener)
  useWatching((store) => store.profiles.watch((event) => latest.current(event as ProfileEvent<R>)), enabled)
}

/** Returns the profile of the store's person, and renders again when it changes. */
export function useOwnProfile<R = RegisteredRecord<'profile'>>(): R | undefined {
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.profiles.subscribe(listener), [store])
  return useSyncExternalStore(
    subscribe,
    () => store.profiles.own() as R | undefined,
    () => store.profiles.firstOwn() as R | undefined,
  )
}

/** Calls back with what became stale by the declared rules, once for each batch of changes: for another cache to fetch again. */
export function useStale(listener: (stale: Stale) => void, { enabled = true }: Enabled = {}): void {
  const latest = useLatest(listener)
  useWatching((store) => store.onStale((stale) => latest.current(stale)), enabled)
}

/** What {@link useRealtimeAuth} returns. */
export interface UseRealtimeAuth extends RealtimeAuth {
  /** Logs the person out, in all their tabs. */
  signOut(options?: { readonly unsent?: 'wait' | 'discard' }): Promise<void>
}

/** Returns whether the person's sign-in holds, and calls back when that changes. Renders again only when what the component reads of it has changed. */
export function useRealtimeAuth(handlers: AuthHandlers = {}): UseRealtimeAuth {
  const store = useStore()
  const latest = useLatest(handlers)
  const told = useRef<ToldSignedIn>({})
  useWatching((open) => tellAuth(open, () => latest.current, told.current), true)
  const subscribe = useCallback((listener: () => void) => watchAuth(store, listener), [store])
  const signOut = useCallback((options?: { readonly unsent?: 'wait' | 'discard' }) => store.logout(options), [store])
  return useNoted(
    subscribe,
    () => ({ ...authOf(store), signOut }),
    () => ({ ...FIRST_AUTH, signOut }),
  )
}
