/** How long there is no leader after the one that was is closed, crashed, or hangs; and until the next one's first change is confirmed. */

import { inEachBrowser, people, type Profile, type Tab } from '../harness.js'
import { spread } from './numbers.js'

const ROUNDS = 20
/** Each takes as long as a leader may be silent. */
const HUNG_ROUNDS = 5

interface Round {
  /** When a plain Web Lock that the same tab held came to the next one; none while the tab lives on. */
  readonly rawMs: number | undefined
  readonly leadsMs: number
  readonly confirmedMs: number
}

/** Queues for a lock of no meaning. */
const queue = (tab: Tab): Promise<void> =>
  tab.evaluate(
    () =>
      void navigator.locks.request('raw', () => {
        window.tab.notes['rawAt'] = performance.timeOrigin + performance.now()
        return new Promise(() => undefined)
      }),
  )

/** Has the follower make a change as soon as it leads. */
async function prepare(follower: Tab, key: string, owner: string): Promise<void> {
  await follower.evaluate(
    (id, to) => {
      const { store, notes } = window.tab
      const now = () => performance.timeOrigin + performance.now()
      delete notes['leadsAt']
      delete notes['confirmedAt']
      const stop = store!.subscribe(() => {
        if (store!.status().role !== 'leader' || notes['leadsAt']) return
        notes['leadsAt'] = now()
        stop()
        void store!.assignments.assign('companies', id, to).settled.then(() => (notes['confirmedAt'] = now()))
      })
    },
    key,
    owner,
  )
}

async function read(follower: Tab, from: number): Promise<Round> {
  const { rawAt, leadsAt, confirmedAt } = await follower.waitFor(
    'the next leader',
    () => follower.evaluate(() => window.tab.notes as { rawAt?: number; leadsAt: number; confirmedAt?: number }),
    (notes) => notes.confirmedAt !== undefined,
    40_000,
  )
  return { rawMs: rawAt === undefined ? undefined : rawAt - from, leadsMs: leadsAt - from, confirmedMs: (confirmedAt ?? Number.NaN) - from }
}

inEachBrowser((world) => {
  const rounds = async (count: number, end: (leader: Tab) => Promise<number>, isGone: boolean): Promise<Round[]> => {
    const profile: Profile = await world.newProfile()
    let [leader, follower] = await profile.newTabs(2)
    if (isGone) for (const tab of [leader, follower]) await queue(tab)
    const found: Round[] = []
    while (found.length < count) {
      const key = await world.db.recordOf('companies', 'Sales', [people.aiko])
      await prepare(follower, key, people.aiko.id)
      found.push(await read(follower, await end(leader)))
      if (isGone) {
        ;[leader, follower] = [follower, await profile.newTab()]
        await queue(follower)
      } else {
        await leader.waitForRole('follower', 30_000)
        ;[leader, follower] = [follower, leader]
      }
    }
    return found
  }
  const tell = (note: (what: string, figure: string) => void, what: string, found: readonly Round[]) => {
    const raw = found.map(({ rawMs }) => rawMs).filter((ms) => ms !== undefined)
    if (raw.length > 0) note(`${what}: a plain Web Lock of its comes to the next after`, spread(raw))
    note(`${what}: the next tab leads after`, spread(found.map(({ leadsMs }) => leadsMs)))
    note(`${what}: its first change is confirmed after`, spread(found.map(({ confirmedMs }) => confirmedMs)))
  }

  world.test('the leader closes', { timeoutMs: 600_000 }, async (note) => tell(note, 'the leader closes', await rounds(ROUNDS, (leader) => leader.close(), true)))

  world.test('the leader crashes', { needs: ['crash'], timeoutMs: 600_000 }, async (note) =>
    tell(note, 'the leader crashes', await rounds(ROUNDS, (leader) => leader.crash(), true)),
  )

  world.test('the leader hangs', { timeoutMs: 600_000 }, async (note) => {
    const hang = async (leader: Tab): Promise<number> => {
      const before = performance.timeOrigin + performance.now()
      await leader.block(13_000)
      return before
    }
    tell(note, 'the leader hangs', await rounds(HUNG_ROUNDS, hang, false))
  })
})
