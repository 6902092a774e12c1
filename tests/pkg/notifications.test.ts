import { init, type NotificationKind } from 'rota-engine'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { FakeLocks, Lines, openTab } from './browser.js'
import { isLive, open, openLive, pause, refusal, seeded, until, type World } from './world.js'

beforeAll(init)

let store: World['store']
let backend: World['backend']

beforeEach(async () => {
  ;({ store, backend } = await openLive())
})

afterEach(() => vi.useRealTimers())

const say = (message: string, kind: NotificationKind = 'turn', more: object = {}) => store.notifications.createNotification({ kind, message, ...more })
const shown = (component = 'board', of = store) => of.notifications.shown(component).map(({ message }) => message)

describe('notifications', () => {
  test('are shown in the order in which they came about, each once', () => {
    expect(say('second', 'turn', { id: 'b', atMs: 2_000 })).toEqual({ id: 'b', state: 'shown' })
    say('first', 'status', { id: 'a', atMs: 1_000 })
    expect(say('second, again', 'turn', { id: 'b' }).state).toBe('known')
    expect(store.notifications.shown('board')).toEqual([
      { id: 'a', kind: 'status', message: 'first', atMs: 1_000, sound: true },
      { id: 'b', kind: 'turn', message: 'second', atMs: 2_000, sound: true },
    ])
  })

  test('are the same list until something changes, and listeners hear of it once', () => {
    let heard = 0
    store.notifications.subscribe(() => heard++)
    const before = store.notifications.shown('board')
    expect(store.notifications.shown('board')).toBe(before)
    say('one')
    expect([heard, shown()]).toEqual([1, ['one']])
    const after = store.notifications.shown('board')
    store.notifications.configure('elsewhere', { turn: { enabled: false } })
    expect(store.notifications.shown('board')).toBe(after)
    heard = 0
    store.batch(() => {
      say('two')
      say('three')
    })
    expect(heard).toBe(1)
  })

  test('that a component keeps are not pushed out by what nobody shows any more, and come once', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const problems: string[] = []
    store.onProblem(({ code }) => problems.push(code))
    store.notifications.configure('bell', { turn: { autoCloseMs: null }, action: { enabled: false }, status: { enabled: false } })
    say('stays', 'turn', { id: 'stays' })
    for (let n = 0; n < 2_500; n++) {
      say(`${n}`, 'action')
      vi.advanceTimersByTime(5_000)
    }
    expect([shown('bell'), problems]).toEqual([['stays'], []])
    expect(say('stays', 'turn', { id: 'stays' }).state).toBe('known')
    for (let n = 0; n < 200; n++) say(`turn ${n}`, 'turn')
    expect([shown('bell').length, shown('bell').includes('stays'), problems]).toEqual([200, false, ['notifications-full']])
  })

  test('that can not be are refused by name, and so are settings, all or none of them', () => {
    const bad = [
      () => store.notifications.createNotification(undefined as never),
      () => say('half \ud800'),
      () => say('x', 'turn', { id: '\udc00' }),
      () => say('nothing \0'),
      () => store.notifications.configure('bell', null as never),
      () => store.notifications.configure('bell', { turn: { enabled: false }, bogus: {} } as never),
      () => store.notifications.configure('bell', { turn: { enabled: false }, status: { autoCloseMs: Number.NaN } }),
      () => store.notifications.configure('bell', { turn: { enabled: false, colour: 'red' } } as never),
    ]
    expect(bad.map((call) => refusal(call).code)).toEqual(bad.map(() => 'invalid-value'))
    say('one')
    expect(shown('bell')).toEqual(['one'])
    store.close()
    expect(refusal(() => store.notifications.configure('bell', {})).code).toBe('closed')
  })

  test('go by themselves after their time: ten seconds, five, three, or what a component says', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const seen: string[][] = []
    store.notifications.configure('wall', { status: { autoCloseMs: null }, turn: { autoCloseMs: 1_000 } })
    const look = () => seen.push(shown())
    store.notifications.subscribe(look)
    for (const kind of ['turn', 'action', 'status'] as const) say(kind, kind)
    expect(shown('wall')).toEqual(['turn', 'action', 'status'])
    seen.length = 0
    vi.advanceTimersByTime(3_100)
    expect([seen.at(-1), shown('wall')]).toEqual([['turn', 'action'], ['action', 'status']])
    vi.advanceTimersByTime(2_000)
    expect([seen.at(-1), shown('wall')]).toEqual([['turn'], ['status']])
    vi.advanceTimersByTime(5_000)
    expect([seen.at(-1), shown('wall')]).toEqual([[], ['status']])
  })

  test('are switched off, silenced and closed, by component and kind', () => {
    const { id } = say('one')
    say('two', 'action')
    say('silent', 'action', { sound: false })
    store.notifications.configure('quiet', { turn: { sound: false }, action: { enabled: false } })
    const sounds = (component: string) => store.notifications.shown(component).map(({ message, sound }) => [message, sound])
    expect(sounds('quiet')).toEqual([['one', false]])
    expect(sounds('board')).toEqual([['one', true], ['two', true], ['silent', false]])
    store.notifications.forget('quiet')
    expect(sounds('quiet')).toEqual(sounds('board'))
    store.notifications.close(id)
    expect(shown()).toEqual(['two', 'silent'])
    expect(say('one', 'turn', { id }).state).toBe('known')
  })

  test('wait while there is no link, and come in order when it is back', async () => {
    backend.online = false
    backend.cut()
    await until(() => expect(store.status().link.state).toBe('offline'))
    expect(say('second', 'turn', { atMs: 2 }).state).toBe('waits')
    expect(say('first', 'turn', { atMs: 1 }).state).toBe('waits')
    const { id } = say('closed meanwhile', 'turn', { atMs: 3 })
    store.notifications.close(id)
    expect(shown()).toEqual([])
    let heard = 0
    store.notifications.subscribe(() => heard++)
    backend.online = true
    store.reconnect()
    await until(() => expect(shown()).toEqual(['first', 'second']))
    expect(heard).toBeGreaterThan(0)
  })

  test('are kept in bounds: the oldest go first', () => {
    for (let n = 0; n < 250; n++) say(`n${n}`, 'turn', { atMs: n })
    expect([shown().length, shown()[0], shown().at(-1)]).toEqual([200, 'n50', 'n249'])
    for (let n = 0; n < 400; n++) store.notifications.shown(`component-${n}`)
    for (let n = 0; n < 256; n++) store.notifications.configure(`component-${n}`, { turn: { sound: false } })
    expect(refusal(() => store.notifications.configure('one more', { turn: {} })).code).toBe('too-many-components')
  })

  test('that make no sense are refused, and nothing is shown', () => {
    expect(refusal(() => say('x', 'shout' as never)).code).toBe('invalid-value')
    expect(refusal(() => say('x', 'turn', { id: '' })).code).toBe('invalid-value')
    expect(refusal(() => say(5 as never)).code).toBe('invalid-value')
    expect(refusal(() => say('é'.repeat(2_049))).code).toBe('invalid-value')
    expect(refusal(() => say('x', 'turn', { atMs: Number.NaN })).code).toBe('invalid-value')
    expect(refusal(() => store.notifications.configure('board', { turn: { autoCloseMs: -1 } })).code).toBe('invalid-value')
    expect(refusal(() => store.notifications.configure('board', { shout: {} } as never)).code).toBe('invalid-value')
    expect(shown()).toEqual([])
  })

  test('end with their store', () => {
    say('one')
    const before = store.stats().listeners
    store.notifications.subscribe(() => {})
    expect(store.stats().listeners).toBe(before + 1)
    store.close()
    expect([shown(), store.stats().listeners]).toEqual([[], 0])
    expect(refusal(() => say('two')).code).toBe('closed')
  })
})

