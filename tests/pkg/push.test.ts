import { init, type RotaError } from 'rota-engine'
import { createPush, type KeptSubscription, type Push, type PushOptions } from 'rota-engine/push'
import { supabaseSubscriptions } from 'rota-engine/supabase'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { Lines, openTab } from './browser.js'
import { isLive, pause, seeded, until } from './world.js'

beforeAll(init)

const KEY = `B${'A'.repeat(86)}`
const OTHER_KEY = `BB${'A'.repeat(85)}`
const MARK = 'rota-push:https://desk.test/'

const bytes = (key: string): ArrayBuffer => new Uint8Array(Buffer.from(key, 'base64url')).buffer

/** What a browser has of pushes, and the server's list of who is where. */
class FakePushes {
  permission = 'default'
  /** What a person answers when they are asked. */
  answer = 'granted'
  asked = 0
  isActive = true
  subscription: FakeSubscription | null = null
  /** Those that are at an end. */
  readonly ended: string[] = []
  failsWith: unknown
  readonly rows = new Map<string, string>()
  isServerAway = false
  saves = 0
  shown: { title: string; options: NotificationOptions }[] = []
  hear: ((event: MessageEvent) => void)[] = []
  #made = 0

  constructor() {
    const registration = {
      scope: 'https://desk.test/',
      pushManager: { getSubscription: async () => this.subscription, subscribe: (given: { applicationServerKey: Uint8Array<ArrayBuffer> }) => this.#subscribe(given) },
      showNotification: async (title: string, options: NotificationOptions) => void this.shown.push({ title, options }),
      getNotifications: async ({ tag }: { tag: string }) => this.shown.filter(({ options }) => options.tag === tag),
    }
    const serviceWorker = {
      ready: Promise.resolve(registration),
      getRegistration: async () => registration,
      addEventListener: (_type: string, listener: (event: MessageEvent) => void, { signal }: { signal: AbortSignal }) => {
        this.hear.push(listener)
        signal.addEventListener('abort', () => (this.hear = this.hear.filter((other) => other !== listener)))
      },
      startMessages() {},
    }
    const isActive = () => this.isActive
    vi.stubGlobal('navigator', { serviceWorker, userAgent: 'Test/1.0', userActivation: { get isActive() { return isActive() } } })
    vi.stubGlobal('PushManager', function PushManager() {})
    const permission = () => this.permission
    vi.stubGlobal('Notification', {
      get permission() {
        return permission()
      },
      requestPermission: async () => {
        this.asked++
        return (this.permission = this.answer)
      },
    })
  }

  async #subscribe({ applicationServerKey }: { applicationServerKey: Uint8Array<ArrayBuffer> }): Promise<FakeSubscription> {
    if (this.failsWith) throw this.failsWith
    return (this.subscription = this.make(applicationServerKey.buffer))
  }

  make(applicationServerKey: ArrayBuffer): FakeSubscription {
    const endpoint = `https://push.test/${++this.#made}`
    return {
      endpoint,
      options: { userVisibleOnly: true, applicationServerKey },
      toJSON: () => ({ endpoint, keys: { p256dh: 'p', auth: 'a' } }),
      unsubscribe: async () => {
        this.ended.push(endpoint)
        if (this.subscription?.endpoint === endpoint) this.subscription = null
        return true
      },
    }
  }

  /** The server's side, as somebody is signed in. */
  as(user: string): PushOptions['subscriptions'] {
    const ask = async () => {
      await pause(1)
      if (this.isServerAway) throw new Error('the server is away')
    }
    return {
      save: async ({ endpoint }: KeptSubscription) => {
        await ask()
        this.saves++
        this.rows.set(endpoint, user)
      },
      remove: async (endpoint) => {
        await ask()
        if (this.rows.get(endpoint) === user) this.rows.delete(endpoint)
      },
    }
  }

  say(data: unknown): unknown[] {
    const answers: unknown[] = []
    const ports = [{ postMessage: (answer: unknown) => answers.push(answer) }]
    for (const hear of this.hear) hear({ data, ports } as unknown as MessageEvent)
    return answers
  }
}

