/** Web Push in a real browser: a worker with the package's handler, pushes that the browser delivers to it, and tabs with a store. */

import { expect } from 'vitest'
import { inPlainPages, type PlainTab, type PlainWorld } from './plain/tab.js'

const NOTICE = { rota: 1, id: 'chat-7/3', title: 'Your turn', body: 'A chat waits for you', url: '/page?chat=7', kind: 'turn' }

inPlainPages((world) => {
  // The other engines let no driver deliver a push.
  if (world.engine !== 'chromium') return

  world.test('a push is shown with its words, and again it takes the place of the first', async () => {
    const tab = await openWithWorker(world)
    await tab.driver.push!(JSON.stringify(NOTICE))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/3']])
    await tab.driver.push!(JSON.stringify({ ...NOTICE, body: 'It still waits' }))
    await shows(tab, [['Your turn', 'It still waits', 'chat-7/3']])
    await tab.driver.push!(JSON.stringify({ ...NOTICE, id: 'chat-8/1', body: 'Another' }))
    await shows(tab, [['Your turn', 'Another', 'chat-8/1'], ['Your turn', 'It still waits', 'chat-7/3']])
  })

  world.test('pushes that come all at once are all kept, each with what a click on it needs', async () => {
    const tab = await openWithWorker(world)
    const ids = Array.from({ length: 12 }, (_, index) => `chat-${index + 10}`)
    await Promise.all(ids.map((id) => tab.driver.push!(JSON.stringify({ ...NOTICE, id }))))
    await shows(tab, ids.map((id) => ['Your turn', NOTICE.body, id]))
  })

  world.test('what can’t be read is shown as something that has happened', async () => {
    const tab = await openWithWorker(world)
    for (const text of ['', '{', 'null', '"text"', '{"rota":2}']) await tab.driver.push!(text)
    await shows(tab, [['Rota', '', 'rota-push']])
  })

  world.test('what a tab in sight has shown is not shown again, and what it has not is', async () => {
    const tab = await openWithWorker(world)
    await tab.driver.show()
    await tab.evaluate(() => window.plain.store!.notifications.createNotification({ kind: 'turn', message: 'A chat waits for you', id: 'chat-7/3' }))
    await tab.driver.push!(JSON.stringify(NOTICE))
    await tab.driver.push!(JSON.stringify({ ...NOTICE, id: 'chat-7/4' }))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/4']])
    // Out of sight nobody has seen it there.
    await putBehind(world, tab)
    await tab.driver.push!(JSON.stringify(NOTICE))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/3'], ['Your turn', 'A chat waits for you', 'chat-7/4']])
  })

  world.test('what the application has the browser show and what is pushed are one, in either order', async () => {
    const tab = await openWithWorker(world)
    await putBehind(world, tab)
    await tab.evaluate(async () => {
      await window.plain.store!.notifications.showInBrowser({ title: 'Your turn', show: window.plain.push!.show })
      window.plain.store!.notifications.createNotification({ kind: 'turn', message: 'From the tab', id: 'chat-7/3' })
    })
    await shows(tab, [['Your turn', 'From the tab', 'chat-7/3']])
    await tab.driver.push!(JSON.stringify(NOTICE))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/3']])
    await tab.driver.push!(JSON.stringify({ ...NOTICE, id: 'chat-7/4' }))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/3'], ['Your turn', 'A chat waits for you', 'chat-7/4']])
    await tab.evaluate(() => window.plain.store!.notifications.createNotification({ kind: 'turn', message: 'From the tab', id: 'chat-7/4' }))
    await new Promise((resolve) => setTimeout(resolve, 300))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/3'], ['Your turn', 'A chat waits for you', 'chat-7/4']])
  })

  world.test('a click closes the notification, and goes to the tab that is open, or opens one', async () => {
    const tab = await openWithWorker(world)
    await tab.driver.push!(JSON.stringify(NOTICE))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/3']])
    const origin = new URL(world.server.elsewhere).origin
    const opened = await click(tab)
    await shows(tab, [])
    expect(opened).toEqual([])
    expect(await tab.waitFor(() => window.plain.clicks!, ({ length }) => length > 0)).toEqual([{ id: 'chat-7/3', kind: 'turn', url: `${origin}/page?chat=7` }])
    await tab.driver.push!(JSON.stringify(NOTICE))
    await shows(tab, [['Your turn', 'A chat waits for you', 'chat-7/3']])
    expect(await click(tab, { alone: true })).toEqual([`${origin}/page?chat=7`])
  })

  world.test('who has blocked notifications is not asked, and hears so', async () => {
    const tab = await openWithWorker(world)
    await tab.driver.allowNotifications!(false)
    expect(await tab.evaluate(() => window.plain.push!.subscribe().then(() => 'done', ({ code }: { code: string }) => code))).toBe('push-denied')
    expect(await tab.evaluate(async () => [await window.plain.push!.state(), window.plain.kept!.size])).toEqual(['denied', 0])
  })
})

/** A tab with a store, a worker that is at work, and notifications that may be shown. */
async function openWithWorker(world: PlainWorld): Promise<PlainTab> {
  const tab = await world.open({ push: true })
  await tab.isLive()
  await tab.driver.allowNotifications!(true)
  return tab
}

/** Puts something else in front of a tab. */
async function putBehind(world: PlainWorld, tab: PlainTab): Promise<void> {
  const other = await world.open()
  await other.driver.show()
  await other.goto('about:blank')
  await tab.waitFor(() => document.visibilityState, (state) => state === 'hidden')
}

/** What the browser shows now: title, words and tag, in the order of the tags. Chromium forgets what is being shown while somebody asks, so this asks in turn. */
async function shows(tab: PlainTab, expected: readonly (readonly string[])[]): Promise<void> {
  const look = () =>
    tab.evaluate(async () => {
      const registration = await navigator.serviceWorker.ready
      const shown = await navigator.locks.request('rota-push-show', () => registration.getNotifications())
      return shown.map(({ title, body, tag }) => [title, body, tag])
    })
  const sorted = (list: readonly (readonly string[])[]) => [...list].sort((one, other) => (one.join() < other.join() ? -1 : 1))
  await expect.poll(async () => sorted(await look()), { timeout: 10_000 }).toEqual(sorted(expected))
}

/** No driver can click on a notification, so the worker hears of it as if the browser had told it. Answers what would be opened. */
async function click(tab: PlainTab, { alone = false } = {}): Promise<string[]> {
  return (await tab.driver.evaluateInWorker!(`(async () => {
    const opened = [], waits = []
    const { matchAll } = clients
    Object.assign(clients, { openWindow: async (url) => void opened.push(url) })
    if (${alone}) Object.assign(clients, { matchAll: async () => [] })
    const [notification] = await registration.getNotifications()
    const event = new NotificationEvent('notificationclick', { notification })
    Object.defineProperty(event, 'waitUntil', { value: (promise) => waits.push(promise) })
    dispatchEvent(event)
    await Promise.all(waits)
    return opened
  })()`)) as string[]
}