describe('tabs', () => {
  const pair = async () => {
    const lines = new Lines(seeded())
    const tabs = [openTab(lines.one()).store, openTab(lines.one()).store]
    await Promise.all(tabs.map(isLive))
    for (const tab of tabs) tab.notifications.shown('board')
    return tabs as [World['store'], World['store']]
  }

  test.each(['by their channel', 'by storage'])('tell each other %s, each of the same once, and of what was closed', async (way) => {
    if (way === 'by storage') Object.assign(globalThis, { BroadcastChannel: undefined })
    const [one, two] = await pair()
    const { id } = one.notifications.createNotification({ kind: 'turn', message: 'one', id: 'c1/7' })
    await until(() => expect(shown('board', two)).toEqual(['one']))
    expect(two.notifications.createNotification({ kind: 'turn', message: 'one', id: 'c1/7' }).state).toBe('known')
    two.notifications.close(id)
    await until(() => expect(shown('board', one)).toEqual([]))
    await pause(5)
    expect([shown('board', one), shown('board', two)]).toEqual([[], []])
  })

  test('show one as the browser\'s own where the person has allowed it', async () => {
    const made: string[] = []
    class Notification {
      static permission = 'default'
      static async requestPermission() {
        return (Notification.permission = 'granted')
      }
      constructor(title: string, { body, tag, silent }: { body: string; tag: string; silent: boolean }) {
        made.push([title, body, tag, silent].join())
      }
    }
    vi.stubGlobal('Notification', Notification)
    const { store: alone } = open(seeded())
    expect(await alone.notifications.showInBrowser({ title: 'Desk', kinds: ['turn'] })).toBe('granted')
    alone.notifications.createNotification({ kind: 'status', message: 'not of this kind' })
    alone.notifications.createNotification({ kind: 'turn', message: 'your turn', id: 'a', sound: false })
    alone.notifications.createNotification({ kind: 'turn', message: 'your turn', id: 'a' })
    expect(made).toEqual(['Desk,your turn,a,true'])
    expect(await alone.notifications.showInBrowser(null)).toBe('granted')
    alone.notifications.createNotification({ kind: 'turn', message: 'no more' })
    expect(made).toHaveLength(1)
    Notification.permission = 'denied'
    expect(await alone.notifications.showInBrowser({ title: 'Desk' })).toBe('denied')
    alone.notifications.createNotification({ kind: 'turn', message: 'not allowed' })
    expect(made).toHaveLength(1)
    vi.stubGlobal('Notification', undefined)
    expect(await alone.notifications.showInBrowser({ title: 'Desk' })).toBe('unsupported')
  })

  test("leave the browser's own to the one that leads", async () => {
    const made: string[] = []
    const Notification = Object.assign(
      function (_: string, { body }: { body: string }) {
        made.push(body)
      },
      { permission: 'granted' },
    )
    vi.stubGlobal('Notification', Notification)
    vi.stubGlobal('navigator', { ...globalThis.navigator, locks: new FakeLocks() })
    const [one, two] = await pair()
    await until(() => expect([one.status().role, two.status().role].sort()).toEqual(['follower', 'leader']))
    for (const tab of [one, two]) await tab.notifications.showInBrowser({ title: 'Desk' })
    const [leader, follower] = one.status().role === 'leader' ? [one, two] : [two, one]
    follower.notifications.createNotification({ kind: 'turn', message: 'from the follower' })
    await until(() => expect(made).toEqual(['from the follower']))
    leader.notifications.createNotification({ kind: 'turn', message: 'from the leader' })
    await until(() => expect(shown('board', follower)).toHaveLength(2))
    await pause(5)
    expect(made).toEqual(['from the follower', 'from the leader'])
  })

  describe("are the browser's own in one tab,", () => {
    let made: string[]

    /** The tab that leads, the other one, and what the browser shows. */
    const tabs = async () => {
      made = []
      const Notification = Object.assign(
        function (title: string, { body }: { body: string }) {
          made.push(`${title}: ${body}`)
        },
        { permission: 'granted' },
      )
      vi.stubGlobal('Notification', Notification)
      vi.stubGlobal('navigator', { ...globalThis.navigator, locks: new FakeLocks() })
      const lines = new Lines(seeded())
      const [one, two] = [openTab(lines.one()).store, openTab(lines.one()).store]
      await Promise.all([isLive(one), isLive(two)])
      await until(() => expect([one.status().role, two.status().role].sort()).toEqual(['follower', 'leader']))
      return one.status().role === 'leader' ? { leader: one, follower: two, lines } : { leader: two, follower: one, lines }
    }
    const turn = (of: typeof store, message: string) => of.notifications.createNotification({ kind: 'turn', message })

    test('also where only another one than it has asked for them, or looked at any', async () => {
      const { leader, follower } = await tabs()
      await follower.notifications.showInBrowser({ title: 'Desk' })
      turn(follower, 'one')
      await until(() => expect(made).toEqual(['Desk: one']))
      turn(leader, 'two')
      await pause(10)
      expect(made).toEqual(['Desk: one', 'Desk: two'])
    })

    test('as was said last, in whichever tab, and in one that was opened later', async () => {
      const { leader, follower, lines } = await tabs()
      await leader.notifications.showInBrowser({ title: 'First' })
      await follower.notifications.showInBrowser({ title: 'Desk', kinds: ['turn'] })
      const { store: late } = openTab(lines.one())
      await isLive(late)
      late.notifications.createNotification({ kind: 'status', message: 'not of this kind' })
      turn(late, 'one')
      await until(() => expect(made).toEqual(['Desk: one']))
      leader.close()
      follower.close()
      await until(() => expect(late.status().role).toBe('leader'))
      turn(late, 'two')
      expect(made).toEqual(['Desk: one', 'Desk: two'])
      await late.notifications.showInBrowser(null)
      turn(late, 'three')
      await pause(10)
      expect(made).toHaveLength(2)
    })
  })

  test('are heard of in a tab that has only asked to be told', async () => {
    const [one, two] = await pair()
    const heard: string[][] = []
    two.notifications.subscribe(() => heard.push(shown('board', two)))
    one.notifications.createNotification({ kind: 'turn', message: 'hi' })
    await until(() => expect(heard.at(-1)).toEqual(['hi']))
  })
})