interface FakeSubscription {
  readonly endpoint: string
  readonly options: { readonly userVisibleOnly: boolean; readonly applicationServerKey: ArrayBuffer }
  toJSON(): PushSubscriptionJSON
  unsubscribe(): Promise<boolean>
}

let browser: FakePushes
let tab: ReturnType<typeof openTab>
const problems: RotaError[] = []
const opened: Push[] = []

beforeEach(() => {
  browser = new FakePushes()
  problems.length = 0
  tab = openTab()
})
afterEach(() => {
  for (const push of opened.splice(0)) push.close()
})

function begin(user = 'maya', more: Partial<PushOptions> = {}): Push {
  const push = createPush({ store: tab.store, user, publicKey: KEY, subscriptions: browser.as(user), onProblem: (problem) => problems.push(problem), ...more })
  opened.push(push)
  return push
}

const codeOf = (promise: Promise<unknown>): Promise<string> => promise.then(() => 'done', ({ code }: RotaError) => code)

/** Somebody is signed in, and reached. */
async function subscribed(user = 'maya'): Promise<Push> {
  const push = begin(user)
  await push.subscribe()
  return push
}

describe('a person', () => {
  test('is asked when they click, and then reached with every tab closed', async () => {
    const push = begin()
    await pause(5)
    expect([browser.asked, await push.state(), push.permission]).toEqual([0, 'off', 'default'])
    await push.subscribe()
    expect([browser.asked, await push.state()]).toEqual([1, 'on'])
    expect([...browser.rows]).toEqual([['https://push.test/1', 'maya']])
    await push.subscribe()
    expect([browser.asked, browser.rows.size, browser.saves]).toEqual([1, 1, 1])
  })

  test.each([
    ['has not clicked on anything', 'push-needs-gesture', () => (browser.isActive = false)],
    ['says no', 'push-denied', () => (browser.answer = 'denied')],
    ['has said no before, and is not asked again', 'push-denied', () => (browser.permission = 'denied')],
    ['closes the question', 'push-dismissed', () => (browser.answer = 'default')],
    ['has a browser that can’t', 'push-unsupported', () => vi.stubGlobal('navigator', {})],
    ['has a browser whose push service is away', 'push-failed', () => (browser.failsWith = new DOMException('push service error', 'AbortError'))],
    ['may not subscribe after all', 'push-denied', () => (browser.failsWith = new DOMException('not allowed', 'NotAllowedError'))],
    ['has a server that is away', 'push-not-saved', () => (browser.isServerAway = true)],
  ])('who %s hears so: %s, and nothing stays behind', async (_what, code, arrange) => {
    const push = begin()
    await pause(5)
    arrange()
    expect(await codeOf(push.subscribe())).toBe(code)
    expect([browser.subscription, browser.rows.size, localStorage.getItem(MARK)]).toEqual([null, 0, null])
    expect(await push.state()).not.toBe('on')
    if (code === 'push-denied' && browser.permission === 'denied') expect(await push.state()).toBe('denied')
  })

  test('hears that there is no worker', async () => {
    vi.useFakeTimers()
    Object.assign(navigator.serviceWorker, { ready: new Promise(() => undefined), getRegistration: async () => undefined })
    const code = codeOf(begin().subscribe())
    await vi.advanceTimersByTimeAsync(10_000)
    expect(await code).toBe('push-no-worker')
    vi.useRealTimers()
  })

  test('hears that the push service does not answer, and what it answers later counts for nothing', async () => {
    const push = begin()
    await pause(5)
    let answer = (_subscription: FakeSubscription): void => undefined
    const registration = await navigator.serviceWorker.ready
    Object.assign(registration.pushManager, { subscribe: () => new Promise((resolve) => (answer = resolve)) })
    vi.useFakeTimers()
    const code = codeOf(push.subscribe())
    await vi.advanceTimersByTimeAsync(30_000)
    expect(await code).toBe('push-failed')
    vi.useRealTimers()
    answer((browser.subscription = browser.make(bytes(KEY))))
    await until(() => expect([browser.subscription, browser.rows.size]).toEqual([null, 0]))
  })

  test('turns it off again', async () => {
    const push = await subscribed()
    await push.unsubscribe()
    expect([await push.state(), browser.subscription, browser.rows.size, localStorage.getItem(MARK)]).toEqual(['off', null, 0, null])
    await push.unsubscribe()
  })

  test('turns it off where the server is away: then nobody is there any more', async () => {
    const push = await subscribed()
    browser.isServerAway = true
    await push.unsubscribe()
    expect([browser.ended, await push.state()]).toEqual([['https://push.test/1'], 'off'])
  })

  test('hears where neither the server nor the browser lets it be ended', async () => {
    const push = await subscribed()
    browser.isServerAway = true
    Object.assign(browser.subscription!, { unsubscribe: async () => false })
    expect(await codeOf(push.unsubscribe())).toBe('push-failed')
    expect(await push.state()).toBe('on')
  })
})

