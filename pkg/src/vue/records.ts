import { toValue, type MaybeRefOrGetter, type ShallowRef } from 'vue'
import type { Key, RecordOf, RegisteredTables, SnapshotOf, Tables, ViewSpec } from '../index.js'
import { useStore } from './store.js'
import { useStored } from './stored.js'

/** Returns a record that stays current. */
export function useRecord<T extends Tables = RegisteredTables, N extends keyof T & string = keyof T & string>(
  table: MaybeRefOrGetter<N>,
  key: MaybeRefOrGetter<Key>,
): Readonly<ShallowRef<RecordOf<T[N]> | undefined>> {
  const store = useStore<T>()
  return useStored(
    () => {
      const [name, value] = [toValue(table), toValue(key)]
      return (listener) => store.subscribe(name, value, listener)
    },
    () => store.get(toValue(table), toValue(key)),
    () => store.firstReads.get(toValue(table), toValue(key)) as RecordOf<T[N]> | undefined,
  )
}

/** Returns all records of a table; the list stays current. */
export function useRecords<T extends Tables = RegisteredTables, N extends keyof T & string = keyof T & string>(
  table: MaybeRefOrGetter<N>,
): Readonly<ShallowRef<readonly RecordOf<T[N]>[]>> {
  const store = useStore<T>()
  return useStored(
    () => {
      const name = toValue(table)
      return (listener) => store.subscribe(name, listener)
    },
    () => store.all(toValue(table)),
    () => store.firstReads.all(toValue(table)) as readonly RecordOf<T[N]>[],
  )
}

/** Returns what a live list shows; it stays current. Equal specs share one list, which is closed with the last component that shows it. */
export function useView<T extends Tables = RegisteredTables, const S extends ViewSpec<T> = ViewSpec<T>>(spec: MaybeRefOrGetter<S>): Readonly<ShallowRef<SnapshotOf<T, S>>> {
  const store = useStore<T>()
  const read = () => store.views.read(toValue(spec) as ViewSpec<Tables>) as unknown as SnapshotOf<T, S>
  return useStored(
    () => {
      const now = toValue(spec)
      // Reads all of it, so that a change deep inside is noticed.
      JSON.stringify(now)
      return (listener) => {
        const view = store.view(now)
        view.subscribe(listener)
        return () => view.close()
      }
    },
    read,
    read,
  )
}
