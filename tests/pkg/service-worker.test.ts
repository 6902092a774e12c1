import { handlePushes, type PushHandlerOptions } from 'rota-engine/service-worker'
import { afterEach, describe, expect, test, vi } from 'vitest'

interface Shown {
  title: string
  options: NotificationOptions & { data: { rota: Record<string, unknown> } }
}

interface FakeTab {
  url: string
  visibilityState: string
  focused: boolean
  said: Record<string, unknown>[]
  focusedTimes: number
  focus(): Promise<void>
  postMessage(message: Record<string, unknown>, transfer?: MessagePort[]): void
}

const SCOPE = 'https://desk.test/app/'
const ports: MessagePort[] = []
afterEach(() => {
  for (const port of ports.splice(0)) port.close()
})

/** A worker's global scope: what it shows, whom it tells, what it opens. */
class FakeWorker {
  readonly listeners = new Map<string, (event: never) => void>()
  shown: Shown[] = []
  tabs: FakeTab[] = []
  readonly opened: string[] = []
  readonly subscribed: unknown[] = []
  subscription: object | null = null
  /** Notifications that can't be shown. */
  refuses = (_shown: Shown): boolean => false

  constructor(given?: PushHandlerOptions, userAgent = 'Mozilla/5.0 AppleWebKit/537.36 Chrome/150.0 Safari/537.36') {
    vi.stubGlobal('addEventListener', (type: string, listener: (event: never) => void) => this.listeners.set(type, listener))
    vi.stubGlobal('location', { hostname: 'desk.test' })
    vi.stubGlobal('navigator', { userAgent })
    vi.stubGlobal('clients', { matchAll: async () => this.tabs, openWindow: async (url: string) => void this.opened.push(url) })
    vi.stubGlobal('registration', {
      scope: SCOPE,
      showNotification: async (title: string, options: Shown['options']) => {
        const next = { title, options }
        if (this.refuses(next)) throw new TypeError('no permission, or no such icon')
        this.shown = [...this.shown.filter((one) => one.options.tag !== options.tag), next]
      },
      getNotifications: async ({ tag }: { tag: string }) => this.shown.filter((one) => one.options.tag === tag).map((one) => ({ close: () => (this.shown = this.shown.filter((other) => other !== one)) })),
      pushManager: {
        getSubscription: async () => this.subscription,
        subscribe: async (wanted: unknown) => {
          this.subscribed.push(wanted)
          return { endpoint: 'https://push.test/new' }
        },
      },
    })
    handlePushes(given)
  }

  /** Rejects where the worker's own promise does, or it throws. */
  async send(type: string, event: object): Promise<void> {
    const waits: Promise<unknown>[] = []
    this.listeners.get(type)!(Object.assign(new Event(type), event, { waitUntil: (promise: Promise<unknown>) => waits.push(promise) }) as never)
    await Promise.all(waits)
  }

  push(payload: unknown): Promise<void> {
    return this.send('push', { data: { json: () => payload } })
  }

  /** A tab that has shown these. */
  tab(has: readonly string[] = [], more: Partial<FakeTab> = {}): FakeTab {
    const tab: FakeTab = {
      url: `${SCOPE}queue`,
      visibilityState: 'visible',
      focused: false,
      said: [],
      focusedTimes: 0,
      focus: async () => void tab.focusedTimes++,
      postMessage(message, [port] = []) {
        this.said.push(message)
        if (!port) return
        ports.push(port)
        port.postMessage({ has: has.includes(message['id'] as string) })
      },
      ...more,
    }
    this.tabs.push(tab)
    return tab
  }
}

const notice = { rota: 1, id: 'chat-7/3', title: 'Your turn', body: 'A chat waits for you', url: '/app/chats/7', kind: 'turn' }

