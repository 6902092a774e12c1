/** The form of what a push carries, and of what worker and tabs say to each other (`PROTOCOL.md` §8). Imports nothing, so that a worker stays small. */

/** What a push carries: nothing but what is to be shown, and where a click leads. */
export interface PushNotice {
  /** The same as that of the notification in the application. */
  readonly id: string
  readonly title: string
  readonly body?: string
  /** Where a click leads, on the application's own origin; relative to the worker's scope. */
  readonly url?: string
  readonly kind?: string
  readonly silent?: boolean
}

/** The number of the form, which a payload carries as `rota`. */
export const PUSH_FORM = 1

/** How messages between worker and tabs are known. */
export const PUSH_CHANNEL = 'rota-push'

/** What a worker says to a tab. A question comes with a port for the answer, `{ has: boolean }`. */
export type WorkerMessage =
  | { readonly type: typeof PUSH_CHANNEL; readonly what: 'has'; readonly id: string }
  | { readonly type: typeof PUSH_CHANNEL; readonly what: 'shown'; readonly id: string }
  | { readonly type: typeof PUSH_CHANNEL; readonly what: 'clicked'; readonly id?: string; readonly kind?: string; readonly url: string }
  | { readonly type: typeof PUSH_CHANNEL; readonly what: 'changed' }
