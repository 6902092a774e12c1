import { PUSH_CHANNEL, PUSH_FORM, type PushNotice, type WorkerMessage } from './push-notice.js'
import { inShowingTurn } from './push-turns.js'

/** How notifications look that come by push, and what else a worker is to do. */
export interface PushHandlerOptions {
  /** What is shown of a push that can't be read; the host's name without it. */
  readonly title?: string
  readonly body?: string
  readonly icon?: string
  readonly badge?: string
  /**
   * Stores a subscription that the browser has replaced while no tab is open, in whatever way a worker of yours can reach the server. Without it the next tab does so.
   */
  readonly onSubscriptionChange?: (subscription: PushSubscription, oldEndpoint: string | undefined) => unknown
}

/** What a notification of ours carries for the click on it. */
interface ClickData {
  readonly id?: string
  readonly kind?: string
  readonly url?: string
}

/** How long tabs have to say that they show it already; the browser waits for a notification, but not for long. */
const ANSWER_MS_MAX = 500

/** The tag of what can't be read: more of it is no more to look at. */
const UNREADABLE = 'rota-push'

// What a worker has, as far as it is used here: the library of the browser's types knows either pages or workers.
interface Extendable extends Event {
  waitUntil(promise: Promise<unknown>): void
}
interface PushReceived extends Extendable {
  readonly data?: { json(): unknown } | null
}
interface NotificationClicked extends Extendable {
  readonly notification: { readonly data?: unknown; close(): void }
}
interface SubscriptionChanged extends Extendable {
  readonly oldSubscription?: PushSubscription | null
  readonly newSubscription?: PushSubscription | null
}
interface WindowClient {
  readonly url: string
  readonly visibilityState: string
  readonly focused: boolean
  focus(): Promise<unknown>
  postMessage(message: WorkerMessage, transfer?: Transferable[]): void
}
interface WorkerScope {
  readonly registration: ServiceWorkerRegistration
  readonly clients: {
    matchAll(options: { readonly type: 'window'; readonly includeUncontrolled: true }): Promise<readonly WindowClient[]>
    openWindow(url: string): Promise<unknown>
  }
  readonly location: { readonly hostname: string }
  readonly navigator?: { readonly userAgent?: string }
  addEventListener(type: string, listener: (event: never) => void): void
}

/**
 * Shows what is pushed, once: not where a tab in sight shows it already. A click goes to an open tab, or opens one. To be called while the
 * worker's script is first run. Whatever comes, it throws nothing, and shows something: browsers take the permission away from who does not.
 */
export function handlePushes(options: PushHandlerOptions = {}): void {
  const worker = globalThis as unknown as WorkerScope
  worker.addEventListener('push', (event: PushReceived) => event.waitUntil(receive(worker, event, options)))
  worker.addEventListener('notificationclick', (event: NotificationClicked) => {
    const data = clickDataOf(event.notification.data)
    if (!data) return
    event.notification.close()
    event.waitUntil(follow(worker, data))
  })
  worker.addEventListener('pushsubscriptionchange', (event: SubscriptionChanged) => event.waitUntil(renew(worker, event, options)))
}

async function receive(worker: WorkerScope, event: PushReceived, options: PushHandlerOptions): Promise<void> {
  const notice = noticeOf(event)
  const tabs = await tabsOf(worker)
  const isSeen = notice !== undefined && (await hasAny(tabs.filter(({ visibilityState }) => visibilityState === 'visible'), notice.id))
  if (isSeen && !mustShow(worker)) return
  await inShowingTurn(async () => {
    await show(worker, notice, isSeen, options)
    if (notice && isSeen) for (const notification of await shownOf(worker.registration, notice.id)) notification.close()
  })
  if (!notice) return
  for (const tab of tabs) say(tab, { type: PUSH_CHANNEL, what: 'shown', id: notice.id })
}

/** Safari counts every push that shows nothing, a tab in sight or not, and ends the subscription at the third. */
function mustShow({ navigator }: WorkerScope): boolean {
  const userAgent = navigator?.userAgent ?? ''
  return userAgent.includes('AppleWebKit/') && !/Chrom(?:e|ium)\//.test(userAgent)
}

async function show({ registration, location }: WorkerScope, notice: PushNotice | undefined, isSeen: boolean, options: PushHandlerOptions): Promise<void> {
  const { title = options.title ?? location.hostname, body = notice ? undefined : options.body, id, kind, url, silent = false } = notice ?? ({} as Partial<PushNotice>)
  const { icon, badge } = options
  const tag = id ?? UNREADABLE
  const data: { readonly rota: ClickData } = { rota: { ...(id === undefined ? {} : { id }), ...(kind === undefined ? {} : { kind }), ...(url === undefined ? {} : { url }) } }
  const least: NotificationOptions = { tag, data, ...(body === undefined ? {} : { body }) }
  const isThere = (await shownOf(registration, tag)).length > 0
  try {
    // What takes the place of the same makes no sound again.
    await registration.showNotification(title, { ...least, silent: silent || isSeen || isThere, ...(icon === undefined ? {} : { icon }), ...(badge === undefined ? {} : { badge }) })
  } catch {
    // An icon that can't be had is no reason to show nothing; a permission that was taken back is.
    await otherwise(undefined, () => registration.showNotification(title, least))
  }
}

