// The testing strategy of the live interaction document: its integration and end-to-end items, on the real backend. Its unit
// items, and error boundaries, have tests where that code is.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
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