describe('a subscription', () => {
  test('ends with a logout, which waits for it', async () => {
    await subscribed()
    await isLive(tab.store)
    await tab.store.logout()
    expect([browser.subscription, browser.rows.size, localStorage.getItem(MARK)]).toEqual([null, 0, null])
  })

  test('ends with a logout in another tab, and with a purge', async () => {
    const lines = new Lines(seeded())
    tab = openTab(lines.one())
    const other = openTab(lines.one())
    await Promise.all([isLive(tab.store), isLive(other.store)])
    await subscribed()
    await other.store.logout()
    await until(() => expect([browser.subscription, browser.rows.size]).toEqual([null, 0]))
    tab = openTab()
    await subscribed()
    tab.store.close({ purge: true })
    await until(() => expect([browser.subscription, browser.rows.size]).toEqual([null, 0]))
  })

  test('stays when a store or the pushes are closed, and ends with the logout all the same', async () => {
    const push = await subscribed()
    push.close()
    await isLive(tab.store)
    await pause(5)
    expect(browser.rows.size).toBe(1)
    await tab.store.logout()
    expect([browser.subscription, browser.rows.size]).toEqual([null, 0])
    tab = openTab()
    await subscribed()
    tab.store.close()
    await pause(5)
    expect(browser.rows.size).toBe(1)
  })

  test('of whoever was signed in before ends before anything else is done', async () => {
    await subscribed('maya')
    tab.store.close()
    tab = openTab()
    const jonas = begin('jonas')
    await until(() => expect(browser.subscription).toBeNull())
    expect([browser.ended, await jonas.state()]).toEqual([['https://push.test/1'], 'off'])
    await jonas.subscribe()
    expect(browser.rows.get('https://push.test/2')).toBe('jonas')
    expect(localStorage.getItem(MARK)).not.toContain('maya')
  })

  test('of whom nobody knows is taken for somebody else’s', async () => {
    browser.permission = 'granted'
    browser.subscription = browser.make(bytes(KEY))
    begin()
    await until(() => expect(browser.ended).toEqual(['https://push.test/1']))
  })

  test('that is asked for while the person signs out is none', async () => {
    const push = begin()
    await isLive(tab.store)
    const asking = codeOf(push.subscribe())
    await tab.store.logout()
    await asking
    await until(() => expect([browser.subscription, browser.rows.size, localStorage.getItem(MARK)]).toEqual([null, 0, null]))
    expect(await codeOf(push.subscribe())).toBe('closed')
  })

  test('that the browser makes while the person signs out is never told to the server', async () => {
    const push = begin()
    await isLive(tab.store)
    let answer = (_subscription: FakeSubscription): void => undefined
    const registration = await navigator.serviceWorker.ready
    Object.assign(registration.pushManager, { subscribe: () => new Promise((resolve) => (answer = resolve)) })
    const asking = codeOf(push.subscribe())
    await pause(5)
    tab.store.onSignedOut(() => answer((browser.subscription = browser.make(bytes(KEY)))))
    await tab.store.logout()
    expect([await asking, browser.saves, browser.subscription, browser.rows.size, problems]).toEqual(['closed', 0, null, 0, []])
  })

  test('a logout does not wait for ever for a server that does not answer', async () => {
    await subscribed()
    await isLive(tab.store)
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const isAsked = new Promise<void>((resolve) => Object.assign(browser.subscription!, { unsubscribe: () => (resolve(), new Promise(() => undefined)) }))
    let isOut = false
    const out = tab.store.logout().then(() => (isOut = true))
    await isAsked
    await vi.advanceTimersByTimeAsync(4_900)
    expect(isOut).toBe(false)
    await vi.advanceTimersByTimeAsync(200)
    await out
    vi.useRealTimers()
  })

  test('that the browser has replaced, or dropped, is made anew and saved, and the old one is forgotten', async () => {
    await subscribed()
    browser.subscription = browser.make(bytes(KEY))
    browser.say({ type: 'rota-push', what: 'changed' })
    await until(() => expect([...browser.rows]).toEqual([['https://push.test/2', 'maya']]))
    browser.subscription = null
    opened.pop()!.close()
    const again = begin()
    await until(() => expect([...browser.rows]).toEqual([['https://push.test/3', 'maya']]))
    expect([browser.asked, await again.state()]).toEqual([1, 'on'])
  })

  test('under another key of the application’s is made anew', async () => {
    await subscribed()
    opened.pop()!.close()
    const push = begin('maya', { publicKey: OTHER_KEY })
    await until(() => expect([...browser.rows.keys()]).toEqual(['https://push.test/2']))
    expect([browser.ended, await push.state()]).toEqual([['https://push.test/1'], 'on'])
    expect(new Uint8Array(browser.subscription!.options.applicationServerKey)).toEqual(new Uint8Array(bytes(OTHER_KEY)))
  })

  test('is forgotten when the person has taken the permission back', async () => {
    await subscribed()
    opened.pop()!.close()
    browser.permission = 'denied'
    browser.subscription = null
    const push = begin()
    await until(() => expect(browser.rows.size).toBe(0))
    expect([localStorage.getItem(MARK), await push.state()]).toEqual([null, 'denied'])
  })

  test('is told to the server again once a day, and not with each page', async () => {
    await subscribed()
    for (let page = 0; page < 3; page++) {
      opened.pop()!.close()
      begin()
      await pause(5)
    }
    expect(browser.saves).toBe(1)
    localStorage.setItem(MARK, JSON.stringify({ user: 'maya', endpoint: 'https://push.test/1', savedAtMs: Date.now() - 25 * 3_600_000 }))
    opened.pop()!.close()
    begin()
    await until(() => expect(browser.saves).toBe(2))
  })

  test('that can’t be renewed is reported, and no error goes astray', async () => {
    await subscribed()
    browser.subscription = null
    browser.isServerAway = true
    opened.pop()!.close()
    begin()
    await until(() => expect(problems.map(({ code }) => code)).toEqual(['push-not-saved']))
    expect(browser.subscription).toBeNull()
  })
})

