/** An engine that crashes in a page: by a trap that nothing can foresee, and which leaves its memory in any state. */

import { expect } from 'vitest'
import { gateway, inEachBrowser, people, type Profile, type Tab } from './harness.js'

const { aiko, maya, jonas } = people
/** The server does nothing, and says nothing; who has signed in stays so. */
const SILENT = { dropNextRest: 1_000_000 }

inEachBrowser((world) => {
  const keysOf = async (): Promise<string[]> => {
    const { rows } = await world.db.client.query<{ id: string }>(`select id from companies where department = 'Sales' order by id limit 6`)
    return rows.map(({ id }) => id)
  }
  const expectOnce = async (keys: readonly string[], ids: readonly string[]): Promise<void> => {
    const decisions = (await Promise.all(keys.map((key) => world.db.decisionsOn('companies', key)))).flat()
    expect(decisions.toSorted((a, b) => (a.id < b.id ? -1 : 1))).toEqual(ids.toSorted().map((id) => ({ id, outcome: 'confirmed' })))
  }

  for (const [how, crash] of [
    ['whose memory is spoilt', spoil],
    ['whose stack is full', overflow],
  ] as const) {
    world.test(`an engine ${how} says \`engine-crashed\` to every later call, and the reload sends what was accepted, once`, async () => {
      const keys = await keysOf()
      const tab = await openOpen(await world.newProfile())
      await gateway.faults(SILENT)
      const last = keys.at(-1)!
      const ids = await tab.evaluate(giveAway, keys.slice(0, -1), [aiko.id, jonas.id, maya.id])
      ids.push(...(await tab.evaluate(crash, last)))
      await tab.waitFor('the crash to be told', () => tab.evaluate(callEverything), (codes) => codes.length === 1 && codes[0] === 'engine-crashed')
      expect((await tab.status()).link).toMatchObject({ why: 'crashed' })
      expect((await tab.problems()).filter(({ code }) => code === 'engine-crashed')).toHaveLength(1)
      expect(await tab.evaluate((key) => window.tab.store!.get('companies', key)?.id, keys[0]!), 'what shows can still be read').toBe(keys[0])
      // A trap is thrown at whoever called; nothing of it is heard again by timers, messages and the database.
      await tab.evaluate(() => window.tab.errors.splice(0))
      await new Promise((resolve) => setTimeout(resolve, 2_000))
      expect(await tab.errors()).toEqual([])

      await tab.open({ user: maya.id })
      await tab.waitFor('what was accepted', () => tab.operations(), ({ pending }) => ids.every((id) => pending.some((operation) => operation.id === id)))
      await gateway.faults({ dropNextRest: 0 })
      await tab.evaluate(() => window.tab.store!.reconnect())
      await tab.waitForUnsent(0, 30_000)
      // Who was in the middle of being taken when it crashed is there, or not.
      const decisions = (await Promise.all(keys.map((key) => world.db.decisionsOn('companies', key)))).flat()
      expect(decisions.filter(({ outcome }) => outcome !== 'confirmed')).toEqual([])
      expect(ids.filter((id) => !decisions.some((decision) => decision.id === id))).toEqual([])
      expect(decisions.length - ids.length).toBeOneOf(how === 'whose stack is full' ? [0, 1] : [0])
    })
  }

  world.test('when the engine of the leader crashes, another tab sends what both made, once', async () => {
    const keys = await keysOf()
    const profile = await world.newProfile()
    const leader = await openOpen(profile)
    const follower = await profile.newTab()
    await gateway.faults(SILENT)
    const persons = [aiko.id, jonas.id, maya.id]
    const ids = [...(await leader.evaluate(giveAway, keys.slice(0, 3), persons)), ...(await follower.evaluate(giveAway, keys.slice(3), persons))]
    await follower.waitForUnsent(ids.length)
    await leader.evaluate(spoil)
    await leader.waitFor('the crash to be told', () => leader.evaluate(callEverything), (codes) => codes[0] === 'engine-crashed')
    await leader.evaluate(() => window.tab.errors.splice(0))
    await follower.waitForRole('leader', 20_000)
    await gateway.faults({ dropNextRest: 0 })
    await follower.evaluate(() => window.tab.store!.reconnect())
    await follower.waitForUnsent(0, 30_000)
    await leader.open({ user: maya.id })
    await leader.waitUntilReady()
    await leader.waitForUnsent(0)
    await expectOnce(keys, ids)
  })
})

/** A tab of which the engine's memory can be reached. */
async function openOpen(profile: Profile): Promise<Tab> {
  const tab = await profile.openTab({ start: false })
  await tab.evaluate(async () => {
    const { instantiate } = WebAssembly
    WebAssembly.instantiate = (async (...given: Parameters<typeof instantiate>) => {
      const made = (await instantiate(...given)) as unknown as Partial<WebAssembly.WebAssemblyInstantiatedSource> & Partial<WebAssembly.Instance>
      window.tab.notes['memory'] = (made.instance ?? (made as WebAssembly.Instance)).exports['memory']
      return made
    }) as unknown as typeof instantiate
    await window.tab.start()
  })
  await tab.waitUntilReady()
  return tab
}

/** Runs in the page. */
function giveAway(keys: readonly string[], persons: readonly string[]): string[] {
  const store = window.tab.store!
  return keys.map((key) => store.assignments.assign('companies', key, persons[(persons.indexOf(store.get('companies', key)?.owner_id ?? '') + 1) % persons.length]!).id)
}

/** Runs in the page: nothing in the engine's memory is what it was, and somebody calls. */
function spoil(): string[] {
  const { memory } = window.tab.notes as { memory: WebAssembly.Memory }
  new Uint8Array(memory.buffer).fill(0xa5)
  try {
    window.tab.store!.reconnect()
  } catch {
    // As it should.
  }
  return []
}

/** Runs in the page: on the way back from as deep as it goes, a call comes in and has not enough room to end. Returns what was taken all the same. */
function overflow(key: string): string[] {
  const taken: string[] = []
  let [tries, isOver] = [0, false]
  const dive = (): void => {
    try {
      dive()
    } finally {
      if (!isOver && tries++ < 3_000) {
        try {
          // An assignment: what it runs before it comes to the engine needs less room than the engine.
          taken.push(window.tab.store!.mutate({ name: 'assign', table: 'companies', key, to: null, after: taken.slice(-1) }).id)
          isOver = taken.length === 5
        } catch (error) {
          isOver = (error as { code?: unknown }).code === 'engine-crashed'
        }
      }
    }
  }
  try {
    dive()
  } catch {
    // A stack that is full says so.
  }
  return taken
}

/** Runs in the page: which codes the store's calls throw, each once; `none` for a call that throws nothing. */
function callEverything(): string[] {
  const store = window.tab.store!
  const id = '01890000-0000-7000-8000-000000000000'
  const calls: (() => unknown)[] = [
    () => store.mutate({ name: 'patch', table: 'companies', key: 'c-0001', set: { city: 'Kiel' } }),
    () => store.assignments.assign('companies', 'c-0001', null),
    () => store.cancel(id),
    () => store.undo(id),
    () => store.retry(id),
    () => store.reconnect(),
    () => store.rightsChanged(),
  ]
  const codes = calls.map((call) => {
    try {
      call()
      return 'none'
    } catch (error) {
      return String((error as { code?: unknown }).code)
    }
  })
  return [...new Set(codes)]
}
