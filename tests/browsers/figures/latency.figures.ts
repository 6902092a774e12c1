/** How long a change takes from `mutate` in one tab to a subscriber in another, beside a plain BroadcastChannel between the same pages. */

import { expect } from 'vitest'
import { inEachBrowser, people, type Tab } from '../harness.js'
import { median, quantile, short } from './numbers.js'

const SAMPLES = 400

interface Seen {
  readonly raw: number[]
  readonly rota: number[]
}

/** One tab notes when it hears of each, on its own clock; the other when it said so. One sample of each after the other, in the same minute. */
async function sample(author: Tab, other: Tab, owners: readonly string[]): Promise<Seen> {
  await other.evaluate(() => {
    const { tab } = window
    const heard = (tab.notes['heard'] = { raw: [] as number[], rota: [] as number[] })
    const channel = new BroadcastChannel('raw')
    channel.addEventListener('message', () => void heard.raw.push(performance.timeOrigin + performance.now()))
    const shown = new Map(tab.store!.all('companies').map(({ id, owner_id }) => [id, owner_id]))
    const stop = tab.store!.subscribe('companies', () => {
      const at = performance.timeOrigin + performance.now()
      for (const { id, owner_id } of tab.store!.all('companies')) {
        if (shown.get(id) === owner_id) continue
        shown.set(id, owner_id)
        heard.rota.push(at)
      }
    })
    tab.notes['stop'] = () => {
      stop()
      channel.close()
    }
  })
  await author.evaluate(
    (count, persons) => {
      const { tab } = window
      const said = (tab.notes['said'] = { raw: [] as number[], rota: [] as number[], isDone: false })
      const channel = new BroadcastChannel('raw')
      const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
      const keys = tab.store!.all('companies').filter(({ department }) => department === 'Sales').map(({ id }) => id)
      const run = async () => {
        for (let at = 0; at < count; at++) {
          said.raw.push(performance.timeOrigin + performance.now())
          // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel has none
          channel.postMessage({ table: 'companies', key: keys[0], owner: persons[0], at })
          await pause(4)
          const key = keys[at % keys.length]!
          const owner = tab.store!.get('companies', key)?.owner_id
          const next = persons.find((person) => person !== owner)!
          said.rota.push(performance.timeOrigin + performance.now())
          await tab.store!.assignments.assign('companies', key, next).settled
          await pause(4)
        }
        channel.close()
        said.isDone = true
      }
      void run().catch((error: unknown) => tab.errors.push(String(error)))
    },
    SAMPLES,
    owners,
  )
  const said = await author.waitFor('the samples', () => author.evaluate(() => window.tab.notes['said']), ({ isDone }) => isDone, 120_000)
  const heard = await other.evaluate(() => {
    window.tab.notes['stop']()
    return window.tab.notes['heard']
  })
  const delays = (from: number[], to: number[]) => from.map((at, index) => (to[index] ?? Number.NaN) - at)
  expect([heard.raw.length, heard.rota.length]).toEqual([SAMPLES, SAMPLES])
  return { raw: delays(said.raw, heard.raw), rota: delays(said.rota, heard.rota) }
}

inEachBrowser((world) => {
  world.test('tab to tab', async (note) => {
    const profile = await world.newProfile()
    const [leader, follower] = await profile.newTabs(2, { isolated: true })
    const owners = [people.aiko.id, people.jonas.id]
    await sample(leader, follower, owners) // warms both up
    const down = await sample(leader, follower, owners)
    const up = await sample(follower, leader, owners)
    // The clocks of two pages differ by a little, which makes one way longer and the other shorter by as much.
    const skew = (median(down.raw) - median(up.raw)) / 2
    for (const [way, { raw, rota }, by] of [
      ['leader → follower', down, -skew],
      ['follower → leader', up, skew],
    ] as const) {
      const [plain, ours] = [raw.map((ms) => ms + by), rota.map((ms) => ms + by)]
      note(`${way}: BroadcastChannel alone, p50 / p99 ms`, `${short(median(plain))} / ${short(quantile(plain, 0.99))}`)
      note(`${way}: mutate → subscriber, p50 / p99 ms`, `${short(median(ours))} / ${short(quantile(ours, 0.99))}`)
      note(`${way}: ratio of the p50`, `${(median(ours) / median(plain)).toFixed(1)}×`)
    }
  })
})
