import { useCallback, useSyncExternalStore } from 'react'
import type { Key, RecordOf, RegisteredTables, SnapshotOf, Tables, ViewSpec } from '../index.js'
import { useStore } from './store.js'

/** Returns a record, and renders again when it changes. */
export function useRecord<T extends Tables = RegisteredTables, N extends keyof T & string = keyof T & string>(table: N, key: Key): RecordOf<T[N]> | undefined {
  const store = useStore<T>()
  const text = typeof key === 'object' ? JSON.stringify(key) : key
  // A composite key is usually a new list at every render; its text is what counts.
  // oxlint-disable-next-line react-hooks/exhaustive-deps
  const subscribe = useCallback((listener: () => void) => store.subscribe(table, key, listener), [store, table, text])
  return useSyncExternalStore(
    subscribe,
    () => store.get(table, key),
    () => store.firstReads.get(table, key) as RecordOf<T[N]> | undefined,
  )
}

/** Returns all records of a table, and renders again when one changes. */
export function useRecords<T extends Tables = RegisteredTables, N extends keyof T & string = keyof T & string>(table: N): readonly RecordOf<T[N]>[] {
  const store = useStore<T>()
  const subscribe = useCallback((listener: () => void) => store.subscribe(table, listener), [store, table])
  return useSyncExternalStore(
    subscribe,
    () => store.all(table),
    () => store.firstReads.all(table) as readonly RecordOf<T[N]>[],
  )
}

/**
 * Returns what a live list shows, and renders again when that changes. Equal specs share one list, which is closed with the last component
 * that shows it. The spec may be written down in the call: what counts is what it says.
 */
export function useView<T extends Tables = RegisteredTables, const S extends ViewSpec<T> = ViewSpec<T>>(spec: S): SnapshotOf<T, S> {
  const store = useStore<T>()
  const text = JSON.stringify(spec)
  const subscribe = useCallback(
    (listener: () => void) => {
      const view = store.view(spec)
      view.subscribe(listener)
      return () => view.close()
    },
    // oxlint-disable-next-line react-hooks/exhaustive-deps
    [store, text],
  )
  const read = () => store.views.read(spec as ViewSpec<Tables>) as unknown as SnapshotOf<T, S>
  return useSyncExternalStore(subscribe, read, read)
}
