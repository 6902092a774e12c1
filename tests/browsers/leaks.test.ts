/** What is opened and closed many times leaves nothing behind: no heap, no handles, no listeners, no timers. */

import { expect } from 'vitest'
import { inEachBrowser, type Tab } from './harness.js'

const ROUNDS = 10
const EACH = 1_000
const STORES = 20
/**
 * By how much the tenth round may be above the second. The heap: what the browser, the frameworks and the backend's client make of themselves; a hundred bytes for each
 * subscription that stays would be twice that. Timers: the link's own come and go.
 */
const MORE_MAX = { heapBytes: 400_000, domListeners: 0, nodes: 0, handles: 0, listeners: 0, timers: 1, locks: 0 } as const

interface Counted {
  readonly heapBytes: number
  readonly domListeners: number
  readonly nodes: number
  readonly handles: number
  readonly listeners: number
  readonly timers: number
  readonly locks: number
}

inEachBrowser((world) => {
  const test = (what: string, kind: 'plain' | 'React' | 'Vue', round: (tab: Tab, key: string) => Promise<unknown>) => {
    world.test(what, { needs: ['measure'], instead: `${kind} in Node, which counts listeners and timers`, timeoutMs: 300_000 }, async () => {
      const key = await world.db.recordOf('companies', 'Sales')
      const profile = await world.newProfile()
      const [tab] = await openCounting(profile)
      const rounds: Counted[] = []
      for (let number = 0; number < ROUNDS; number++) {
        await round(tab, key)
        rounds.push(await count(tab))
      }
      const [second, tenth] = [rounds[1]!, rounds.at(-1)!]
      console.log(`${world.engine}: ${kind}: second round ${JSON.stringify(second)}, tenth ${JSON.stringify(tenth)}, heap in kB ${rounds.map(({ heapBytes }) => Math.round(heapBytes / 1_000)).join(' ')}`)
      for (const [name, most] of Object.entries(MORE_MAX)) expect(tenth[name as keyof Counted] - second[name as keyof Counted], name).toBeLessThanOrEqual(most)
    })
  }

  test('10,000 subscriptions made and ended leave nothing behind', 'plain', (tab, key) =>
    tab.evaluate(subscribeAndStop, key, EACH),
  )
  test('10,000 components mounted and unmounted in React leave nothing behind', 'React', (tab, key) =>
    tab.evaluate(async (times, id) => (await window.tab.bindings()).mountInReact(window.tab.store!, times, id), EACH, key).then(expectToShow),
  )
  test('10,000 components mounted and unmounted in Vue leave nothing behind', 'Vue', (tab, key) =>
    tab.evaluate(async (times, id) => (await window.tab.bindings()).mountInVue(window.tab.store!, times, id), EACH, key).then(expectToShow),
  )
  test('200 stores opened, used and closed leave nothing behind', 'plain', (tab, key) => tab.evaluate(openAndClose, STORES, key))
})

function expectToShow(text: string): void {
  expect(text).toMatch(/live$/)
}

/** A tab that knows which timers run and which locks are held or waited for. */
async function openCounting(profile: Awaited<ReturnType<Parameters<Parameters<typeof inEachBrowser>[0]>[0]['newProfile']>>): Promise<[Tab]> {
  const tab = await profile.openTab({ start: false })
  await tab.evaluate(async () => {
    const timers = new Set<unknown>()
    window.tab.notes['timers'] = timers
    const { setTimeout: later, clearTimeout: notLater, setInterval: often, clearInterval: notOften } = window
    const late = (run: () => void, ms?: number, ...given: unknown[]): number => {
      const id: number = later(() => {
        timers.delete(id)
        ;(run as (...all: unknown[]) => void)(...given)
      }, ms)
      timers.add(id)
      return id
    }
    const repeated = (run: () => void, ms?: number): number => {
      const id = often(run, ms)
      timers.add(id)
      return id
    }
    Object.assign(window, {
      setTimeout: late,
      setInterval: repeated,
      clearTimeout: (id: number) => void (timers.delete(id), notLater(id)),
      clearInterval: (id: number) => void (timers.delete(id), notOften(id)),
    })
    await window.tab.start()
  })
  await tab.waitUntilReady()
  return [tab]
}

/** Once everything that was under way has ended. */
async function count(tab: Tab): Promise<Counted> {
  await new Promise((resolve) => setTimeout(resolve, 500))
  const { heapBytes, listeners: domListeners, nodes } = await tab.measure()
  const rest = await tab.evaluate(async () => {
    const { held = [], pending = [] } = await navigator.locks.query()
    const { handles, listeners } = window.tab.store!.stats()
    return { handles, listeners, timers: (window.tab.notes['timers'] as Set<unknown>).size, locks: held.length + pending.length }
  })
  return { heapBytes, domListeners, nodes, ...rest }
}

/** Runs in the page. One in four of them hears something before it ends. */
function subscribeAndStop(key: string, times: number): number {
  const store = window.tab.store!
  let heard = 0
  for (let turn = 0; turn < times; turn++) {
    const stops = [
      store.subscribe(() => heard++),
      store.subscribe('companies', () => heard++),
      store.subscribe('companies', key, () => heard++),
      store.onProblem(() => heard++),
    ]
    for (const stop of stops) stop()
  }
  return heard
}

async function openAndClose(times: number, key: string): Promise<void> {
  for (let turn = 0; turn < times; turn++) {
    const store = window.tab.openStore(`other-${turn % 4}`)
    store.subscribe('companies', key, () => undefined)
    // Some leave at once, some in the middle of everything, some when all is there.
    if (turn % 3 > 0) await new Promise<void>((resolve) => setTimeout(resolve, turn % 3 === 1 ? 5 : 150))
    store.close()
  }
}
