/**
 * What a change costs the page that is durable when `mutate` returns, beside the same by hand: a Map with callbacks, and for each
 * change an entry that is stringified, put into localStorage, and removed again once the server has confirmed it.
 */

import { inEachBrowser } from '../harness.js'
import { prepare } from './contestants.js'
import { median, short } from './numbers.js'

const CHANGES = 1_000
/** Alternating, so that whatever else the machine does hits all. */
const ROUNDS = 7

interface Times {
  /** In µs a change: with its confirmation, and the first half of it alone. */
  readonly whole: number
  readonly mutate: number
}

inEachBrowser((world) => {
  world.test('a durable change', { timeoutMs: 300_000 }, async (note) => {
    const profile = await world.newProfile()
    const tab = await profile.openTab({ start: false, isolated: true })
    await prepare(tab)
    const names = ['durable', 'memory', 'byHand', 'byHandMemory', 'storing'] as const
    const times = Object.fromEntries(names.map((name) => [name, [] as Times[]])) as Record<(typeof names)[number], Times[]>
    const run = (name: string, count: number): Promise<Times> => tab.evaluate((which, how) => window.tab.notes['run'](which, how) as Promise<Times>, name, count)
    for (const name of names) await run(name, CHANGES / 2)
    for (let round = 0; round < ROUNDS; round++) for (const name of names) times[name].push(await run(name, CHANGES))
    const of = (name: (typeof names)[number], part: keyof Times) => median(times[name].map((time) => time[part]))
    note('stringify + setItem + removeItem, µs', short(of('storing', 'whole')))
    for (const [what, name] of [
      ['by hand, in memory', 'byHandMemory'],
      ['by hand, durable', 'byHand'],
      ['Rota, in memory', 'memory'],
      ['Rota, durable', 'durable'],
    ] as const) {
      note(`${what}: change + confirmation (the change alone), µs`, `${short(of(name, 'whole'))} (${short(of(name, 'mutate'))})`)
    }
    note('durable, Rota / by hand: change + confirmation', `${(of('durable', 'whole') / of('byHand', 'whole')).toFixed(2)}×`)
    note('durable, Rota / by hand: the change alone', `${(of('durable', 'mutate') / of('byHand', 'mutate')).toFixed(2)}×`)
    note('mutate, durable, / stringify + setItem + removeItem', `${(of('durable', 'mutate') / of('storing', 'whole')).toFixed(2)}×`)
  })
})
