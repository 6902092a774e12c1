import { refreshAll } from './interactions.js'
import type { NotificationGiven, NotificationKind, NotificationSettings, Store } from '../index.js'

/** What a component shows, by kind. */
export type NoticeSettings = Readonly<Partial<Record<NotificationKind, NotificationSettings>>>

/** What `useLiveInteractionNotifications` can do; the same functions for as long as the store is. */
export interface NoticeActions {
  /** Makes a notification, in all tabs of this person. Returns its id, and what became of it: while there is no link it waits. */
  createNotification(given: NotificationGiven): { readonly id: string; readonly state: 'shown' | 'waits' | 'known' }
  /** Tells all tabs of an update that each of them may tell of: what has the same id is seen once. True where it was news. */
  broadcastUpdate(update: NotificationGiven & { readonly id: string }): boolean
  /** Has what is new of the interactions fetched now, for all tabs of this person; of one table, where the hook names one. Without being asked they agree too, a moment later. */
  syncAcrossTabs(): void
  /** Closes a notification, in all tabs of this person. */
  close(id: string): void
}

export function noticeActions(store: Store, table: () => string | undefined): NoticeActions {
  const { notifications } = store
  return {
    createNotification: (given) => notifications.createNotification(given),
    broadcastUpdate: (update) => notifications.createNotification(update).state !== 'known',
    syncAcrossTabs: () => refreshAll(store, table()),
    close: (id) => notifications.close(id),
  }
}

/** Who says what is shown under a name, in the order in which they said it: of one kind the last one counts. */
const holders = new WeakMap<Store, Map<string, Set<{ readonly settings: NoticeSettings }>>>()

/** Says what a component shows, for as long as it is there. What others say under the same name, stays for as long as they do. */
export function configureWhileThere(store: Store, component: string, settings: NoticeSettings): () => void {
  store.notifications.configure(component, settings)
  const byName = holders.get(store) ?? new Map<string, Set<{ readonly settings: NoticeSettings }>>()
  holders.set(store, byName)
  const all = byName.get(component) ?? new Set()
  byName.set(component, all)
  const own = { settings }
  all.add(own)
  return () => {
    all.delete(own)
    if (all.size === 0) byName.delete(component)
    if (store.isClosed) return
    store.batch(() => {
      store.notifications.forget(component)
      for (const other of all) store.notifications.configure(component, other.settings)
    })
  }
}
