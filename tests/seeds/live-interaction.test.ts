// The testing strategy of the live interaction document: its integration and end-to-end items, on the real backend. Its unit
// items, and error boundaries, have tests where that code is.
import type { InteractionEvent } from 'rota-engine'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { openBackend, until, type Backend, type Person, type Session } from './backend.js'

let backend: Backend
let [dm, player] = [] as unknown as [Person, Person]
let [D, D2, P] = [] as unknown as [Session, Session, Session]
beforeAll(async () => {
  backend = await openBackend(inject('serverUrl'))
  dm = await backend.person('Dana')
  player = await backend.person('Pat')
})
afterAll(() => backend.close())
beforeEach(async () => {
  await backend.start()
  await backend.sql('delete from interactions')
  await backend.sql(`insert into interactions (id, status, campaign_id, turn) select 'i-' || n, 'waiting', 'k-1', 0 from generate_series(1, 8) n`)
  D = await backend.session(dm)
  D2 = await backend.session(dm)
  P = await backend.session(player)
})
afterEach(async () => {
  Object.assign(backend.gateway().faults, { dropNextRest: 0, dropNextRestAnswer: 0, duplicateFrames: 0, dropFrames: 0 })
  await backend.closeSessions()
})

const change = ({ store }: Session, key: string, set: object) => store.mutate({ name: 'patch', table: 'interactions', key, set })
const get = ({ store }: Session, key = 'i-1') => store.get('interactions', key)
const inDatabase = async (key = 'i-1') => (await backend.sql('select status, turn, action, tags, meta, note from interactions where id = $1', [key]))[0]

describe('LiveInteractionContext', () => {
  const state = ({ store }: Session) => store.interactions.state()
  const active = (session: Session) => state(session).activeInteractions.map(({ id }) => id).sort()

  test('setCurrentInteraction and clearCurrentInteraction are of one tab alone', async () => {
    D.store.interactions.setCurrentInteraction('i-2')
    expect(state(D)).toMatchObject({ currentInteractionId: 'i-2', currentCampaignId: 'k-1', isLoading: false, error: null })
    expect([state(D2).currentInteractionId, state(P).currentInteractionId]).toEqual([null, null])
    await backend.sql(`update interactions set campaign_id = 'k-2' where id = 'i-2'`)
    await until(() => state(D).currentCampaignId === 'k-2', 'its campaign is followed')
    await backend.sql(`delete from interactions where id = 'i-2'`)
    await until(() => state(D).currentInteractionId === null, 'one that is gone is looked at no more')
    expect(state(D).currentCampaignId).toBe('k-2')
    D.store.interactions.clearCurrentInteraction()
    expect(state(D).currentCampaignId).toBe(null)
    expect(() => D.store.interactions.setCurrentInteraction('i-2')).toThrow('i-2')
  })
  test('activeInteractions are those that go on, live in every session, with lastUpdate', async () => {
    const before = Date.now()
    expect([active(D).length, active(P).length]).toEqual([8, 8])
    let heard = 0
    P.store.interactions.subscribe(() => heard++)
    await change(D, 'i-1', { status: 'completed' }).settled
    await until(() => [D, D2, P].every((session) => active(session).length === 7), 'nobody lists one that has ended')
    expect(heard).toBeGreaterThan(0)
    expect(state(P).lastUpdate).toBeGreaterThanOrEqual(before)
    expect(state(P)).toBe(state(P))
  })
  test('refreshInteractions fetches what the stream has not told', async () => {
    backend.gateway().faults.dropFrames = 100
    await backend.sql(`update interactions set turn = 5 where id = 'i-1'`)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(get(D)?.turn).toBe(0)
    D.store.interactions.refreshInteractions()
    await until(() => get(D)?.turn === 5, 'it is fetched')
  })
  test('optimisticUpdate shows at once, and rollbackUpdate takes it back, and nothing of what others did since', async () => {
    const first = D.store.interactions.optimisticUpdate('i-1', { note: 'a trap', turn: 1 })
    expect([get(D)?.note, get(D)?.turn]).toEqual(['a trap', 1])
    expect(await first.settled).toMatchObject({ outcome: 'confirmed' })
    await until(() => get(P)?.note === 'a trap', 'the others see it')
    const second = D.store.interactions.optimisticUpdate('i-1', { status: 'live' })
    await change(P, 'i-1', { action: 'jumps' }).settled
    // Out of turn: the first is taken back while the second stands.
    expect(await D.store.interactions.rollbackUpdate(first.id)?.settled).toMatchObject({ outcome: 'confirmed' })
    expect(await second.settled).toMatchObject({ outcome: 'confirmed' })
    await until(() => [D, D2, P].every((session) => get(session)?.note === null && get(session)?.action === 'jumps'), 'everybody agrees')
    expect(await inDatabase()).toMatchObject({ note: null, turn: 0, status: 'live', action: 'jumps' })
    // One that was never sent leaves no trace.
    await backend.stop()
    const unsent = D.store.interactions.optimisticUpdate('i-2', { note: 'no' })
    D.store.interactions.rollbackUpdate(unsent.id)
    expect(get(D, 'i-2')?.note).toBe(null)
    await backend.start()
    D.store.reconnect()
    await until(() => D.store.status().unsent === 0 && D.store.status().link.state === 'live', 'all is sent', 25_000)
    expect(await inDatabase('i-2')).toMatchObject({ note: null })
  }, 60_000)
  test('error says why the last change did not come true, until one does', async () => {
    await backend.sql('alter table interactions add constraint short check (length(note) < 10)')
    try {
      const { id, settled } = D.store.interactions.optimisticUpdate('i-1', { note: 'far too long for this' })
      expect(await settled).toMatchObject({ outcome: 'refused', code: 'invalid' })
      expect([get(D)?.note, state(D).error]).toMatchObject([null, { operationId: id, code: 'invalid', message: expect.any(String) }])
      await D.store.interactions.optimisticUpdate('i-1', { note: 'short' }).settled
      expect(state(D).error).toBe(null)
    } finally {
      await backend.sql('alter table interactions drop constraint short')
    }
  })
})

