import type { Peer } from 'rota-engine'
import { describe, expect, test, vi } from 'vitest'
import { openAbleLive } from './able.js'
import { pause, refusal, until } from './world.js'

const peer = (user: string, doing: 'idle' | 'typing' | 'editing' = 'idle'): Peer => ({ user, tab: `${user}-1`, presence: { place: 'board', doing } })

describe('presence', () => {
  test('of this tab is told to the backend, and again when it changes', async () => {
    const { store, backend } = await openAbleLive()
    store.presence.set({ place: 'board' })
    await until(() => expect(backend.announced.at(-1)).toMatchObject([{ presence: { place: 'board', doing: 'idle' } }]))
    store.presence.set({ place: 'board', doing: 'editing', record: { table: 'orders', key: 7 } })
    await until(() => expect(backend.announced.at(-1)).toMatchObject([{ presence: { place: 'board', doing: 'editing', record: { table: 'orders', key: '7' } } }]))
    store.presence.set(null)
    await until(() => expect(backend.announced.at(-1)).toMatchObject([{ presence: null }]))
  })

  test('of others is the same list until it changes, and listeners hear of that', async () => {
    const { store, backend } = await openAbleLive()
    expect(store.presence.peers()).toEqual([])
    const heard = vi.fn()
    const stop = store.presence.subscribe(heard)
    backend.listener?.present?.([peer('jonas'), peer('lena', 'editing')])
    const before = store.presence.peers()
    expect(before).toMatchObject([{ user: 'jonas' }, { user: 'lena', presence: { doing: 'editing' } }])
    expect(Object.isFrozen(before)).toBe(true)
    backend.listener?.present?.([peer('jonas')])
    expect(store.presence.peers()).toBe(before)
    expect(heard).toHaveBeenCalledTimes(1)
    backend.listener?.present?.([{ ...peer('jonas'), presence: null }])
    expect(store.presence.peers()).toMatchObject([{ user: 'lena' }])
    expect(heard).toHaveBeenCalledTimes(2)
    stop()
    backend.listener?.present?.([{ ...peer('lena'), presence: null }])
    expect([store.presence.peers().length, heard.mock.calls.length]).toEqual([0, 2])
  })

  test('is among what a change list tells', async () => {
    const { store, backend } = await openAbleLive()
    const told: unknown[] = []
    store.subscribe(({ presence }) => told.push(presence?.length))
    backend.listener?.present?.([peer('jonas')])
    expect(told).toEqual([1])
  })

  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['text', 'board'],
    ['no place', {}],
    ['a place that is no text', { place: 5 }],
    ['an unknown activity', { place: 'x', doing: 'sleeping' }],
    ['a record without a table', { place: 'x', record: { key: 'a' } }],
    ['no record', { place: 'x', record: null }],
    ['a place of 257 bytes', { place: 'x'.repeat(257) }],
  ])('of %s is refused, and what was said before stays', async (_, place) => {
    const { store, backend } = await openAbleLive()
    store.presence.set({ place: 'board' })
    await pause(2)
    const announced = backend.announced.length
    expect(refusal(() => store.presence.set(place as { place: string })).code).toBe('invalid-operation')
    await pause(2)
    expect(backend.announced.length).toBe(announced)
  })

  test('of a record without a key is refused', async () => {
    const { store } = await openAbleLive()
    expect(refusal(() => store.presence.set({ place: 'x', record: { table: 'leads', key: null as never } })).code).toBe('missing-key')
  })

  test('that can not be read is reported, and the store goes on', async () => {
    const problems = vi.fn()
    const { store, backend } = await openAbleLive(undefined, { onProblem: problems })
    backend.listener?.present?.([{ user: 5 }] as never)
    backend.listener?.present?.([{ user: '', tab: '', presence: null }])
    expect(problems.mock.calls.map(([{ code }]) => code)).toEqual(['malformed-presence', 'malformed-presence'])
    backend.listener?.present?.([peer('jonas')])
    expect(store.presence.peers()).toHaveLength(1)
  })

  test('of a closed store is nobody, and its listeners are gone', async () => {
    const { store, backend } = await openAbleLive()
    backend.listener?.present?.([peer('jonas')])
    store.presence.subscribe(() => {})
    expect(refusal(() => store.presence.subscribe(5 as never)).code).toBe('invalid-operation')
    store.close()
    expect([store.presence.peers(), store.stats().listeners]).toEqual([[], 0])
    expect(refusal(() => store.presence.set({ place: 'x' })).code).toBe('closed')
    expect(refusal(() => store.presence.subscribe(() => {})).code).toBe('closed')
  })
})
