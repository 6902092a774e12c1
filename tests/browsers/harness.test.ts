/** The drivers do what they say: without that, the other tests would prove nothing. */

import { expect } from 'vitest'
import { inEachBrowser, type Tab } from './harness.js'
import { PARTS } from './page/set-up.js'

inEachBrowser((world) => {
  world.test('driver: a tab that crashes takes no other with it', { needs: ['crash'] }, async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    await one.crash()
    expect((await two.status()).unsent).toBe(0)
    await profile.newTab()
  })

  world.test('driver: a tab whose thread is blocked blocks no other', async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    await one.block(3_000)
    const askedAt = performance.now()
    await two.evaluate(() => 1)
    expect(performance.now() - askedAt, 'how long the other tab took').toBeLessThan(1_500)
    expect(await one.evaluate(() => performance.timeOrigin + performance.now() - window.tab.notes['blockedAt'])).toBeGreaterThan(2_900)
  })

  world.test('driver: a tab is hidden behind another, and shown again', { needs: ['hide'] }, async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    const seen = (tab: Tab) => tab.evaluate(() => document.visibilityState)
    for (const [front, back] of [
      [one, two],
      [two, one],
    ] as const) {
      await front.show()
      await front.waitFor('it to be in front', () => seen(front), (state) => state === 'visible')
      await back.waitFor('the other to be hidden', () => seen(back), (state) => state === 'hidden')
    }
  })

  world.test('driver: a frozen tab runs no timers until it is resumed', { needs: ['freeze'] }, async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    await two.show()
    await one.evaluate(() => {
      for (const name of ['freeze', 'resume']) document.addEventListener(name, () => (window.tab.notes[name] = performance.now()))
      setInterval(() => (window.tab.notes['ticks'] = (window.tab.notes['ticks'] ?? 0) + 1), 20)
    })
    await one.freeze()
    const before = await one.evaluate(() => window.tab.notes['ticks'] ?? 0)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect((await one.evaluate(() => window.tab.notes['ticks'] ?? 0)) - before).toBeLessThan(3)
    await one.resume()
    await one.waitFor('timers', () => one.evaluate(() => window.tab.notes['ticks'] ?? 0), (ticks) => ticks > before + 5)
    expect(Object.keys(await one.evaluate(() => window.tab.notes))).toEqual(expect.arrayContaining(['freeze', 'resume']))
  })

  world.test('driver: a profile is off-line, and on-line again', { needs: ['offline'] }, async () => {
    const profile = await world.newProfile()
    const [one, two] = await profile.newTabs(2)
    const reaches = (tab: Tab) => tab.evaluate(() => fetch('/config.json', { cache: 'no-store' }).then(() => true, () => false))
    await profile.setOffline(true)
    for (const tab of [one, two]) expect(await reaches(tab)).toBe(false)
    await profile.setOffline(false)
    for (const tab of [one, two]) expect(await reaches(tab)).toBe(true)
  })

  world.test('driver: a browser that was killed starts again with what it had kept', { needs: ['relaunch'] }, async () => {
    const profile = await world.newProfile()
    const one = await profile.newTab()
    await one.evaluate(
      () =>
        new Promise<void>((resolve, reject) => {
          const opening = indexedDB.open('kept', 1)
          opening.addEventListener('upgradeneeded', () => void opening.result.createObjectStore('kept'))
          opening.addEventListener('success', () => {
            const writing = opening.result.transaction('kept', 'readwrite', { durability: 'strict' })
            writing.objectStore('kept').put(7, 'it')
            writing.addEventListener('complete', () => resolve())
            writing.addEventListener('error', () => reject(writing.error))
          })
        }),
    )
    await profile.kill()
    await profile.start()
    const again = await profile.openTab({ start: false })
    const kept = await again.evaluate(
      () =>
        new Promise((resolve) => {
          const opening = indexedDB.open('kept', 1)
          opening.addEventListener('success', () => {
            const reading = opening.result.transaction('kept').objectStore('kept').get('it')
            reading.addEventListener('success', () => resolve(reading.result))
          })
        }),
    )
    expect(kept).toBe(7)
  })

  world.test('driver: parts of the browser are hidden from a page, and forbidden to it', async () => {
    const profile = await world.newProfile()
    const hidden = await profile.openTab({ start: false, hide: PARTS })
    expect(await hidden.evaluate(() => ['BroadcastChannel' in window, 'locks' in navigator, 'localStorage' in window, 'indexedDB' in window])).toEqual([false, false, false, false])
    const blocked = await profile.openTab({ start: false, block: ['localStorage', 'indexedDB'] })
    for (const part of ['localStorage', 'indexedDB'] as const) {
      await expect(blocked.evaluate((name) => void window[name], part)).rejects.toThrow(/denied/)
    }
  })
})
