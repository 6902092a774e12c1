import { toValue, type MaybeRefOrGetter, type ShallowRef } from 'vue'
import { FIRST_AUTH, authOf, tellAuth, watchAuth, type AuthHandlers, type RealtimeAuth } from '../bindings/auth.js'
import { NONE } from '../bindings/first.js'
import { firstRealtimeOf, realtimeOf, tellRealtime, type PatientsSpec, type RealtimeHandlers, type RealtimeState } from '../bindings/realtime.js'
import type { ProfileEvent, RecordEvent, RecordOf, RegisteredRecord, RegisteredTables, Stale, SubmissionEvent, Tables, ViewSpec, WatchSpec } from '../index.js'
import { useStore } from './store.js'
import { refsOf, useStored, useWatching, type RefsOf } from './stored.js'

/** What a composable takes that only calls back. */
export interface Enabled {
  /** False for silence; true by default. */
  readonly enabled?: MaybeRefOrGetter<boolean | undefined>
}

function useTold<R>(spec: () => { readonly table: string; readonly filter?: unknown }, handlers: RealtimeHandlers<R> & Enabled): void {
  const watched = () => {
    const { table, filter } = spec()
    return { table, filter }
  }
  useWatching(
    (store) => store.watch(watched() as never, (event: RecordEvent<object>) => tellRealtime(event as RecordEvent<R>, handlers)),
    handlers.enabled,
    () => JSON.stringify(watched()),
  )
}

/** Calls back when records of a table, or those of them that pass a filter, come, change or go, and says whether that is live. */
export function useRealtime<T extends Tables = RegisteredTables, const S extends WatchSpec<T> = WatchSpec<T>>(
  spec: MaybeRefOrGetter<S>,
  handlers: RealtimeHandlers<RecordOf<T[S['table']]>> & Enabled = {},
): RefsOf<RealtimeState> {
  const store = useStore()
  useTold(() => toValue(spec), handlers)
  return refsOf(
    useStored(
      () => (listener) => store.subscribe(({ status }) => status && listener()),
      () => realtimeOf(store),
      () => firstRealtimeOf(store),
    ),
  )
}

/** What {@link useRealtimePatients} returns. */
export interface RealtimePatients<R> extends RealtimeState {
  /** The records of the list, in order. The same list until one of them, or their order, changes. */
  readonly patients: readonly R[]
}

const PATIENTS = { table: 'patients' } as const

/** Returns a live list of patients, or of whatever the spec describes, and calls back when one that passes its filter comes, changes or goes. */
export function useRealtimePatients<T extends Tables = RegisteredTables, const S extends ViewSpec<T> = PatientsSpec<T>>(
  spec: MaybeRefOrGetter<S> = PATIENTS as unknown as S,
  handlers: RealtimeHandlers<RecordOf<T[S['table']]>> & Enabled = {},
): RefsOf<RealtimePatients<RecordOf<T[S['table']]>>> {
  const store = useStore()
  const isEnabled = () => toValue(handlers.enabled) ?? true
  const now = () => toValue(spec) as ViewSpec<Tables>
  useTold(now, handlers)
  const patients = () => (isEnabled() ? (store.views.read(now()).rows as readonly RecordOf<T[S['table']]>[]) : NONE)
  return refsOf(
    useStored(
      () => {
        if (!isEnabled()) return () => () => undefined
        const given = now()
        // Reads all of it, so that a change deep inside is noticed.
        JSON.stringify(given)
        return (listener) => {
          const view = store.view(given as never)
          view.subscribe(listener)
          const stop = store.subscribe(({ status }) => status && listener())
          return () => {
            stop()
            view.close()
          }
        }
      },
      () => ({ patients: patients(), ...realtimeOf(store) }),
      () => ({ patients: patients(), ...firstRealtimeOf(store) }),
    ),
  )
}

/** Calls back when a submission arrives, stands differently or is gone, here, in another tab, or by somebody else. */
export function useFormSubmissionUpdates<R = RegisteredRecord<'form'>>(listener: (event: SubmissionEvent<R>) => void, { enabled }: Enabled = {}): void {
  useWatching((store) => store.submissions.watch((event) => listener(event as SubmissionEvent<R>)), enabled)
}

/** Calls back when somebody's profile comes, changes or goes; `rights` is told apart from any other edit. */
export function useProfileUpdates<R = RegisteredRecord<'profile'>>(listener: (event: ProfileEvent<R>) => void, { enabled }: Enabled = {}): void {
  useWatching((store) => store.profiles.watch((event) => listener(event as ProfileEvent<R>)), enabled)
}

/** Returns the profile of the store's person; it stays current. */
export function useOwnProfile<R = RegisteredRecord<'profile'>>(): Readonly<ShallowRef<R | undefined>> {
  const store = useStore()
  return useStored(
    () => (listener) => store.profiles.subscribe(listener),
    () => store.profiles.own() as R | undefined,
    () => store.profiles.firstOwn() as R | undefined,
  )
}

/** Calls back with what became stale by the declared rules, once for each batch of changes: for another cache to fetch again. */
export function useStale(listener: (stale: Stale) => void, { enabled }: Enabled = {}): void {
  useWatching((store) => store.onStale(listener), enabled)
}

/** What {@link useRealtimeAuth} returns. */
export type UseRealtimeAuth = RefsOf<RealtimeAuth> & {
  /** Logs the person out, in all their tabs. */
  signOut(options?: { readonly unsent?: 'wait' | 'discard' }): Promise<void>
}

/** Returns whether the person's sign-in holds, and calls back when that changes. */
export function useRealtimeAuth(handlers: AuthHandlers = {}): UseRealtimeAuth {
  const store = useStore()
  const told = {}
  useWatching((open) => tellAuth(open, () => handlers, told))
  const state = useStored(
    () => (listener) => watchAuth(store, listener),
    () => authOf(store),
    () => FIRST_AUTH,
  )
  return { ...refsOf(state), signOut: (options) => store.logout(options) }
}
