import { RotaError } from './errors.js'
import type { BrowserNotice, Notifications } from './notifications.js'
import { PUSH_CHANNEL, type WorkerMessage } from './push-notice.js'
import { PushOwner } from './push-owner.js'
import { inShowingTurn } from './push-turns.js'

/** A browser's subscription, as a server keeps it. */
export interface KeptSubscription {
  readonly endpoint: string
  readonly p256dh: string
  readonly auth: string
  readonly userAgent: string
}

/** Where subscriptions are kept, for the person who is signed in: `supabaseSubscriptions(client)` of `rota-engine/supabase`, or your own. */
export interface PushSubscriptions {
  /** The same endpoint may come again. */
  save(subscription: KeptSubscription): PromiseLike<unknown>
  remove(endpoint: string): PromiseLike<unknown>
}

/** What pushes need of a store. */
export interface PushStore {
  readonly isClosed: boolean
  readonly notifications: Pick<Notifications, 'shown' | 'subscribe'>
  onSignedOut(listener: () => unknown): () => void
}

/** What {@link createPush} takes. */
export interface PushOptions {
  /** The store of the person who is signed in. */
  readonly store: PushStore
  /** Their id, as the store has it. */
  readonly user: string
  /** The public VAPID key, as the sender has it. */
  readonly publicKey: string
  readonly subscriptions: PushSubscriptions
  /** The worker that calls `handlePushes`; the one that is ready for this page, where nothing is said. */
  readonly registration?: ServiceWorkerRegistration
  /** Hears of what could not be done by itself; subscribing and unsubscribing throw. */
  readonly onProblem?: (problem: RotaError) => void
}

/** `on`: this browser is reached with every tab closed. */
export type PushState = 'on' | 'off' | 'denied' | 'unsupported'

/** A click on a notification. */
export interface PushClick {
  readonly id?: string
  readonly kind?: string
  /** Where it leads, on the application's own origin. */
  readonly url: string
}

const WORKER_MS_MAX = 10_000
/** Chromium waits without end for a push service that is out of reach. */
const SUBSCRIBING_MS_MAX = 30_000
/** How long a logout waits for a server or a push service that does not answer. */
const LEAVING_MS_MAX = 5_000
const KNOWN_MAX = 2_000
const PUBLIC_KEY_BYTES = 65
/** A component like any other, so that what every tab is told of is seen here too. */
const COMPONENT = 'rota-engine/push'

/**
 * Web Push for the person who is signed in. A subscription is the browser's, not the person's: it ends with the logout, and one that is found
 * to be somebody else's is ended before anything else is done.
 */
export class Push {
  readonly #options: PushOptions
  readonly #key: Uint8Array<ArrayBuffer>
  readonly #stopped = new AbortController()
  readonly #stops: (() => void)[] = []
  readonly #listeners = new Set<(click: PushClick) => void>()
  /** Notifications that were seen here, in the application or as the browser's. */
  readonly #seen = new Set<string>()
  readonly #shown = new Set<string>()
  /** One thing after the other, where there are no locks. */
  #last: Promise<unknown> = Promise.resolve()
  #hasLeft = false