function shownOf(registration: ServiceWorkerRegistration, tag: string): Promise<readonly Notification[]> {
  return otherwise([], () => registration.getNotifications({ tag }))
}

/** The tab that is told of the click is the one in sight, or any. Whether it may be put in front, the browser decides. */
async function follow(worker: WorkerScope, { id, kind, url }: ClickData): Promise<void> {
  const { scope } = worker.registration
  const target = within(scope, url)
  const tabs = (await tabsOf(worker)).filter((tab) => tab.url.startsWith(scope))
  const tab = tabs.find(({ focused }) => focused) ?? tabs.find(({ visibilityState }) => visibilityState === 'visible') ?? tabs[0]
  try {
    if (!tab) return void (await worker.clients.openWindow(target))
    say(tab, { type: PUSH_CHANNEL, what: 'clicked', url: target, ...(id === undefined ? {} : { id }), ...(kind === undefined ? {} : { kind }) })
    await tab.focus()
  } catch {
    // Only a person's own click may do that, and it may be too long ago.
  }
}

async function renew(worker: WorkerScope, { oldSubscription, newSubscription }: SubscriptionChanged, { onSubscriptionChange }: PushHandlerOptions): Promise<void> {
  try {
    const renewed = newSubscription ?? (await subscribeAgain(worker, oldSubscription?.options))
    if (renewed) await onSubscriptionChange?.(renewed, oldSubscription?.endpoint)
  } catch {
    // The next tab tries again.
  }
  for (const tab of await tabsOf(worker)) say(tab, { type: PUSH_CHANNEL, what: 'changed' })
}

async function subscribeAgain({ registration }: WorkerScope, options: PushSubscriptionOptions | undefined): Promise<PushSubscription | null> {
  const there = await registration.pushManager.getSubscription()
  if (there || !options) return there
  return registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: options.applicationServerKey })
}

function tabsOf({ clients }: WorkerScope): Promise<readonly WindowClient[]> {
  return otherwise([], () => clients.matchAll({ type: 'window', includeUncontrolled: true }))
}

/** What it gives, or else something to go on with. */
async function otherwise<R>(fallback: R, run: () => Promise<R>): Promise<R> {
  try {
    return await run()
  } catch {
    return fallback
  }
}

/** Whether a tab says that it has shown this, before its time is over. */
function hasAny(tabs: readonly WindowClient[], id: string): Promise<boolean> {
  return new Promise((resolve) => {
    let waitsFor = tabs.length
    const ports: MessagePort[] = []
    const end = (has: boolean) => {
      clearTimeout(timer)
      for (const port of ports) port.close()
      resolve(has)
    }
    const timer = setTimeout(end, ANSWER_MS_MAX, false)
    if (waitsFor === 0) end(false)
    for (const tab of tabs) {
      const { port1, port2 } = new MessageChannel()
      ports.push(port1)
      port1.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
        waitsFor--
        if ((data as { has?: unknown } | null)?.has === true) end(true)
        else if (waitsFor === 0) end(false)
      })
      port1.start()
      say(tab, { type: PUSH_CHANNEL, what: 'has', id }, [port2])
    }
  })
}

function say(tab: WindowClient, message: WorkerMessage, transfer: Transferable[] = []): void {
  try {
    tab.postMessage(message, transfer)
  } catch {
    // It is gone.
  }
}

/** What a push carries, or nothing where it is not ours or not whole. */
function noticeOf(event: PushReceived): PushNotice | undefined {
  let given: unknown
  try {
    given = event.data?.json()
  } catch {
    return undefined
  }
  if (typeof given !== 'object' || given === null) return undefined
  const { rota, id, title, body, url, kind, silent } = given as Record<string, unknown>
  if (rota !== PUSH_FORM || !isText(id) || !isText(title)) return undefined
  return { id, title, ...(isText(body) ? { body } : {}), ...(isText(url) ? { url } : {}), ...(isText(kind) ? { kind } : {}), ...(silent === true ? { silent } : {}) }
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''

/** The application may have other notifications, which are none of our business. */
function clickDataOf(data: unknown): ClickData | undefined {
  const ours = (data as { rota?: unknown } | null | undefined)?.rota
  return typeof ours === 'object' && ours !== null ? ours : undefined
}

/** Where a click leads: to the application's own origin, or to its start. */
function within(scope: string, url: string | undefined): string {
  try {
    const target = new URL(url ?? '', scope)
    if (target.origin === new URL(scope).origin) return target.href
  } catch {
    // Not an address.
  }
  return scope
}
