import type { NotificationGiven, NotificationKind, NotificationSettings, Store } from '../index.js'

/** What a component shows, by kind. */
export type NoticeSettings = Readonly<Partial<Record<NotificationKind, NotificationSettings>>>

/** What `useLiveInteractionNotifications` can do; the same functions for as long as the store is. */
export interface NoticeActions {
  /** Makes a notification, in all tabs of this person. Returns its id, and what became of it: while there is no link it waits. */
  createNotification(given: NotificationGiven): { readonly id: string; readonly state: 'shown' | 'waits' | 'known' }
  /** Tells all tabs of an update that each of them may tell of: what has the same id is seen once. True where it was news. */
  broadcastUpdate(update: NotificationGiven & { readonly id: string }): boolean
  /** Has what is new of the interactions fetched now, for all tabs of this person. Without being asked they agree too, a moment later. */
  syncAcrossTabs(): void
  /** Closes a notification, in all tabs of this person. */
  close(id: string): void
}

export function noticeActions({ notifications, interactions }: Store): NoticeActions {
  return {
    createNotification: (given) => notifications.createNotification(given),
    broadcastUpdate: (update) => notifications.createNotification(update).state !== 'known',
    syncAcrossTabs: () => interactions.refreshInteractions(),
    close: (id) => notifications.close(id),
  }
}

/** Says what a component shows, for as long as it is there. */
export function configureWhileThere(store: Store, component: string, settings: NoticeSettings): () => void {
  store.notifications.configure(component, settings)
  return () => {
    if (!store.isClosed) store.notifications.forget(component)
  }
}
