import { toValue, type MaybeRefOrGetter, type ShallowRef } from 'vue'
import { NONE } from '../bindings/first.js'
import { configureWhileThere, noticeActions, type NoticeActions, type NoticeSettings } from '../bindings/notices.js'
import type { NotificationShown } from '../index.js'
import type { InTable } from './interactions.js'
import { useStore } from './store.js'
import { useStored, useWatching } from './stored.js'

/** Returns the notifications that a component is to show now. What it shows of each kind, `notifications.configure` says. */
export function useNotifications(component: MaybeRefOrGetter<string>): Readonly<ShallowRef<readonly NotificationShown[]>> {
  const store = useStore()
  return useStored(
    () => {
      // Another component's are others.
      toValue(component)
      return (listener) => store.notifications.subscribe(listener)
    },
    () => store.notifications.shown(toValue(component)),
    () => NONE,
  )
}

/** What {@link useLiveInteractionNotifications} takes. */
export interface InteractionNotificationsOptions extends InTable {
  /** The component's name; `live-interactions` by default. */
  readonly component?: string
  /** What it shows of each kind, for how long, and with a sound or not. */
  readonly settings?: MaybeRefOrGetter<NoticeSettings | undefined>
}

/** What {@link useLiveInteractionNotifications} returns. */
export interface UseLiveInteractionNotifications extends NoticeActions {
  /** What the component is to show now, the oldest first. */
  readonly notifications: Readonly<ShallowRef<readonly NotificationShown[]>>
}

/** Returns the notifications of turns, actions and states that a component is to show, and how to make them, in all tabs of the person. */
export function useLiveInteractionNotifications({ component = 'live-interactions', settings, table }: InteractionNotificationsOptions = {}): UseLiveInteractionNotifications {
  const notifications = useNotifications(component)
  useWatching(
    (store) => {
      const given = toValue(settings)
      return given ? configureWhileThere(store, component, given) : () => undefined
    },
    true,
    () => JSON.stringify(toValue(settings)),
  )
  return { notifications, ...noticeActions(useStore(), () => toValue(table)) }
}
