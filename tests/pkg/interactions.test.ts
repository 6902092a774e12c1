import { createStore, table, type Answer, type InteractionEvent, type Mutated, type Operation } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import { FakeBackend } from './backend.js'
import { domainsSeeded, openDomainsLive, type DomainBackend, type Session } from './domains.js'
import { isLive, pause, refusal, until } from './world.js'

let store: Awaited<ReturnType<typeof openDomainsLive>>['store']
let backend: DomainBackend

const session = (id: string, fields: Partial<Session> = {}): Session => ({ id, status: 'live', campaign_id: 'spring', turn_id: 'maya', last_action: null, note: null, ...fields })

beforeEach(async () => {
  const seeded = domainsSeeded()
  seeded.put('sessions', session('s1'))
  seeded.put('sessions', session('s2', { status: 'ended' }))
  ;({ store, backend } = await openDomainsLive(seeded))
})

const active = () => store.interactions.state().activeInteractions.map(({ id }) => id).sort()

test('those that go on are listed live, and the state is the same object until something changes', () => {
  expect(active()).toEqual(['s1'])
  const state = store.interactions.state()
  expect(store.interactions.state()).toBe(state)
  expect(state).toMatchObject({ currentInteractionId: null, currentCampaignId: null, isLoading: false, error: null })
  let heard = 0
  store.interactions.subscribe(() => heard++)
  backend.put('sessions', session('s2', { status: 'paused' }))
  expect([active(), heard > 0]).toEqual([['s1', 's2'], true])
  expect(store.interactions.state().lastUpdate).toBeGreaterThan(0)
})

test('a tab looks at one with its campaign, which stays when the interaction is gone', async () => {
  store.interactions.setCurrentInteraction('s1')
  const now = () => [store.interactions.state().currentInteractionId, store.interactions.state().currentCampaignId]
  expect(now()).toEqual(['s1', 'spring'])
  backend.put('sessions', session('s1', { campaign_id: 'summer' }))
  expect(now()).toEqual(['s1', 'summer'])
  backend.remove('sessions', 's1')
  await until(() => expect(now()).toEqual([null, 'summer']))
  store.interactions.setCurrentInteraction('s2')
  expect(now()).toEqual(['s2', 'spring'])
  store.interactions.clearCurrentInteraction()
  expect(now()).toEqual([null, null])
  expect(refusal(() => store.interactions.setCurrentInteraction('nope')).code).toBe('unknown-record')
})

