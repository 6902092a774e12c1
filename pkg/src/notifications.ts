import { AssignmentFollower, type AssignmentNotices } from './assignment-news.js'
import { RotaError } from './errors.js'
import { engineNotices, type RotaNotices } from './init.js'
import { add, type ChangeList, type Listener, type Mirror } from './mirror.js'
import { NoticeChannel, type BrowserLook, type NoticeMessage } from './notice-channel.js'
import type { Tables } from './tables.js'
import { checkText } from './values.js'

/** What a notification is about: whose turn it is, what somebody has done, how something stands. */
export type NotificationKind = 'turn' | 'action' | 'status'

/** A notification, as a component shows it. */
export interface NotificationShown {
  readonly id: string
  readonly kind: NotificationKind
  readonly message: string
  /** When it came about, in milliseconds since 1970. */
  readonly atMs: number
  /** True when this component is to make a sound for it. */
  readonly sound: boolean
}

/** A notification to be made. */
export interface NotificationGiven {
  readonly kind: NotificationKind
  /** At most 4,096 bytes. */
  readonly message: string
  /** The same in every tab that tells of the same: what it is about, and its version, say. Of one that is known already nothing more is seen. */
  readonly id?: string
  /** When it came about; now, where nothing is said. */
  readonly atMs?: number
  /** False for one that is silent whatever the settings. */
  readonly sound?: boolean
}

/** What a component shows of a kind. What is not said stays at what holds where nothing is. */
export interface NotificationSettings {
  /** True by default. */
  readonly enabled?: boolean
  /** For how long; null: until somebody closes it. 10 s for a turn, 5 s for an action and 3 s for a status by default. */
  readonly autoCloseMs?: number | null
  /** True by default. */
  readonly sound?: boolean
}

/** How notifications of the browser look; without kinds, of all. */
export interface BrowserNotifications extends BrowserLook {
  /** How to show one, where the page's own way will not do: `push.show` of `rota-engine/push`, by the service worker. */
  readonly show?: (notice: BrowserNotice) => void
}

/** A notification as the browser is to show it. */
export interface BrowserNotice extends Omit<NotificationShown, 'atMs'> {
  readonly title: string
}

/** What notifications need of their store. @internal */
export interface NoticeHost {
  readonly mirror: Mirror
  readonly tables: Tables
  readonly user: string
  /** The name of the channel between the tabs; nothing where there are none. */
  readonly channel: string | undefined
  /** Runs something of the engine's, and throws what applications may see. */
  call<R>(run: () => R): R
}

const NONE: readonly never[] = Object.freeze([])
const KINDS: readonly NotificationKind[] = ['turn', 'action', 'status']
const AUTO_CLOSE_MS: Readonly<Record<NotificationKind, number>> = { turn: 10_000, action: 5_000, status: 3_000 }

const SETTINGS: ReadonlySet<string> = new Set<keyof NotificationSettings>(['enabled', 'autoCloseMs', 'sound'])

/** How many components are kept in mind that only look. */
const COMPONENTS_MAX = 256

/** The longest wait that timers of browsers know. */
const TIMER_MS_MAX = 2 ** 31 - 1

/** What the browser lends for its own notifications. */
interface PageNotice {
  new (title: string, options: { readonly body: string; readonly tag: string; readonly silent: boolean }): unknown
  readonly permission: string
  requestPermission(): Promise<string>
}

interface Look {
  readonly list: readonly NotificationShown[]
  readonly nextMs: number
}

/**
 * Notifications of a person's tabs: in order, each once, and what came while off-line when the link is back. At most 200 are kept to be seen, and as many wait for
 * the link. Beyond that those go first that no component shows any more; one that somebody was to see is reported as `notifications-full`. The last 10,000 ids
 * are known, and those of all that show.
 */
export class Notifications {
  readonly #host: NoticeHost
  readonly #assignments: AssignmentFollower
  #channel: NoticeChannel | undefined
  readonly #listeners = new Set<Listener>()
  /** What components were last shown; dropped as soon as something changes. */
  readonly #looks = new Map<string, Look>()
  readonly #before = new Map<string, readonly NotificationShown[]>()
  /** Those that wait for the link, for the browser's own. */
  readonly #waiting = new Map<string, NotificationShown>()
  #notices: RotaNotices | undefined
  /** What was said last in any tab, and how this one is to show them. */
  #browser: BrowserLook | undefined
  #saidMs = 0
  #show: BrowserNotifications['show']
  #timer: ReturnType<typeof setTimeout> | undefined
  #isClosed = false
  #made = 0

