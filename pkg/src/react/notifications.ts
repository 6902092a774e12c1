import { useCallback, useEffect, useMemo, useSyncExternalStore } from 'react'
import { NONE } from '../bindings/first.js'
import { configureWhileThere, noticeActions, type NoticeActions, type NoticeSettings } from '../bindings/notices.js'
import type { InTable } from '../bindings/interactions.js'
import type { NotificationShown } from '../index.js'
import { useStore } from './store.js'

/** Returns the notifications that a component is to show now, and renders again when one comes or goes. What it shows of each kind, `notifications.configure` says. */
export function useNotifications(component: string): readonly NotificationShown[] {
  const store = useStore()
  const subscribe = useCallback((listener: () => void) => store.notifications.subscribe(listener), [store])
  return useSyncExternalStore(
    subscribe,
    () => store.notifications.shown(component),
    () => NONE,
  )
}

/** What {@link useLiveInteractionNotifications} takes. */
export interface InteractionNotificationsOptions extends InTable {
  /** The component's name; `live-interactions` by default. */
  readonly component?: string
  /** What it shows of each kind, for how long, and with a sound or not. */
  readonly settings?: NoticeSettings
}

/** What {@link useLiveInteractionNotifications} returns. */
export interface UseLiveInteractionNotifications extends NoticeActions {
  /** What the component is to show now, the oldest first. */
  readonly notifications: readonly NotificationShown[]
}

/** Returns the notifications of turns, actions and states that a component is to show, and how to make them, in all tabs of the person. */
export function useLiveInteractionNotifications({ component = 'live-interactions', settings, table }: InteractionNotificationsOptions = {}): UseLiveInteractionNotifications {
  const store = useStore()
  const notifications = useNotifications(component)
  const text = settings && JSON.stringify(settings)
  useEffect(() => (text === undefined ? undefined : configureWhileThere(store, component, JSON.parse(text) as NoticeSettings)), [store, component, text])
  const actions = useMemo(() => noticeActions(store, () => table), [store, table])
  return { notifications, ...actions }
}