describe('a push', () => {
  test('is shown with its words, under its id as the tag', async () => {
    const worker = new FakeWorker({ icon: '/icon.png', badge: '/badge.png' })
    await worker.push(notice)
    expect(worker.shown).toEqual([
      { title: 'Your turn', options: { body: 'A chat waits for you', tag: 'chat-7/3', silent: false, icon: '/icon.png', badge: '/badge.png', data: { rota: { id: 'chat-7/3', kind: 'turn', url: '/app/chats/7' } } } },
    ])
  })

  test('that comes again takes the place of the first, without a sound', async () => {
    const worker = new FakeWorker()
    await worker.push(notice)
    await worker.push({ ...notice, body: 'It still waits' })
    expect(worker.shown.map(({ options: { body, silent } }) => [body, silent])).toEqual([['It still waits', true]])
  })

  test('is not shown where a tab in sight has shown it already', async () => {
    const worker = new FakeWorker()
    const tab = worker.tab(['chat-7/3'])
    worker.tab([])
    await worker.push(notice)
    expect([worker.shown, tab.said]).toEqual([[], [{ type: 'rota-push', what: 'has', id: 'chat-7/3' }]])
    await worker.push({ ...notice, id: 'chat-7/4' })
    expect(worker.shown).toHaveLength(1)
  })

  test('is shown where only a tab out of sight has shown it, which is not asked', async () => {
    const worker = new FakeWorker()
    const tab = worker.tab(['chat-7/3'], { visibilityState: 'hidden' })
    await worker.push(notice)
    expect(worker.shown).toHaveLength(1)
    expect(tab.said).toEqual([{ type: 'rota-push', what: 'shown', id: 'chat-7/3' }])
  })

  test('is shown where a tab does not answer, and soon', async () => {
    const worker = new FakeWorker()
    worker.tab([], { postMessage() {} })
    worker.tab([], {
      postMessage() {
        throw new Error('it is gone')
      },
    })
    const startMs = performance.now()
    await worker.push(notice)
    expect(worker.shown).toHaveLength(1)
    expect(performance.now() - startMs).toBeLessThan(2_000)
  })

  test('is shown and closed at once in browsers that forgive none that shows nothing', async () => {
    const worker = new FakeWorker({}, 'Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15')
    const shown: Shown[] = []
    worker.refuses = (next) => void shown.push(next) as unknown as boolean
    worker.tab(['chat-7/3'])
    await worker.push(notice)
    expect([shown.length, shown[0]?.options.silent, worker.shown]).toEqual([1, true, []])
  })

  test.each([
    ['no data', { data: null }],
    ['no JSON', { data: { json: () => JSON.parse('{') as unknown } }],
    ['null', { data: { json: () => null } }],
    ['a list', { data: { json: () => [1] } }],
    ['text', { data: { json: () => 'hello' } }],
    ['an object of another form', { data: { json: () => ({ ...notice, rota: 2 }) } }],
    ['no title', { data: { json: () => ({ ...notice, title: '' }) } }],
    ['an id that is a number', { data: { json: () => ({ ...notice, id: 7 }) } }],
  ])('of %s shows that something has happened, once, and throws nothing', async (_what, event) => {
    const worker = new FakeWorker({ body: 'Something is new' })
    const tab = worker.tab()
    await worker.send('push', event)
    await worker.send('push', event)
    expect(worker.shown.map(({ title, options: { body, data } }) => [title, body, data])).toEqual([['desk.test', 'Something is new', { rota: {} }]])
    expect(tab.said).toEqual([])
    const named = new FakeWorker({ title: 'Desk' })
    await named.send('push', event)
    expect(named.shown[0]?.title).toBe('Desk')
  })

  test('with members of the wrong kind is shown without them', async () => {
    const worker = new FakeWorker()
    await worker.push({ ...notice, body: 7, url: {}, kind: null, silent: 'yes' })
    expect(worker.shown[0]).toEqual({ title: 'Your turn', options: { tag: 'chat-7/3', silent: false, data: { rota: { id: 'chat-7/3' } } } })
  })

  test('is shown without an icon that can’t be had, and throws nothing where it can’t be shown at all', async () => {
    const worker = new FakeWorker({ icon: 'https://[' })
    worker.refuses = ({ options }) => options.icon !== undefined
    await worker.push(notice)
    expect(worker.shown).toHaveLength(1)
    worker.refuses = () => true
    await worker.push({ ...notice, id: 'another' })
    expect(worker.shown).toHaveLength(1)
  })

  test('is shown where the browser can’t say which tabs there are, or what is shown', async () => {
    const worker = new FakeWorker()
    vi.stubGlobal('clients', {
      matchAll() {
        throw new Error('no')
      },
    })
    Object.assign((globalThis as unknown as { registration: object }).registration, { getNotifications: () => Promise.reject(new Error('no')) })
    await worker.push(notice)
    expect(worker.shown).toHaveLength(1)
  })
})