describe('the worker', () => {
  const has = (id: string) => browser.say({ type: 'rota-push', what: 'has', id })
  const notice = { kind: 'turn', message: 'Your turn', id: 'chat-7/3' } as const

  test('hears what this tab has shown in the application, closed or not', async () => {
    begin()
    await isLive(tab.store)
    expect(has('chat-7/3')).toEqual([{ has: false }])
    tab.store.notifications.createNotification(notice)
    tab.store.notifications.close('chat-7/3')
    tab.store.notifications.createNotification({ ...notice, id: 'chat-7/4' })
    expect([has('chat-7/3'), has('chat-7/4')]).toEqual([[{ has: true }], [{ has: true }]])
  })

  test('shows what the application would have the browser show, under the same tag, once', async () => {
    const push = begin()
    await isLive(tab.store)
    browser.permission = 'granted'
    await tab.store.notifications.showInBrowser({ title: 'Desk', show: push.show })
    tab.store.notifications.createNotification({ ...notice, sound: false })
    await until(() => expect(browser.shown).toEqual([{ title: 'Desk', options: { body: 'Your turn', tag: 'chat-7/3', silent: true, data: { rota: { id: 'chat-7/3', kind: 'turn' } } } }]))
    // What came by push first, and is here after it, or was closed.
    browser.say({ type: 'rota-push', what: 'shown', id: 'chat-7/4' })
    tab.store.notifications.createNotification({ ...notice, id: 'chat-7/4' })
    browser.shown.push({ title: 'Desk', options: { tag: 'chat-7/5' } })
    tab.store.notifications.createNotification({ ...notice, id: 'chat-7/5' })
    await pause(5)
    expect(browser.shown.map(({ options }) => options.tag)).toEqual(['chat-7/3', 'chat-7/5'])
  })

  test('tells of clicks, until nobody listens', async () => {
    const push = begin()
    const clicks: unknown[] = []
    const stop = push.onClick((click) => clicks.push(click))
    const click = { type: 'rota-push', what: 'clicked', id: 'x', kind: 'turn', url: 'https://desk.test/chats/7' }
    browser.say(click)
    await pause(1)
    expect(clicks).toEqual([{ id: 'x', kind: 'turn', url: 'https://desk.test/chats/7' }])
    stop()
    browser.say(click)
    await pause(1)
    push.close()
    expect([clicks.length, browser.hear.length]).toEqual([1, 0])
  })

  test('may say what it likes to others', () => {
    begin()
    for (const data of [null, 'text', 7, { type: 'theirs' }, { type: 'rota-push', what: 'dance' }]) expect(browser.say(data)).toEqual([])
  })
})