describe('useLiveInteractionNotifications', () => {
  const entries = new Map<string, string>()
  const stores = Symbol.for('rota-engine/stores')
  let tabs: Session[]

  /** Two tabs of one browser: they share its channel and its storage, and each has a link of its own. */
  beforeEach(async () => {
    entries.clear()
    // Only `instanceof` is asked of it.
    vi.stubGlobal('Window', Object.defineProperty(() => {}, Symbol.hasInstance, { value: (value: unknown) => value === globalThis }))
    vi.stubGlobal('addEventListener', () => {})
    vi.stubGlobal('removeEventListener', () => {})
    vi.stubGlobal('localStorage', {
      get length() {
        return entries.size
      },
      key: (at: number) => [...entries.keys()][at] ?? null,
      getItem: (key: string) => entries.get(key) ?? null,
      setItem: (key: string, value: string) => entries.set(key, value),
      removeItem: (key: string) => entries.delete(key),
    })
    tabs = []
    for (let n = 0; n < 2; n++) {
      // A page may have one store of a person only; here both are in the same.
      ;(globalThis as { [key: symbol]: Set<string> | undefined })[stores]?.clear()
      tabs.push(await backend.session(dm, { app: 'tabs' }))
    }
    for (const tab of tabs) tab.store.interactions.watch((event) => tell(tab, event))
  })
  afterEach(async () => {
    await backend.closeSessions()
    vi.unstubAllGlobals()
  })

  const tell = ({ store }: Session, { type, key, interaction }: InteractionEvent<{ turn: number | null; action: string | null; status: string | null }>) =>
    store.notifications.createNotification({ kind: type, message: `${key}: ${type} ${interaction[type]}`, id: `${key}/${type}/${interaction[type]}` })
  const shown = (component: string) => tabs.map(({ store }) => store.notifications.shown(component).map(({ message }) => message))

  test('createNotification: by kind, once across tabs that all hear of the same, as each component wants it', async () => {
    for (const { store } of tabs) {
      store.notifications.configure('board', { turn: { autoCloseMs: null }, action: { autoCloseMs: null, sound: false }, status: { autoCloseMs: 400 } })
      store.notifications.configure('quiet', { turn: { enabled: false }, action: { autoCloseMs: null }, status: { enabled: false } })
    }
    const made: string[][] = tabs.map(() => [])
    for (const [at, { store }] of tabs.entries()) {
      store.notifications.subscribe(() => made[at]?.push(...store.notifications.shown('board').map(({ id }) => id)))
    }
    await change(P, 'i-1', { turn: 1 }).settled
    await change(P, 'i-1', { action: 'opens the door' }).settled
    await change(P, 'i-1', { status: 'live' }).settled
    const all = ['i-1: turn 1', 'i-1: action opens the door', 'i-1: status live']
    await until(() => made.every((ids) => ids.includes('i-1/status/live')), 'both tabs have heard of all of it')
    await until(() => JSON.stringify(shown('board')) === JSON.stringify([all.slice(0, 2), all.slice(0, 2)]), 'what stands differently has closed itself')
    expect(shown('quiet')).toEqual([[all[1]], [all[1]]])
    expect(tabs[0]!.store.notifications.shown('board').map(({ sound }) => sound)).toEqual([true, false])
    // Closed in one tab, it is closed in the other, and does not come back.
    tabs[1]!.store.notifications.close('i-1/turn/1')
    await until(() => shown('board').every((list) => list.length === 1), 'it is closed everywhere')
    tell(tabs[0]!, { type: 'turn', key: 'i-1', interaction: { turn: 1, action: null, status: null } })
    expect(shown('board')).toEqual([[all[1]], [all[1]]])
  })
  test('broadcastUpdate and offline replay: what came while off-line shows in order once the link is back, each once', async () => {
    for (const { store } of tabs) store.notifications.configure('board', { turn: { autoCloseMs: null }, action: { autoCloseMs: null } })
    expect(shown('board')).toEqual([[], []])
    await backend.stop()
    // While a link is being opened, it counts as it was.
    await until(() => tabs.every(({ store }) => store.status().link.state === 'offline'), 'the links are seen to be down')
    const say = (at: number, message: string, atMs: number) => tabs[at]!.store.notifications.createNotification({ kind: 'turn', message, id: message, atMs }).state
    const now = Date.now()
    expect([say(0, 'second', now - 2_000), say(1, 'third', now - 1_000), say(0, 'first', now - 3_000)]).toEqual(['waits', 'waits', 'waits'])
    expect(shown('board')).toEqual([[], []])
    await backend.start()
    for (const { store } of tabs) store.reconnect()
    const all = ['first', 'second', 'third']
    await until(() => JSON.stringify(shown('board')) === JSON.stringify([all, all]), 'both show all of them, in order', 25_000)
    expect([say(0, 'first', now), say(1, 'second', now)]).toEqual(['known', 'known'])
    expect(shown('board')).toEqual([all, all])
  }, 60_000)
})