describe('where the browser forgets what is being shown while somebody asks for what there is', () => {
  /** As Chromium does. */
  function forgetful(): void {
    const { registration } = globalThis as unknown as { registration: ServiceWorkerRegistration }
    const { showNotification } = registration
    let looks = 0
    Object.assign(registration, {
      getNotifications: async () => {
        looks++
        await new Promise((resolve) => setTimeout(resolve, 5))
        return []
      },
      showNotification: async (title: string, options: Shown['options']) => {
        const before = looks
        await new Promise((resolve) => setTimeout(resolve, 5))
        if (looks === before) await showNotification.call(registration, title, options)
      },
    })
  }

  /** Locks as browsers have them, as far as they are needed. */
  class FakeLocks {
    #last: Promise<unknown> = Promise.resolve()
    async request(_name: string, { signal }: { signal: AbortSignal }, run: () => Promise<unknown>): Promise<unknown> {
      const turn = Promise.race([this.#last, new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))]).then(run)
      this.#last = turn.catch(() => undefined)
      return turn
    }
    /** Whoever has the lock is frozen. */
    hold(): void {
      this.#last = new Promise(() => undefined)
    }
  }

  test('pushes that come together are all kept', async () => {
    const worker = new FakeWorker()
    Object.assign(navigator, { locks: new FakeLocks() })
    forgetful()
    const pushing: Promise<void>[] = []
    for (const id of ['1', '2', '3', '4']) {
      pushing.push(worker.push({ ...notice, id }))
      await new Promise((resolve) => setTimeout(resolve, 7))
    }
    await Promise.all(pushing)
    expect(worker.shown.map(({ options }) => options.tag)).toEqual(['1', '2', '3', '4'])
  })

  test('who never gives the turn away, or has no locks to give, holds up no push for long', async () => {
    const worker = new FakeWorker()
    const locks = new FakeLocks()
    Object.assign(navigator, { locks })
    locks.hold()
    await worker.push(notice)
    expect(worker.shown).toHaveLength(1)
    Object.assign(navigator, { locks: { request: () => Promise.reject(new DOMException('not here', 'SecurityError')) } })
    await worker.push({ ...notice, id: 'another' })
    expect(worker.shown).toHaveLength(2)
  })
})

describe('a click', () => {
  const click = async (worker: FakeWorker, data: unknown) => {
    let closed = 0
    await worker.send('notificationclick', { notification: { data, close: () => closed++ } })
    return closed
  }

  test('goes to the tab in sight, which is told', async () => {
    const worker = new FakeWorker()
    const hidden = worker.tab([], { visibilityState: 'hidden' })
    const seen = worker.tab()
    expect(await click(worker, { rota: { id: 'chat-7/3', kind: 'turn', url: '/app/chats/7' } })).toBe(1)
    expect([hidden.said, hidden.focusedTimes, seen.focusedTimes, worker.opened]).toEqual([[], 0, 1, []])
    expect(seen.said).toEqual([{ type: 'rota-push', what: 'clicked', id: 'chat-7/3', kind: 'turn', url: 'https://desk.test/app/chats/7' }])
  })

  test('goes to a tab out of sight where there is no other, and tells it even where it may not be put in front', async () => {
    const worker = new FakeWorker()
    worker.tab([], { url: 'https://desk.test/elsewhere' })
    const hidden = worker.tab([], { visibilityState: 'hidden', focus: () => Promise.reject(new Error('not allowed')) })
    await click(worker, { rota: {} })
    expect([hidden.said, worker.opened]).toEqual([[{ type: 'rota-push', what: 'clicked', url: SCOPE }], []])
  })

  test('opens where it leads when there is no tab', async () => {
    const worker = new FakeWorker()
    await click(worker, { rota: { id: 'x', url: 'chats/7' } })
    expect(worker.opened).toEqual(['https://desk.test/app/chats/7'])
  })

  test.each(['https://evil.test/', '//evil.test', 'javascript:alert(1)', 'http://desk.test/', 'https://['])('leads never to another origin, whatever came: %s', async (url) => {
    const worker = new FakeWorker()
    await click(worker, { rota: { url } })
    expect(worker.opened).toEqual([SCOPE])
  })

  test.each([undefined, null, { theirs: 1 }, { rota: 'x' }])('on a notification of somebody else is none of its business: %j', async (data) => {
    const worker = new FakeWorker()
    expect([await click(worker, data), worker.opened]).toEqual([0, []])
  })
})

describe('a subscription that the browser has replaced', () => {
  const old = { endpoint: 'https://push.test/old', options: { userVisibleOnly: true, applicationServerKey: new ArrayBuffer(65) } }

  test('is made again where the browser has not, handed over, and told to the tabs', async () => {
    const stored: unknown[] = []
    const worker = new FakeWorker({ onSubscriptionChange: (renewed, before) => stored.push([renewed.endpoint, before]) })
    const tab = worker.tab()
    await worker.send('pushsubscriptionchange', { oldSubscription: old })
    expect(worker.subscribed).toEqual([{ userVisibleOnly: true, applicationServerKey: old.options.applicationServerKey }])
    expect([stored, tab.said]).toEqual([[['https://push.test/new', old.endpoint]], [{ type: 'rota-push', what: 'changed' }]])
    await worker.send('pushsubscriptionchange', { oldSubscription: old, newSubscription: { endpoint: 'https://push.test/theirs' } })
    expect([worker.subscribed.length, stored[1]]).toEqual([1, ['https://push.test/theirs', old.endpoint]])
  })

  test('is the next tab’s affair where nothing can be done', async () => {
    const worker = new FakeWorker({
      onSubscriptionChange() {
        throw new Error('the server is away')
      },
    })
    const tab = worker.tab()
    await worker.send('pushsubscriptionchange', {})
    await worker.send('pushsubscriptionchange', { oldSubscription: old })
    expect(tab.said).toHaveLength(2)
  })
})