test.each([
  ['no person', { user: '' }],
  ['a key that is none', { publicKey: 'short' }],
  ['a key that is no base64', { publicKey: '§'.repeat(87) }],
  ['nowhere to keep subscriptions', { subscriptions: {} as never }],
])('%s is refused', (_what, wrong) => {
  expect(() => begin('maya', wrong)).toThrow(expect.objectContaining({ code: 'invalid-configuration' }))
})

test('where there is no browser nothing is done, and said', async () => {
  vi.unstubAllGlobals()
  const push = begin()
  expect([push.permission, await push.state(), await codeOf(push.subscribe())]).toEqual(['unsupported', 'unsupported', 'push-unsupported'])
  await push.unsubscribe()
  await isLive(tab.store)
  await tab.store.logout()
})

test('Supabase keeps them by the server kit, as whoever is signed in', async () => {
  const calls: unknown[] = []
  let error: { message: string } | null = null
  const client = {
    rpc: async (...given: unknown[]) => {
      calls.push(given)
      return { error }
    },
    from: (table: string) => ({
      delete: () => ({
        eq: async (...given: unknown[]) => {
          calls.push([table, ...given])
          return { error }
        },
      }),
    }),
  }
  const subscriptions = supabaseSubscriptions(client as never)
  await subscriptions.save({ endpoint: 'https://push.test/1', p256dh: 'p', auth: 'a', userAgent: 'Test/1.0' })
  await subscriptions.remove('https://push.test/1')
  expect(calls).toEqual([
    ['save_push_subscription', { p_endpoint: 'https://push.test/1', p_p256dh: 'p', p_auth: 'a', p_user_agent: 'Test/1.0' }],
    ['push_subscriptions', 'endpoint', 'https://push.test/1'],
  ])
  error = { message: 'this subscription belongs to somebody else' }
  await expect(subscriptions.save({} as never)).rejects.toThrow('somebody else')
  await expect(subscriptions.remove('x')).rejects.toThrow('somebody else')
})

test('a store tells once of a sign-out, waits for who wants it to, and a listener that throws keeps nobody', async () => {
  await isLive(tab.store)
  const heard: string[] = []
  const reported = vi.spyOn(console, 'error').mockReturnValue()
  tab.store.onSignedOut(() => {
    throw new Error('a listener of somebody else')
  })
  tab.store.onSignedOut(async () => {
    await pause(10)
    heard.push(`slow, closed: ${tab.store.isClosed}`)
  })
  tab.store.onSignedOut(() => heard.push('stopped'))()
  await tab.store.logout()
  expect([heard, reported.mock.calls.length]).toEqual([['slow, closed: true'], 1])
  expect(() => tab.store.onSignedOut(() => undefined)).toThrow(expect.objectContaining({ code: 'closed' }))
})