describe('Integration Tests', () => {
  test('Cross-tab synchronization', async () => {
    await change(D, 'i-1', { status: 'live' }).settled
    await until(() => get(D2)?.status === 'live', 'the other session of the same person sees it')
  })
  test('Offline/online transitions', async () => {
    await backend.stop()
    const made = [change(D, 'i-1', { status: 'live' }), change(D, 'i-1', { turn: 1 }), change(D, 'i-2', { status: 'paused' })]
    expect([get(D)?.status, get(D)?.turn, get(D, 'i-2')?.status]).toEqual(['live', 1, 'paused'])
    expect(D.store.recovery.getPendingOperationsCount()).toBeGreaterThan(0)
    await backend.start()
    D.store.recovery.retryPendingOperations()
    for (const { settled } of made) expect(await settled).toMatchObject({ outcome: 'confirmed' })
    await until(() => get(P)?.turn === 1 && get(P, 'i-2')?.status === 'paused', 'the others see it once they are back', 25_000)
    expect(await inDatabase()).toMatchObject({ status: 'live', turn: 1 })
  }, 60_000)
  test('Real-time data updates', async () => {
    await backend.sql(`update interactions set status = 'live', turn = 3 where id = 'i-1'`)
    await until(() => [D, D2, P].every((session) => get(session)?.turn === 3), 'every session sees the turn')
  })
})