  /** @internal Use {@link createPush}. */
  constructor(options: PushOptions, key: Uint8Array<ArrayBuffer>) {
    this.#options = options
    this.#key = key
    const { store } = options
    // For as long as there is a store: a logout ends the subscription, whoever has closed this.
    store.onSignedOut(() => this.#leave())
    if (!isSupported()) return
    const look = () => {
      if (store.isClosed) return
      for (const { id } of store.notifications.shown(COMPONENT)) note(this.#seen, id)
    }
    this.#stops.push(store.notifications.subscribe(look))
    look()
    const { serviceWorker } = navigator
    serviceWorker.addEventListener('message', (event) => this.#hear(event), { signal: this.#stopped.signal })
    serviceWorker.startMessages()
    void this.#inTurn(() => this.#renew()).catch((error: unknown) => this.#report(error))
  }

  /** What the person has allowed. Asks nothing. */
  get permission(): NotificationPermission | 'unsupported' {
    return isSupported() ? Notification.permission : 'unsupported'
  }

  /** Whether this browser is reached with every tab closed. Asks nothing. */
  async state(): Promise<PushState> {
    const { permission } = this
    if (permission === 'unsupported' || permission === 'denied') return permission
    if (permission === 'default') return 'off'
    const registration = this.#options.registration ?? (await navigator.serviceWorker.getRegistration())
    const subscription = await registration?.pushManager.getSubscription()
    return registration && subscription && new PushOwner(registration.scope).is(this.#options.user, subscription.endpoint) ? 'on' : 'off'
  }

  /**
   * Turns pushes on in this browser, and asks the person where they have not been asked; so call it when they have clicked on something that
   * says so, and nowhere else. Rejects with `push-unsupported`, `push-needs-gesture`, `push-denied`, `push-dismissed`, `push-no-worker`,
   * `push-failed` or `push-not-saved`; nothing has changed then.
   */
  async subscribe(): Promise<void> {
    this.#requireOpen()
    if (this.#options.store.isClosed) throw new RotaError('closed', 'the store is closed')
    if (!isSupported()) {
      throw new RotaError('push-unsupported', 'this browser has no Web Push here: it needs a secure page, and on iPhones and iPads an application on the home screen')
    }
    // At once: some browsers forget the click over anything that is awaited.
    await askPermission()
    await this.#inTurn(async () => {
      this.#requireOpen()
      const registration = await this.#registration()
      await this.#endForeign(registration)
      await this.#subscribe(registration)
    })
  }

  /** Turns pushes off in this browser. */
  async unsubscribe(): Promise<void> {
    if (!isSupported()) return
    await this.#inTurn(() => this.#end())
  }

  /** Calls back in the tab that a click on a notification has led to; returns how to stop. */
  onClick(listener: (click: PushClick) => void): () => void {
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'onClick takes a function')
    const own = (click: PushClick) => listener(click)
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  /**
   * Shows a notification of the application as the browser's, by the worker: for `notifications.showInBrowser({ title, show: push.show })`. With the
   * tag that a push of the same id has, so that there is one of both; and phones show none in another way.
   */
  readonly show = (notice: BrowserNotice): void => {
    const { id, kind, title, message, sound } = notice
    if (this.#shown.has(id) || !isSupported()) return
    note(this.#shown, id)
    const options = { body: message, tag: id, silent: !sound, data: { rota: { id, kind } } }
    const showing = this.#registration().then((registration) =>
      inShowingTurn(async () => {
        const there = await registration.getNotifications({ tag: id })
        if (there.length === 0) await registration.showNotification(title, options)
      }),
    )
    showing.catch((error: unknown) => this.#report(failure('the worker could not show a notification', error)))
  }

  /** Leaves. Pushes stay on, until they are turned off or the person signs out. */
  close(): void {
    this.#stopped.abort()
    for (const stop of this.#stops.splice(0)) stop()
    this.#listeners.clear()
  }

  // -------------------------------------------------------------------------------------------------- subscriptions

  /** What is on stays on, whatever the browser, its push service or the application has changed; what is somebody else's ends. */
  async #renew(): Promise<void> {
    const registration = this.#options.registration ?? (await navigator.serviceWorker.getRegistration())
    if (!registration || this.#hasLeft) return
    await this.#endForeign(registration)
    const owner = new PushOwner(registration.scope)
    const kept = owner.read()
    if (!kept) return
    if (Notification.permission !== 'granted') return this.#end()
    await this.#subscribe(registration)
  }

  async #endForeign(registration: ServiceWorkerRegistration): Promise<void> {
    const owner = new PushOwner(registration.scope)
    const kept = owner.read()
    if (kept?.user === this.#options.user) return
    const subscription = await registration.pushManager.getSubscription()
    // Nobody can be reached by it any more, whatever the server still has.
    if (subscription && !(await subscription.unsubscribe())) throw new RotaError('push-failed', "the subscription of whoever was signed in before can't be ended")
    owner.forget()
  }

  async #subscribe(registration: ServiceWorkerRegistration): Promise<void> {
    const { user, subscriptions } = this.#options
    const owner = new PushOwner(registration.scope)
    const kept = owner.read()
    const { subscription, isNew } = await this.#subscriptionOf(registration)
    if (this.#hasLeft) await subscription.unsubscribe()
    this.#requireOpen()
    const { endpoint } = subscription
    if (kept?.endpoint === endpoint && !owner.isDue(kept)) return
    try {
      await subscriptions.save(keptOf(subscription))
    } catch (cause) {
      if (isNew) await subscription.unsubscribe().catch(() => false)
      throw new RotaError('push-not-saved', `the server did not keep the subscription: ${reasonOf(cause)}`, { cause })
    }
    owner.write(user, endpoint)
    // If it stays, the sender forgets it: nobody is there.
    if (kept && kept.endpoint !== endpoint) await this.#remove(kept.endpoint).catch(() => undefined)
    // Signed out while the server was asked.
    if (this.#hasLeft) await this.#end()
    this.#requireOpen()
  }

  async #subscriptionOf({ pushManager, scope }: ServiceWorkerRegistration): Promise<{ subscription: PushSubscription; isNew: boolean }> {
    try {
      const there = await pushManager.getSubscription()
      if (there && isSameKey(there.options.applicationServerKey, this.#key)) return { subscription: there, isNew: false }
      // With another key no other can be had while there is one.
      await there?.unsubscribe()
      return { subscription: await this.#askService(pushManager, scope), isNew: true }
    } catch (error) {
      throw failure('the browser could not subscribe', error)
    }
  }

  /** What comes too late is ended, unless it was had by asking again. */
  async #askService(pushManager: PushManager, scope: string): Promise<PushSubscription> {
    let isLate = false
    const asked = pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: this.#key })
    const subscribing = asked.then(async (subscription) => {
      if (isLate && !new PushOwner(scope).is(this.#options.user, subscription.endpoint)) await subscription.unsubscribe()
      return subscription
    })
    const late = () => {
      isLate = true
      return new RotaError('push-failed', 'the push service of this browser did not answer in time')
    }
    return within(SUBSCRIBING_MS_MAX, subscribing, late)
  }

  /** Either end will do: the server forgets where, or nobody is there any more. */
  async #end(): Promise<void> {
    const registration = this.#options.registration ?? (await navigator.serviceWorker.getRegistration())
    if (!registration) return
    const owner = new PushOwner(registration.scope)
    const subscription = await registration.pushManager.getSubscription()
    const endpoint = subscription?.endpoint ?? owner.read()?.endpoint
    const [removed, ended] = await Promise.allSettled([endpoint === undefined ? undefined : this.#remove(endpoint), subscription?.unsubscribe()])
    const isRemoved = removed.status === 'fulfilled'
    const isEnded = ended.status === 'fulfilled' && ended.value !== false
    if (!isRemoved && !isEnded) throw new RotaError('push-failed', `the subscription could not be ended: ${reasonOf(removed.reason)}`, { cause: removed.reason })
    owner.forget()
  }

  async #remove(endpoint: string): Promise<void> {
    await this.#options.subscriptions.remove(endpoint)
  }

  /** A logout waits for it, but not for ever. What could not be ended, whoever comes next ends. */
  #leave(): Promise<void> {
    this.#hasLeft = true
    this.close()
    if (!isSupported()) return Promise.resolve()
    const late = new Promise<void>((resolve) => setTimeout(resolve, LEAVING_MS_MAX))
    const leaving = this.#inTurn(() => this.#end()).catch((error: unknown) => this.#report(error))
    return Promise.race([late, leaving])
  }

  async #registration(): Promise<ServiceWorkerRegistration> {
    if (this.#options.registration) return this.#options.registration
    const missing = () => new RotaError('push-no-worker', 'this page has no service worker: register one that calls "handlePushes" of rota-engine/service-worker')
    return within(WORKER_MS_MAX, navigator.serviceWorker.ready, missing)
  }

  /** In all tabs together, where the browser has locks. */
  #inTurn<R>(run: () => Promise<R>): Promise<R> {
    const { locks } = navigator as { locks?: LockManager }
    if (locks) return locks.request('rota-push', run) as Promise<R>
    const turn = this.#last.then(run)
    this.#last = turn.catch(() => undefined)
    return turn
  }

  #requireOpen(): void {
    if (this.#hasLeft) throw new RotaError('closed', 'the person has signed out')
  }

  #report(error: unknown): void {
    // Whoever has signed out is missed by nobody.
    if (error instanceof RotaError && error.code === 'closed') return
    this.#options.onProblem?.(error instanceof RotaError ? error : failure('Web Push failed', error))
  }

  // -------------------------------------------------------------------------------------------------- the worker's words

  #hear({ data, ports }: MessageEvent<unknown>): void {
    const message = data as WorkerMessage | null
    if (typeof message !== 'object' || message?.type !== PUSH_CHANNEL) return
    switch (message.what) {
      case 'has':
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port
        return ports[0]?.postMessage({ has: this.#seen.has(message.id) })
      case 'shown':
        return note(this.#shown, message.id)
      case 'changed':
        return void this.#inTurn(() => this.#renew()).catch((error: unknown) => this.#report(error))
      case 'clicked': {
        const { id, kind, url } = message
        for (const listener of this.#listeners) queueMicrotask(() => listener({ url, ...(id === undefined ? {} : { id }), ...(kind === undefined ? {} : { kind }) }))
      }
    }
  }
}

/** Begins to look after this browser's subscription, for the person of a store. Asks the person nothing: that is `subscribe()`. */
export function createPush(options: PushOptions): Push {
  const { user, publicKey, subscriptions } = options
  if (typeof user !== 'string' || user === '') throw new RotaError('invalid-configuration', '"user" must be the id of the person who is signed in')
  if (typeof subscriptions?.save !== 'function' || typeof subscriptions.remove !== 'function') throw new RotaError('invalid-configuration', '"subscriptions" must have the functions "save" and "remove"')
  return new Push(options, keyOf(publicKey))
}

function isSupported(): boolean {
  return typeof navigator === 'object' && 'serviceWorker' in navigator && 'PushManager' in globalThis && 'Notification' in globalThis
}

async function askPermission(): Promise<void> {
  const isAsked = Notification.permission === 'default'
  if (isAsked && (navigator as { userActivation?: UserActivation }).userActivation?.isActive === false) {
    throw new RotaError('push-needs-gesture', 'a person is asked for notifications only when they have just clicked on something that says so')
  }
  const permission = isAsked ? await Notification.requestPermission() : Notification.permission
  if (permission === 'granted') return
  if (permission === 'default') throw new RotaError('push-dismissed', 'the question was closed without an answer; it may be asked again later')
  throw new RotaError('push-denied', 'notifications are blocked for this site; only the person can allow them, in the settings of their browser')
}

function keyOf(publicKey: unknown): Uint8Array<ArrayBuffer> {
  try {
    const binary = atob(String(publicKey).replaceAll('-', '+').replaceAll('_', '/'))
    if (binary.length === PUBLIC_KEY_BYTES) return Uint8Array.from(binary, (character) => character.charCodeAt(0))
  } catch {
    // Not base64.
  }
  throw new RotaError('invalid-configuration', '"publicKey" must be the public VAPID key, as `npx web-push generate-vapid-keys` prints it')
}

function isSameKey(one: ArrayBuffer | null, other: Uint8Array): boolean {
  const bytes = new Uint8Array(one ?? new ArrayBuffer(0))
  return bytes.length === other.length && bytes.every((byte, at) => byte === other[at])
}

function keptOf(subscription: PushSubscription): KeptSubscription {
  const { endpoint, keys: { p256dh = '', auth = '' } = {} } = subscription.toJSON()
  return { endpoint: endpoint ?? subscription.endpoint, p256dh, auth, userAgent: navigator.userAgent }
}

function failure(what: string, error: unknown): RotaError {
  if (error instanceof RotaError) return error
  const isDenied = (error as { name?: unknown } | null)?.name === 'NotAllowedError'
  return new RotaError(isDenied ? 'push-denied' : 'push-failed', `${what}: ${reasonOf(error)}`, { cause: error })
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Waits no longer than that. */
function within<R>(limitMs: number, promise: Promise<R>, late: () => RotaError): Promise<R> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const over = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), limitMs)
  })
  return Promise.race([promise, over]).finally(() => clearTimeout(timer))
}

/** In bounds: the oldest go first. */
function note(set: Set<string>, id: string): void {
  set.delete(id)
  set.add(id)
  for (const oldest of set) {
    if (set.size <= KNOWN_MAX) return
    set.delete(oldest)
  }
}
