/** Presence of the gateway, as the real client and as the package's adapter use it. */
import type { SupabaseClient } from '@supabase/supabase-js'
import { createStore, init, table, type Store } from 'rota-engine'
import { supabaseBackend } from 'rota-engine/supabase'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { rawSocket } from './raw-socket.js'
import { openWorld, type World } from './world.js'

let world: World
beforeAll(async () => {
  world = await openWorld({ limits: { presenceCalls: 4 } })
  await init()
})
afterAll(() => world.close())
afterEach(() => world.quiet())

/** Joins a topic with presence. */
async function enter(client: SupabaseClient, key: string) {
  const channel = client.channel('room', { config: { presence: { key, enabled: true } } })
  const syncs = vi.fn()
  const here = new Map<string, [key: string, at: string | undefined]>()
  // The client's own picture keeps who has gone (supabase-js #2565); what it tells is right.
  channel.on<{ at?: string }>('presence', { event: 'join' }, ({ key: name, newPresences }) => {
    for (const { presence_ref, at } of newPresences) here.set(presence_ref, [name, at])
  })
  channel.on('presence', { event: 'leave' }, ({ leftPresences }) => {
    for (const { presence_ref } of leftPresences) here.delete(presence_ref)
  })
  channel.on('presence', { event: 'sync' }, syncs)
  await new Promise<void>((resolve, reject) => {
    channel.subscribe((status, error) => {
      if (status === 'SUBSCRIBED') resolve()
      else reject(error ?? new Error(status))
    })
  })
  const seen = () => [...here.values()].sort()
  return { channel, seen, syncs }
}

const eventually = (check: () => void) => vi.waitFor(check, { interval: 5, timeout: 5_000 })

describe('a channel with presence', () => {
  it('hears who is here, who comes, changes and goes', async () => {
    const ada = await enter(await world.signedIn(world.ada), 'ada')
    await eventually(() => expect(ada.syncs).toHaveBeenCalledTimes(1))
    expect(ada.seen()).toEqual([])
    expect(await ada.channel.track({ at: 'board' })).toBe('ok')
    const bob = await enter(await world.signedIn(world.bob), 'bob')
    await eventually(() => expect(bob.seen()).toEqual([['ada', 'board']]))
    await bob.channel.track({ at: 'list' })
    await eventually(() => expect(ada.seen()).toEqual([['ada', 'board'], ['bob', 'list']]))
    await ada.channel.track({ at: 'list' })
    await eventually(() => expect(bob.seen()).toEqual([['ada', 'list'], ['bob', 'list']]))
    await ada.channel.untrack()
    await eventually(() => expect(bob.seen()).toEqual([['bob', 'list']]))
    await bob.channel.unsubscribe()
    await eventually(() => expect(ada.seen()).toEqual([]))
  })

  it('keeps two that have one key apart', async () => {
    const [one, other] = [await enter(await world.signedIn(world.ada), 'ada'), await enter(await world.signedIn(world.ada), 'ada')]
    await one.channel.track({ at: 'board' })
    await other.channel.track({ at: 'list' })
    await eventually(() => expect(one.seen()).toEqual([['ada', 'board'], ['ada', 'list']]))
    await other.channel.unsubscribe()
    await eventually(() => expect(one.seen()).toEqual([['ada', 'board']]))
  })

  it('is gone for the others when its socket dies without a word', async () => {
    const ada = await enter(await world.signedIn(world.ada), 'ada')
    const socket = await rawSocket(world)
    await socket.join('realtime:room', [], { config: { presence: { key: 'raw', enabled: true } } })
    expect((await socket.next(([, , , event]) => event === 'presence_state'))[4]).toEqual({})
    socket.send(['1', '2', 'realtime:room', 'presence', { type: 'presence', event: 'track', payload: { at: 'raw' } }])
    await eventually(() => expect(ada.seen()).toEqual([['raw', 'raw']]))
    socket.ws.terminate()
    await eventually(() => expect(ada.seen()).toEqual([]))
  })

  it('says no more than it may, and no nonsense', async () => {
    const socket = await rawSocket(world)
    await socket.join('realtime:room', [], { config: { presence: { key: '', enabled: true } } })
    const say = async (ref: string, payload: unknown) => {
      socket.send(['1', ref, 'realtime:room', 'presence', payload as Record<string, unknown>])
      return (await socket.next((frame) => frame[1] === ref))[4]
    }
    expect(await say('2', 'x')).toMatchObject({ status: 'error', response: { reason: /track with an object/ } })
    expect(await say('3', { event: 'track', payload: [] })).toMatchObject({ status: 'error' })
    expect(await say('4', { event: 'track', payload: { at: 'a' } })).toMatchObject({ status: 'ok' })
    expect(await say('5', { event: 'untrack' })).toMatchObject({ status: 'ok' })
    expect(await say('6', { event: 'untrack' })).toMatchObject({ status: 'error', response: { reason: /RateLimit/ } })
    socket.ws.close()
  })
})

describe('stores on the Supabase adapter', () => {
  const tables = { notes: table<{ id: number; title: string }>({ key: 'id', fields: ['id', 'title'] }) }
  const stores: Store<typeof tables>[] = []
  afterEach(() => {
    for (const store of stores.splice(0)) store.close()
  })

  const open = async (person: World['ada']) => {
    const client = await world.signedIn(person)
    const backend = supabaseBackend(client, { presence: 'notes' })
    // Of the server kit nothing is needed here: who is present is no record.
    const pull = async () => ({ protocol: 1, cursor: null, whole: true, records: {}, gone: [], settled: [] })
    const store = createStore({ app: 'presence', user: person.id, tables, backend: { ...backend, pull }, storage: 'memory' })
    stores.push(store)
    return store
  }

  it('see each other come, move and go', async () => {
    const [ada, bob] = [await open(world.ada), await open(world.bob)]
    ada.presence.set({ place: 'notes' })
    bob.presence.set({ place: 'notes', doing: 'editing', record: { table: 'notes', key: 7 } })
    await eventually(() => expect(ada.presence.peers()).toMatchObject([{ user: world.bob.id, presence: { place: 'notes', doing: 'editing', record: { table: 'notes', key: '7' } } }]))
    await eventually(() => expect(bob.presence.peers()).toMatchObject([{ user: world.ada.id, presence: { place: 'notes', doing: 'idle' } }]))
    ada.presence.set({ place: 'notes', doing: 'typing' })
    await eventually(() => expect(bob.presence.peers()).toMatchObject([{ user: world.ada.id, presence: { doing: 'typing' } }]))
    bob.close()
    await eventually(() => expect(ada.presence.peers()).toEqual([]))
  })
})