  /** @internal */
  constructor(host: NoticeHost) {
    this.#host = host
    this.#assignments = new AssignmentFollower(host.mirror, host.tables, host.user, (notice) => this.createNotification(notice))
    host.mirror.add({
      take: (list, tell) => this.#take(list, tell),
      countListeners: () => this.#listeners.size,
      close: () => this.#forgetAll(),
    })
    if (host.channel === undefined) return
    // In every tab: the one that shows them as the browser's own may have nothing else to do with them.
    this.#channel = new NoticeChannel(host.channel, (message) => this.#hear(message))
    this.#channel.say({ type: 'opened' })
  }

  /** Makes a notification, in all tabs of this person. Returns its id, and what became of it: while there is no link it waits. */
  createNotification(notification: NotificationGiven): { readonly id: string; readonly state: 'shown' | 'waits' | 'known' } {
    if (!isObject(notification)) throw new RotaError('invalid-value', 'createNotification takes an object: { kind, message, … }')
    const { kind, message, id = this.#newId(), atMs = Date.now(), sound = true } = notification
    const given = { id, kind, message, atMs, sound }
    if (typeof id !== 'string' || typeof message !== 'string') throw new RotaError('invalid-value', 'a notification has a message, and perhaps an id, which are text')
    checkText(id, 'the id of a notification')
    checkText(message, 'the message of a notification')
    if (typeof sound !== 'boolean' || !Number.isFinite(atMs)) throw new RotaError('invalid-value', '"sound" is true or false, and "atMs" in milliseconds since 1970')
    const state = this.#create(given)
    if (state !== 'known') this.#channel?.say({ type: 'created', notice: given })
    return { id, state }
  }

  /**
   * Makes a notification of whatever others assign to this person, or take from them, from now on. Of what they do themselves they are not told. Any number of tabs
   * may do so: it is seen once. Returns how to stop.
   */
  followAssignments(how: AssignmentNotices): () => void {
    this.#host.call(() => undefined)
    return this.#assignments.follow(how)
  }

  /** Closes a notification, in all tabs of this person. It does not come back. */
  close(id: string): void {
    if (typeof id !== 'string') throw new RotaError('invalid-value', 'a notification is closed by its id, which is text')
    this.#do((notices) => notices.close(id))
    this.#waiting.delete(id)
    this.#channel?.say({ type: 'closed', id })
    this.#changed()
  }

  /** Says what a component of this tab shows, by kind, and how. */
  configure(component: string, settings: Readonly<Partial<Record<NotificationKind, NotificationSettings>>>): void {
    requireComponent(component)
    if (!isObject(settings)) throw new RotaError('invalid-value', 'configure takes a component and an object of settings by kind')
    // All are looked at before the first one counts.
    const all = Object.entries(settings).map(([kind, given]) => [kind, settingsOf(kind, given)] as const)
    this.#do((notices) => {
      for (const [kind, { enabled, autoCloseMs, sound }] of all) notices.set(component, kind, enabled, autoCloseMs ?? undefined, sound)
    })
    this.#changed()
  }

  /** Forgets what a component has said. */
  forget(component: string): void {
    requireComponent(component)
    this.#do((notices) => notices.forget(component))
    this.#before.delete(component)
    this.#changed()
  }

  /** Returns what a component is to show now, the oldest first. The same list until something in it changes. */
  shown(component: string): readonly NotificationShown[] {
    requireComponent(component)
    // A store that is closed reads as an empty one.
    if (this.#isClosed) return NONE
    const known = this.#looks.get(component)
    if (known && Date.now() < known.nextMs) return known.list
    const { notices: next, nextMs = Infinity } = this.#do((notices) => notices.shown(component, Date.now())) as { notices: NotificationShown[]; nextMs?: number }
    const before = this.#before.get(component)
    const list = before && isSame(before, next) ? before : Object.freeze(next)
    this.#looks.set(component, { list, nextMs })
    this.#before.set(component, list)
    for (const oldest of this.#before.keys()) {
      if (this.#before.size <= COMPONENTS_MAX) break
      this.#before.delete(oldest)
      this.#looks.delete(oldest)
    }
    this.#wake()
    return list
  }

  /** Calls back when what a component shows may have changed, by time too; returns how to stop. */
  subscribe(listener: () => void): () => void {
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'notifications.subscribe takes a function')
    this.#host.call(() => undefined)
    const stop = add(this.#listeners, listener)
    this.#wake()
    return () => {
      stop()
      this.#wake()
    }
  }

  /**
   * Shows further notifications as the browser's own, too, in one tab of this person only, as far as they have allowed it. Asks them, so call it when they
   * have asked for it themselves. Resolves with their answer. Null ends it. What any tab says last counts for all that are open; `show` is each tab's own.
   */
  async showInBrowser(how: BrowserNotifications | null): Promise<'granted' | 'denied' | 'default' | 'unsupported'> {
    this.#host.call(() => undefined)
    if (how !== null && typeof how?.title !== 'string') throw new RotaError('invalid-value', 'notifications of the browser have a title')
    this.#browser = how ? { title: how.title, ...(how.kinds ? { kinds: [...how.kinds] } : {}) } : undefined
    this.#show = how?.show
    // Finer than the clock, and the same for all tabs.
    this.#saidMs = performance.timeOrigin + performance.now()
    this.#sayBrowser()
    const Browser = pageNotice()
    if (!Browser) return 'unsupported'
    const permission = how && Browser.permission === 'default' ? await Browser.requestPermission() : Browser.permission
    return permission as 'granted' | 'denied' | 'default'
  }

  #take({ status }: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    if (!status || !this.#notices) return
    this.#hearLink(this.#notices)
    tell(this.#listeners)
  }

  #forgetAll(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#channel?.close()
    this.#listeners.clear()
    this.#looks.clear()
    this.#before.clear()
    this.#waiting.clear()
    const notices = this.#notices
    this.#notices = undefined
    try {
      notices?.free()
    } catch {
      // A crashed engine took it along.
    }
  }

  /** Those of one moment are in the order of their ids. */
  #newId(): string {
    return `${(this.#made++).toString(36).padStart(8, '0')}-${globalThis.crypto.randomUUID()}`
  }

  #do<R>(run: (notices: RotaNotices) => R): R {
    return this.#host.call(() => {
      const notices = this.#notices ?? this.#begin()
      return run(notices)
    })
  }

  #begin(): RotaNotices {
    const notices = engineNotices()
    this.#notices = notices
    this.#hearLink(notices)
    return notices
  }

  #create(notice: NotificationShown): 'shown' | 'waits' | 'known' {
    const { id, kind, message, atMs, sound } = notice
    const state = this.#do((notices) => this.#noting(notices, () => notices.create(id, kind, message, Math.max(0, atMs), sound, Date.now()))) as 'shown' | 'waits' | 'known'
    if (state === 'shown') this.#showInBrowser(notice)
    if (state === 'waits') this.#waiting.set(id, notice)
    if (state !== 'known') this.#changed()
    return state
  }

  /** Reports it when some had to go that were still to be seen. */
  #noting<R>(notices: RotaNotices, run: () => R): R {
    const before = notices.dropped()
    const result = run()
    const dropped = notices.dropped() - before
    const message = `${dropped} of the notifications that are to be seen, or wait for the link, had to go: at most 200 of each are kept`
    if (dropped > 0) this.#host.mirror.report({ code: 'notifications-full', place: 'notifications', message })
    return result
  }

  #hear(message: NoticeMessage): void {
    if (this.#isClosed) return
    try {
      if (message.type === 'created') return void this.#create(message.notice)
      if (message.type === 'browser') return this.#hearBrowser(message)
      if (message.type === 'opened') return void (this.#saidMs > 0 && this.#sayBrowser())
      this.#do((notices) => notices.close(message.id))
      this.#waiting.delete(message.id)
      this.#changed()
    } catch (error) {
      // Another tab may be of another release.
      this.#host.mirror.report({ code: 'malformed-message', place: 'notifications', message: String(error) })
    }
  }

  #sayBrowser(): void {
    this.#channel?.say({ type: 'browser', browser: this.#browser ?? null, saidMs: this.#saidMs })
  }

  /** What two tabs say at the same time arrives in any order. */
  #hearBrowser({ browser, saidMs }: Extract<NoticeMessage, { type: 'browser' }>): void {
    if (saidMs > this.#saidMs) [this.#browser, this.#saidMs] = [browser ?? undefined, saidMs]
  }

  /** Off-line they wait. While a link is being opened, it stays as it was. */
  #hearLink(notices: RotaNotices): void {
    const { state } = this.#host.mirror.status.link
    if (state === 'connecting') return
    const isOnline = state === 'live' || state === 'degraded'
    for (const id of this.#noting(notices, () => notices.online(isOnline, Date.now()))) {
      const notice = this.#waiting.get(id)
      this.#waiting.delete(id)
      if (notice) this.#showInBrowser(notice)
    }
    if (isOnline) this.#waiting.clear()
    this.#looks.clear()
  }

  #showInBrowser({ id, kind, message, sound }: NotificationShown): void {
    const Browser = pageNotice()
    if (!this.#browser || !Browser || Browser.permission !== 'granted') return
    const { title, kinds = KINDS } = this.#browser
    const show = this.#show
    // The leader speaks for all tabs.
    if (this.#host.mirror.status.role === 'follower' || !kinds.includes(kind)) return
    try {
      if (show) show({ id, kind, title, message, sound })
      else void new Browser(title, { body: message, tag: id, silent: !sound })
    } catch {
      // Some browsers have them for service workers only.
    }
  }

  #changed(): void {
    this.#looks.clear()
    this.#host.mirror.due(this.#listeners)
    this.#wake()
  }

  /** Wakes whoever listens when what was shown last changes by itself. */
  #wake(): void {
    clearTimeout(this.#timer)
    if (this.#listeners.size === 0 || this.#isClosed) return
    const nextMs = Math.min(...Array.from(this.#looks.values(), (look) => look.nextMs), Infinity)
    if (nextMs === Infinity) return
    this.#timer = setTimeout(() => this.#changed(), Math.min(Math.max(0, nextMs - Date.now()) + 1, TIMER_MS_MAX))
    // In Node it keeps no process alive.
    ;(this.#timer as { unref?: () => void }).unref?.()
  }
}

function settingsOf(kind: string, given: NotificationSettings | undefined): Required<NotificationSettings> {
  if (!(KINDS as readonly string[]).includes(kind)) throw new RotaError('invalid-value', `there is no kind of notification "${kind}"; there are ${KINDS.join(', ')}`)
  if (given !== undefined && !isObject(given)) throw new RotaError('invalid-value', `the settings of "${kind}" are an object`)
  const unknown = Object.keys(given ?? {}).find((name) => !SETTINGS.has(name))
  if (unknown !== undefined) throw new RotaError('invalid-value', `there is no setting "${unknown}" of "${kind}"; there are ${[...SETTINGS].join(', ')}`)
  const { enabled = true, autoCloseMs = AUTO_CLOSE_MS[kind as NotificationKind], sound = true } = given ?? {}
  if (typeof enabled !== 'boolean' || typeof sound !== 'boolean') throw new RotaError('invalid-value', '"enabled" and "sound" are true or false')
  if (autoCloseMs !== null && !(Number.isFinite(autoCloseMs) && autoCloseMs >= 0)) throw new RotaError('invalid-value', '"autoCloseMs" is a time in ms, or null')
  return { enabled, autoCloseMs, sound }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function requireComponent(component: unknown): void {
  if (typeof component !== 'string') throw new RotaError('invalid-value', 'a component has a name, which is text')
}

function pageNotice(): PageNotice | undefined {
  return (globalThis as { Notification?: PageNotice }).Notification
}

function isSame(one: readonly NotificationShown[], other: readonly NotificationShown[]): boolean {
  return one.length === other.length && one.every(({ id, sound }, at) => id === other[at]?.id && sound === other[at]?.sound)
}