describe('an optimistic update', () => {
  test('shows at once, and is rolled back by its handle', async () => {
    backend.hold()
    const { id } = store.interactions.optimisticUpdate('s1', { note: 'x' })
    expect(store.get('sessions', 's1')?.note).toBe('x')
    backend.release()
    await until(() => expect(store.status().unsent).toBe(0))
    await store.interactions.rollbackUpdate(id)?.settled
    expect(store.get('sessions', 's1')?.note).toBe(null)
  })

  const seen = () => {
    const notes: unknown[] = [store.get('sessions', 's1')?.note]
    store.subscribe('sessions', 's1', () => {
      const note = store.get('sessions', 's1')?.note
      if (note !== notes.at(-1)) notes.push(note)
    })
    return notes
  }

  const isSent = () => until(() => expect(store.status().unsent).toBe(0))

  test('is rolled back in any order: what covers it stays on the screen', async () => {
    const notes = seen()
    const ids: string[] = []
    for (const note of ['A', 'B', 'C']) {
      const update = store.interactions.optimisticUpdate('s1', { note })
      ids.push(update.id)
      await update.settled
    }
    for (const id of ids) store.interactions.rollbackUpdate(id)
    await isSent()
    expect(notes).toEqual([null, 'A', 'B', 'C', null])
    expect([store.get('sessions', 's1')?.note, store.conflicts().length]).toEqual([null, 0])
  })

  test('that waits is rolled back under a later one, which is sent', async () => {
    const notes = seen()
    backend.hold()
    const [a, b, c] = ['A', 'B', 'C'].map((note) => store.interactions.optimisticUpdate('s1', { note })) as [Mutated, Mutated, Mutated]
    expect(store.interactions.rollbackUpdate(b.id)).toBe(undefined)
    backend.release()
    expect([(await a.settled).outcome, (await b.settled).outcome, (await c.settled).outcome]).toEqual(['confirmed', 'cancelled', 'confirmed'])
    expect([notes, store.conflicts().length]).toEqual([[null, 'A', 'B', 'C'], 0])
  })

  test('is rolled back in what still shows it, and leaves what somebody else has changed', async () => {
    const { id, settled } = store.interactions.optimisticUpdate('s1', { note: 'mine', last_action: 'mine' })
    await settled
    backend.put('sessions', session('s1', { note: 'bobs', last_action: 'mine' }))
    const notes = seen()
    await store.interactions.rollbackUpdate(id)?.settled
    const { note, last_action } = store.get('sessions', 's1') ?? {}
    expect([notes, note, last_action, store.conflicts().length]).toEqual([['bobs'], 'bobs', null, 0])
  })

  test('of which nothing is left is rolled back by doing nothing: refused, taken back, rolled back before, or of a record that is gone', async () => {
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    const refused = store.interactions.optimisticUpdate('s1', { note: 'x' })
    await refused.settled
    backend.judge = undefined
    expect(store.interactions.rollbackUpdate(refused.id)).toBe(undefined)
    backend.hold()
    store.interactions.optimisticUpdate('s1', { note: 'x' })
    const cancelled = store.interactions.optimisticUpdate('s1', { note: 'y' })
    store.cancel(cancelled.id)
    await cancelled.settled
    expect(store.interactions.rollbackUpdate(cancelled.id)).toBe(undefined)
    backend.release()
    await isSent()
    const done = store.interactions.optimisticUpdate('s1', { note: 'z' })
    await done.settled
    expect(await store.interactions.rollbackUpdate(done.id)?.settled).toMatchObject({ outcome: 'confirmed' })
    expect(store.interactions.rollbackUpdate(done.id)).toBe(undefined)
    const last = store.interactions.optimisticUpdate('s1', { note: 'last' })
    await last.settled
    backend.remove('sessions', 's1')
    await until(() => expect(store.get('sessions', 's1')).toBeUndefined())
    expect(store.interactions.rollbackUpdate(last.id)).toBe(undefined)
  })

  test('that was not rolled back after all is not said to be', async () => {
    const { id, settled } = store.interactions.optimisticUpdate('s1', { note: 'x' })
    await settled
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    expect(await store.interactions.rollbackUpdate(id)?.settled).toMatchObject({ outcome: 'refused' })
    expect(refusal(() => store.interactions.rollbackUpdate(id)).code).toBe('unknown-operation')
    expect(store.get('sessions', 's1')?.note).toBe('x')
  })

  test('that is too old to be undone says so, by one code', async () => {
    const { id, settled } = store.interactions.optimisticUpdate('s1', { note: 'x' })
    await settled
    for (let n = 0; n < 101; n++) await store.interactions.optimisticUpdate('s2', { note: `${n}` }).settled
    expect(refusal(() => store.interactions.rollbackUpdate(id))).toMatchObject({ code: 'unknown-operation', reason: expect.stringContaining('last 100') })
  })

  test('that is refused says why, until the next one that comes true', async () => {
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'not yours' })
    const { id, settled } = store.interactions.optimisticUpdate('s1', { note: 'x' })
    await settled
    expect(store.interactions.state().error).toEqual({ operationId: id, code: 'forbidden', message: 'not yours' })
    backend.judge = undefined
    await store.interactions.optimisticUpdate('s1', { note: 'y' }).settled
    expect(store.interactions.state().error).toBe(null)
  })
})

test('turns, actions and states are told, and nothing else', () => {
  const heard: string[] = []
  const stop = store.interactions.watch(({ type, key, interaction }: InteractionEvent<Session>) => heard.push(`${type} ${key} ${interaction.turn_id}`))
  backend.put('sessions', session('s1', { turn_id: 'jonas', last_action: 'a1' }))
  backend.put('sessions', session('s1', { turn_id: 'jonas', last_action: 'a1', note: 'only a note' }))
  backend.put('sessions', session('s3'))
  backend.put('sessions', session('s2', { status: 'live' }))
  expect(heard).toEqual(['turn s1 jonas', 'action s1 jonas', 'status s2 maya'])
  stop()
  backend.put('sessions', session('s1', { turn_id: 'lena' }))
  expect(heard).toHaveLength(3)
})

test('a refresh is under way until it is answered, or fails', async () => {
  const isLoading = () => store.interactions.state().isLoading
  let heard = 0
  store.interactions.subscribe(() => heard++)
  backend.delayMs = 5
  store.interactions.refreshInteractions()
  expect([isLoading(), heard]).toEqual([true, 1])
  await until(() => expect(isLoading()).toBe(false))
  expect(heard).toBeGreaterThan(1)
  backend.pullFailures.push(new Error('no'))
  store.interactions.refreshInteractions()
  store.interactions.refreshInteractions()
  expect(isLoading()).toBe(true)
  await until(() => expect(isLoading()).toBe(false))
})

