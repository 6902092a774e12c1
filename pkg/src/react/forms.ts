import { useCallback, useEffect, useMemo } from 'react'
import { NONE } from '../bindings/first.js'
import { Editing, formTable, FormReads, notifyArrivals, type Editors, type FormsNotified, type Submitted } from '../bindings/forms.js'
import { firstRealtimeOf, realtimeOf, type RealtimeState } from '../bindings/realtime.js'
import type { Key, NotificationShown, RegisteredIn, RegisteredRecord, Tables, ViewSpec } from '../index.js'
import { useStore } from './store.js'
import { useLatest, useNoted } from './stored.js'

/** What {@link useRealtimeForms} takes; which submissions, in what order, and how many, as a view does. */
export interface RealtimeFormsOptions<R = never, N extends string = string> extends FormsNotified<R> {
  /** The table; the first that is declared with the domain of forms, where none is named. */
  readonly table?: N
  readonly filter?: ViewSpec<Tables>['filter']
  readonly sort?: ViewSpec<Tables>['sort']
  readonly limit?: number
}

/** What {@link useRealtimeForms} returns. */
export interface UseRealtimeForms<R> extends RealtimeState {
  /** The submissions, as they stand now. */
  readonly submissions: readonly R[]
  /** What is to be said of those that have arrived: for as long as such a notification shows, once in all tabs. */
  readonly notifications: readonly NotificationShown[]
  /** Who edits which. */
  readonly editors: Editors
  /** Puts a notification away, in all tabs of this person. */
  dismiss(id: string): void
  /** Says that this person is at a submission. It is taken back when the component goes. */
  edit(key: Key, doing?: 'editing' | 'typing'): void
  leave(): void
}

/** Returns submissions of forms as they stand, what has arrived, and who edits them. Renders again only when what the component reads of it has changed. */
export function useRealtimeForms<R = never, N extends RegisteredIn<'form'> = RegisteredIn<'form'>>(
  options: RealtimeFormsOptions<Submitted<N, R>, N> = {},
): UseRealtimeForms<RegisteredRecord<'form', N, R>> {
  type Row = RegisteredRecord<'form', N, R>
  const { component = 'forms' } = options
  const store = useStore()
  const table = formTable(store, options.table)
  const latest = useLatest(options)
  const text = JSON.stringify({ table, filter: options.filter, sort: options.sort, limit: options.limit })
  const reads = useMemo(() => new FormReads(store, table), [store, table])
  const editing = useMemo(() => new Editing(store, table), [store, table])
  useEffect(() => notifyArrivals(store, table, () => latest.current as FormsNotified), [store, table, latest])
  useEffect(() => editing.leave, [editing])
  const subscribe = useCallback(
    (listener: () => void) => {
      const view = store.view(JSON.parse(text) as never)
      view.subscribe(listener)
      const stops = [store.notifications.subscribe(listener), store.presence.subscribe(listener), store.subscribe(({ status }) => status && listener())]
      return () => {
        for (const stop of stops) stop()
        view.close()
      }
    },
    [store, text],
  )
  const actions = useMemo(() => ({ dismiss: (id: string) => store.notifications.close(id), edit: editing.edit, leave: editing.leave }), [store, editing])
  const submissions = () => store.views.read(JSON.parse(text) as never).rows as readonly Row[]
  return useNoted(
    subscribe,
    () => ({ submissions: submissions(), notifications: reads.notifications(component), editors: reads.editors(), ...realtimeOf(store), ...actions }),
    () => ({ submissions: submissions(), notifications: NONE, editors: {}, ...firstRealtimeOf(store), ...actions }),
  )
}
