import { onScopeDispose, toValue, type MaybeRefOrGetter } from 'vue'
import { NONE } from '../bindings/first.js'
import { Editing, formTable, FormReads, notifyArrivals, type Editors, type FormsNotified, type Submitted } from '../bindings/forms.js'
import { firstRealtimeOf, realtimeOf, type RealtimeState } from '../bindings/realtime.js'
import type { Key, NotificationShown, RegisteredIn, RegisteredRecord, Tables, ViewSpec } from '../index.js'
import { useStore } from './store.js'
import { refsOf, useStored, useWatching, type RefsOf } from './stored.js'

/** What {@link useRealtimeForms} takes; which submissions, in what order, and how many, as a view does. */
export interface RealtimeFormsOptions<R = never, N extends string = string> extends FormsNotified<R> {
  /** The table; the first that is declared with the domain of forms, where none is named. */
  readonly table?: N
  readonly filter?: MaybeRefOrGetter<ViewSpec<Tables>['filter']>
  readonly sort?: MaybeRefOrGetter<ViewSpec<Tables>['sort']>
  readonly limit?: MaybeRefOrGetter<number | undefined>
}

/** What a component reads of forms. */
export interface RealtimeForms<R> extends RealtimeState {
  /** The submissions, as they stand now. */
  readonly submissions: readonly R[]
  /** What is to be said of those that have arrived: for as long as such a notification shows, once in all tabs. */
  readonly notifications: readonly NotificationShown[]
  /** Who edits which. */
  readonly editors: Editors
}

/** What {@link useRealtimeForms} returns. */
export type UseRealtimeForms<R> = RefsOf<RealtimeForms<R>> & {
  /** Puts a notification away, in all tabs of this person. */
  dismiss(id: string): void
  /** Says that this person is at a submission. It is taken back when the component goes. */
  edit(key: Key, doing?: 'editing' | 'typing'): void
  leave(): void
}

/** Returns submissions of forms as they stand, what has arrived, and who edits them. */
export function useRealtimeForms<R = never, N extends RegisteredIn<'form'> = RegisteredIn<'form'>>(
  options: RealtimeFormsOptions<Submitted<N, R>, N> = {},
): UseRealtimeForms<RegisteredRecord<'form', N, R>> {
  type Row = RegisteredRecord<'form', N, R>
  const { component = 'forms' } = options
  const store = useStore()
  const table = formTable(store, options.table)
  const [reads, editing] = [new FormReads(store, table), new Editing(store, table)]
  const spec = () => JSON.stringify({ table, filter: toValue(options.filter), sort: toValue(options.sort), limit: toValue(options.limit) })
  const submissions = () => store.views.read(JSON.parse(spec()) as never).rows as readonly Row[]
  useWatching((open) => notifyArrivals(open, table, () => options as FormsNotified))
  onScopeDispose(editing.leave)
  const state = useStored<RealtimeForms<Row>>(
    () => {
      const given = spec()
      return (listener) => {
        const view = store.view(JSON.parse(given) as never)
        view.subscribe(listener)
        const stops = [store.notifications.subscribe(listener), store.presence.subscribe(listener), store.subscribe(({ status }) => status && listener())]
        return () => {
          for (const stop of stops) stop()
          view.close()
        }
      }
    },
    () => ({ submissions: submissions(), notifications: reads.notifications(component), editors: reads.editors(), ...realtimeOf(store) }),
    () => ({ submissions: submissions(), notifications: NONE, editors: {}, ...firstRealtimeOf(store) }),
  )
  return { ...refsOf(state), dismiss: (id) => store.notifications.close(id), edit: editing.edit, leave: editing.leave }
}
