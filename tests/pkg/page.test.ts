// @vitest-environment happy-dom
import { init } from 'rota-engine'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { isLive, open, openLive, pause, seeded, until, type World } from './world.js'

let store: World['store']
let backend: World['backend']
let visibility: DocumentVisibilityState = 'visible'

beforeAll(init)
beforeEach(async () => {
  visibility = 'visible'
  vi.spyOn(document, 'visibilityState', 'get').mockImplementation(() => visibility)
  ;({ store, backend } = await openLive())
})

const city = () => store.get('companies', 'c1')?.city
/** Changes something of which the stream says nothing. */
const changeSilently = (name: string) => backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: name, owner_id: null, extra: null }, { silently: true })
const pageEvent = (name: 'pagehide' | 'pageshow', persisted: boolean) => Object.assign(new Event(name), { persisted })
const hide = (persisted = true) => globalThis.dispatchEvent(pageEvent('pagehide', persisted))
const isAway = () => until(() => expect(store.status()).toMatchObject({ role: 'follower', link: { state: 'offline' } }))
const isBack = () => isLive(store)

describe('a page that is about to go', () => {
  test.each([
    ['pagehide, kept for the way back', () => hide(true)],
    ['pagehide, perhaps for good', () => hide(false)],
    ['freeze', () => document.dispatchEvent(new Event('freeze'))],
  ])('lets go of its link: %s', async (_what, leave) => {
    leave()
    await isAway()
    expect(backend.disconnects).toBe(1)
    expect(backend.listener).toBeUndefined()
  })

  test('keeps what shows, and takes changes, which are sent when it is back', async () => {
    hide()
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(city()).toBe('Kiel')
    await pause(20)
    expect(backend.pushes).toHaveLength(0)
    globalThis.dispatchEvent(pageEvent('pageshow', true))
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
  })
})

describe('a page that comes back fetches what it missed, whichever event says so', () => {
  test.each([
    ['pageshow of a page that was kept', () => globalThis.dispatchEvent(pageEvent('pageshow', true))],
    ['pageshow that says it was not kept', () => globalThis.dispatchEvent(pageEvent('pageshow', false))],
    ['resume', () => document.dispatchEvent(new Event('resume'))],
    ['visibilitychange alone', () => document.dispatchEvent(new Event('visibilitychange'))],
    ['no word, but somebody moves the pointer', () => globalThis.dispatchEvent(new Event('pointermove'))],
    ['no word, but the window has the focus', () => globalThis.dispatchEvent(new Event('focus'))],
    ['no word, but somebody wants the link', () => store.reconnect()],
  ])('%s', async (_what, comeBack) => {
    hide()
    await isAway()
    changeSilently('missed')
    comeBack()
    await isBack()
    expect(city()).toBe('missed')
  })

  test('no word at all: its own timer does', async () => {
    hide()
    await isAway()
    changeSilently('missed')
    await vi.waitFor(() => expect(city()).toBe('missed'), { timeout: 8_000, interval: 50 })
    await isBack()
  })

  test('resume without a freeze, and pageshow of a page that loads, do no harm', async () => {
    const { connects } = backend
    globalThis.dispatchEvent(pageEvent('pageshow', false))
    document.dispatchEvent(new Event('resume'))
    await pause(10)
    expect(store.status()).toMatchObject({ link: { state: 'live' } })
    expect(backend.connects).toBe(connects)
  })

  test('whoever left twice comes back once', async () => {
    hide()
    document.dispatchEvent(new Event('freeze'))
    await isAway()
    const { connects } = backend
    document.dispatchEvent(new Event('resume'))
    globalThis.dispatchEvent(pageEvent('pageshow', true))
    await isBack()
    expect(backend.connects).toBe(connects + 1)
  })
})

describe('who looks at the page decides how often is fetched without a stream', () => {
  beforeEach(() => {
    store.close()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
  })
  afterEach(() => vi.useRealTimers())

  const openPolling = async () => {
    const without = seeded()
    without.comesUp = false
    ;({ store, backend } = open(without, { link: { polling: { activeMs: 1_000, idleMs: 10_000, hiddenMs: 3_600_000 } } }))
    await vi.advanceTimersByTimeAsync(20_000)
  }
  const pullsIn = async (seconds: number, meanwhile = () => {}) => {
    const before = backend.pulls.length
    for (let second = 0; second < seconds; second++) {
      meanwhile()
      await vi.advanceTimersByTimeAsync(1_000)
    }
    return backend.pulls.length - before
  }
  const press = () => globalThis.dispatchEvent(new Event('keydown'))

  test('often while somebody works in it, however long; rarely once nobody has touched it for a minute', async () => {
    await openPolling()
    expect(await pullsIn(100, press)).toBeGreaterThan(80)
    await pullsIn(60)
    expect(await pullsIn(100)).toBeLessThan(15)
    press()
    await pullsIn(10)
    expect(await pullsIn(30)).toBeGreaterThan(25)
  })

  test('hardly ever while it is hidden, even where no event tells of that', async () => {
    await openPolling()
    visibility = 'hidden'
    await pullsIn(62)
    expect(await pullsIn(600)).toBe(0)
    visibility = 'visible'
    press()
    await pullsIn(2)
    expect(await pullsIn(30)).toBeGreaterThan(25)
  })

  test('a page that is opened in the background is hidden', async () => {
    visibility = 'hidden'
    await openPolling()
    expect(await pullsIn(600)).toBe(0)
  })

  test('a page that is left has no timer for it', async () => {
    await openPolling()
    store.close()
    await vi.advanceTimersByTimeAsync(10)
    expect(vi.getTimerCount()).toBe(0)
  })
})