test('only what was updated here is rolled back', async () => {
  const { id } = store.mutate({ name: 'patch', table: 'leads', key: 'l1', set: { name: 'Other' } })
  expect(refusal(() => store.interactions.rollbackUpdate(id)).code).toBe('unknown-operation')
  expect(refusal(() => store.interactions.rollbackUpdate(7 as never)).code).toBe('invalid-operation')
  expect(store.get('leads', 'l1')?.name).toBe('Other')
})

test('what comes back from the server as it shows is no update', async () => {
  await store.interactions.optimisticUpdate('s1', { note: 'x' }).settled
  await until(() => expect(store.status().unsent).toBe(0))
  const { lastUpdate } = store.interactions.state()
  backend.put('sessions', session('s1', { note: 'x' }))
  await pause(5)
  expect(store.interactions.state().lastUpdate).toBe(lastUpdate)
})

test('of two tables each has its own, and one has to be named', async () => {
  const { sessions } = store.tables
  const two = createStore({ app: 'two-tables', user: 'maya', tables: { sessions, games: sessions }, backend, storage: 'memory' })
  await isLive(two)
  backend.put('games', session('g1'))
  expect(refusal(() => two.interactions.state()).message).toContain('sessions, games')
  expect(refusal(() => two.interactions.in('leads' as never)).code).toBe('invalid-operation')
  two.interactions.in('games').setCurrentInteraction('g1')
  const looked = (name: 'games' | 'sessions') => [two.interactions.in(name).state().activeInteractions.map(({ id }) => id), two.interactions.in(name).state().currentInteractionId]
  expect([looked('games'), looked('sessions')]).toEqual([[['g1'], 'g1'], [['s1'], null]])
  two.close()
})

test('a refresh fetches what is new, and a closed store reads as an empty one', async () => {
  backend.put('sessions', session('s9'), { silently: true })
  store.interactions.refreshInteractions()
  await until(() => expect(active()).toEqual(['s1', 's9']))
  store.interactions.setCurrentInteraction('s9')
  store.close()
  expect(store.interactions.state()).toMatchObject({ activeInteractions: [], currentInteractionId: null, isLoading: false, error: null })
  const calls = [
    () => store.interactions.watch(() => {}),
    () => store.interactions.setCurrentInteraction('s9'),
    () => store.interactions.clearCurrentInteraction(),
    () => store.interactions.refreshInteractions(),
    () => store.interactions.rollbackUpdate('x'),
  ]
  expect(calls.map((call) => refusal(call).code)).toEqual(calls.map(() => 'closed'))
})

test('one that is looked at under its temporary key is followed under the real one', async () => {
  /** Gives the keys itself. */
  class Numbering extends FakeBackend {
    override async push(operation: Operation): Promise<Answer> {
      if (operation.name !== 'insert') return super.push(operation)
      await Promise.resolve()
      const row = this.put(operation.table, { ...operation.set, id: 17 }, { silently: true })
      return { protocol: 1, id: operation.id, table: operation.table, key: '17', temporary: operation.key, outcome: 'confirmed', replayed: false, version: this.versionOf(operation.table, '17'), record: { ...row, rota_op: operation.id } } as Answer
    }
  }
  const tables = {
    sessions: table<{ id: number; status: string; campaign_id: string | null }>({ key: 'id', fields: ['id', 'status', 'campaign_id'], temporaryKeys: true, domain: { kind: 'interaction', active: ['live'] } }),
  }
  const numbering = new Numbering()
  const numbered = createStore({ app: 'temporary', user: 'maya', tables, backend: numbering, storage: 'memory' })
  try {
    await isLive(numbered)
    const now = () => [numbered.interactions.state().currentInteractionId, numbered.interactions.state().currentCampaignId]
    const { temporaryKeys, settled } = numbered.mutate({ name: 'insert', table: 'sessions', record: { status: 'live', campaign_id: 'spring' } })
    numbered.interactions.setCurrentInteraction(temporaryKeys[0]!)
    expect(now()).toEqual([temporaryKeys[0], 'spring'])
    await settled
    await until(() => expect(now()).toEqual(['17', 'spring']))
    numbering.put('sessions', { id: 17, status: 'live', campaign_id: 'summer' })
    expect(now()).toEqual(['17', 'summer'])
    // Whoever has kept the temporary key may go on using it.
    numbered.interactions.clearCurrentInteraction()
    numbered.interactions.setCurrentInteraction(temporaryKeys[0]!)
    expect(now()).toEqual(['17', 'summer'])
    numbering.remove('sessions', '17')
    await until(() => expect(now()).toEqual([null, 'summer']))
  } finally {
    numbered.close()
  }
})