describe('End-to-End Tests', () => {
  test('Complete live interaction workflows', async () => {
    const end = async (made: { settled: Promise<{ outcome: string }> }) => expect(await made.settled).toMatchObject({ outcome: 'confirmed' })
    await end(D.store.mutate({ name: 'insert', table: 'interactions', record: { id: 'i-9', status: 'waiting', campaign_id: 'k-1', turn: 0, action: null, tags: [], meta: {}, seen_at: null, note: null } }))
    await until(() => get(P, 'i-9') !== undefined, 'the player sees it')
    await end(change(D, 'i-9', { status: 'live', turn: 1 }))
    await until(() => get(P, 'i-9')?.turn === 1, 'the player sees the turn')
    await end(change(P, 'i-9', { action: 'opens the door' }))
    await until(() => get(D, 'i-9')?.action === 'opens the door', 'the action is seen')
    await end(change(D, 'i-9', { status: 'completed' }))
    await until(() => get(P, 'i-9')?.status === 'completed', 'the end is seen')
  })
  test('Error scenarios and recovery', async () => {
    backend.gateway().faults.dropNextRest = 2
    expect(await change(D, 'i-1', { status: 'live' }).settled).toMatchObject({ outcome: 'confirmed' })
    await backend.sql(`delete from interactions where id = 'i-3'`)
    if (get(D, 'i-3')) expect((await change(D, 'i-3', { status: 'live' }).settled).outcome).not.toBe('confirmed')
    await until(() => get(D, 'i-3') === undefined, 'what is gone is shown as gone')
    let tries = 0
    const flaky = D.store.recovery.executeWithRetry(() => (++tries < 3 ? Promise.reject(new Error('flaky')) : 'done'), { retryDelay: 1 })
    expect([await flaky, tries]).toEqual(['done', 3])
    expect(D.store.status()).toMatchObject({ unsent: 0, dead: 0 })
  })
  test('Multi-user concurrent operations', async () => {
    const ends = await Promise.all([change(D, 'i-1', { tags: ['dark'] }).settled, change(P, 'i-1', { tags: ['loud'] }).settled, change(D, 'i-2', { meta: { hp: 3 } }).settled, change(P, 'i-2', { meta: { gold: 7 } }).settled])
    await until(async () => {
      const [first, second] = [await inDatabase('i-1'), await inDatabase('i-2')]
      return [D, D2, P].every((session) => {
        const [one, two] = [get(session, 'i-1'), get(session, 'i-2')]
        return JSON.stringify([one?.tags, two?.meta]) === JSON.stringify([first!['tags'], second!['meta']]) && session.store.status().unsent === 0
      })
    }, 'everybody agrees')
    expect(new Set(get(P, 'i-1')?.tags)).toEqual(new Set(['dark', 'loud']))
    expect(get(P, 'i-2')?.meta).toEqual({ hp: 3, gold: 7 })
    expect(ends.map(({ outcome }) => outcome).every((outcome) => outcome === 'confirmed' || outcome === 'conflicted')).toBe(true)
    expect([...D.store.audit().entries, ...P.store.audit().entries].every(({ by }) => by === null)).toBe(true)
  })
  test('Network failure handling', async () => {
    Object.assign(backend.gateway().faults, { duplicateFrames: 5, dropNextRestAnswer: 3 })
    const made = [1, 2, 3, 4, 5, 6].map((n) => change(n % 2 === 0 ? D : P, `i-${n}`, { turn: n }))
    await new Promise((resolve) => setTimeout(resolve, 30))
    await backend.stop()
    await backend.start()
    for (const { store } of [D, D2, P]) store.reconnect()
    for (const { settled } of made) expect(await settled).toMatchObject({ outcome: 'confirmed' })
    await until(() => [D, D2, P].every((session) => [1, 2, 3, 4, 5, 6].every((n) => get(session, `i-${n}`)?.turn === n)), 'everybody has every turn', 25_000)
  }, 60_000)
})

test('what a person takes back, in whatever order, costs nothing that they did besides', async () => {
  const shown: (string | null | undefined)[] = []
  D.store.subscribe('interactions', 'i-1', () => shown.at(-1) !== get(D)?.note && shown.push(get(D)?.note))
  await backend.stop()
  await until(() => D.store.status().link.state !== 'live', 'the loss is noticed')
  const [first, second] = [change(D, 'i-1', { note: 'A' }), change(D, 'i-1', { note: 'B' })]
  D.store.cancel(first.id)
  await backend.start()
  D.store.reconnect()
  expect([await first.settled, await second.settled]).toMatchObject([{ outcome: 'cancelled' }, { outcome: 'confirmed' }])
  expect([shown.splice(0), await inDatabase()]).toMatchObject([['A', 'B'], { note: 'B' }])
  const made = [change(D, 'i-1', { note: 'X' }), change(D, 'i-1', { note: 'Y' }), change(D, 'i-1', { note: 'Z' })]
  for (const { settled } of made) await settled
  // The oldest first: what the person changed later covers it, until the last one is taken back, too.
  for (const { id } of made) await D.store.undo(id)?.settled
  expect([shown, await inDatabase(), D.store.conflicts()]).toMatchObject([['X', 'Y', 'Z', 'B'], { note: 'B' }, []])
}, 60_000)
