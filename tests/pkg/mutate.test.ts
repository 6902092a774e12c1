import type { Changes, Mutation } from 'rota-engine'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { open, openLive, pause, seeded, until, type tables, type World } from './world.js'

let store: World['store']
let backend: World['backend']

beforeEach(async () => {
  ;({ store, backend } = await openLive())
})

const patch = (city: string, key = 'c1') => store.mutate({ name: 'patch', table: 'companies', key, set: { city } })
const city = (key = 'c1') => store.get('companies', key)?.city

describe('a change shows at once', () => {
  test('a patch, an insert, a delete and an assignment are there when mutate returns', () => {
    backend.hold()
    patch('Kiel')
    expect(city()).toBe('Kiel')
    store.mutate({ name: 'insert', table: 'companies', record: { id: 'c3', name: 'New', city: null, owner_id: null } })
    expect(store.get('companies', 'c3')).toMatchObject({ name: 'New' })
    store.mutate({ name: 'delete', table: 'companies', key: 'c2' })
    expect(store.get('companies', 'c2')).toBeUndefined()
    expect(store.all('companies').map(({ id }) => id).sort()).toEqual(['c1', 'c3'])
    store.assignments.assign('companies', 'c1', 'maya')
    expect(store.get('companies', 'c1')?.owner_id).toBe('maya')
    expect(store.status().unsent).toBe(4)
  })

  test('what is given to mutate may be changed afterwards without harm', () => {
    const extra = { list: [1] }
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { extra } })
    extra.list.push(2)
    expect(store.get('companies', 'c1')?.extra).toEqual({ list: [1] })
  })

  test('listeners of the record, the table and everything have heard it when mutate returns, once each', () => {
    backend.hold()
    const heard: string[] = []
    const all: Changes[] = []
    store.subscribe('companies', 'c1', () => heard.push(`record ${city()}`))
    store.subscribe('companies', () => heard.push(`table ${city()}`))
    store.subscribe((changes) => all.push(changes))
    store.subscribe('companies', 'c2', () => heard.push('another record'))
    store.subscribe('people', () => heard.push('another table'))
    const { id } = patch('Kiel')
    expect(heard).toEqual(['record Kiel', 'table Kiel'])
    expect(all).toHaveLength(1)
    expect(all[0]).toMatchObject({ records: [{ table: 'companies', key: 'c1', record: { city: 'Kiel' } }], operations: [{ id, name: 'patch', mine: true }], status: { unsent: 1 } })
  })

  test('inside a batch listeners run after it, once, and reading inside is current', () => {
    const heard: unknown[] = []
    store.subscribe('companies', () => heard.push(city()))
    const returned = store.batch(() => {
      patch('Kiel')
      expect(city()).toBe('Kiel')
      store.batch(() => patch('Ulm'))
      patch('North', 'c2')
      expect(heard).toEqual([])
      return 'done'
    })
    expect(returned).toBe('done')
    expect(heard).toEqual(['Ulm'])
  })

  test('a batch that throws still tells what was done, and throws', () => {
    const heard: unknown[] = []
    store.subscribe('companies', () => heard.push(city()))
    const run = () =>
      store.batch(() => {
        patch('Kiel')
        throw new Error('mine')
      })
    expect(run).toThrow('mine')
    expect(heard).toEqual(['Kiel'])
  })

  test('a change made by a listener is told after the one it heard of, never inside it', () => {
    const heard: string[] = []
    store.subscribe('companies', 'c1', () => {
      heard.push(`> ${city()}`)
      if (city() === 'Kiel') patch('Ulm')
      expect(city()).toBe('Ulm')
      heard.push(`< ${city()}`)
    })
    store.subscribe('companies', 'c1', () => heard.push(`other ${city()}`))
    patch('Kiel')
    expect(heard).toEqual(['> Kiel', '< Ulm', 'other Ulm', '> Ulm', '< Ulm', 'other Ulm'])
  })
})

describe('listeners', () => {
  test('one that throws harms nobody, and its error is reported', async () => {
    const reported: unknown[] = []
    vi.stubGlobal('reportError', (error: unknown) => reported.push(error))
    const heard: unknown[] = []
    store.subscribe('companies', 'c1', () => {
      throw new Error('a listener of mine')
    })
    store.subscribe('companies', 'c1', () => heard.push(city()))
    store.subscribe(() => {
      throw new Error('another')
    })
    const { settled } = patch('Kiel')
    expect(heard).toEqual(['Kiel'])
    expect(reported.map(String)).toEqual(['Error: a listener of mine', 'Error: another'])
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    vi.unstubAllGlobals()
  })

  test('where there is no reportError, the console hears of it', () => {
    vi.stubGlobal('reportError', undefined)
    const said = vi.spyOn(console, 'error').mockImplementation(() => {})
    store.subscribe('companies', 'c1', () => {
      throw new Error('mine')
    })
    patch('Kiel')
    expect(said).toHaveBeenCalledTimes(1)
    vi.unstubAllGlobals()
  })

  test('one that leaves during a notification hears nothing any more', () => {
    const heard: string[] = []
    const stops: (() => void)[] = []
    stops.push(
      store.subscribe('companies', 'c1', () => {
        heard.push('first')
        for (const stop of stops) stop()
      }),
    )
    stops.push(store.subscribe('companies', 'c1', () => heard.push('second')))
    stops.push(store.subscribe('companies', () => heard.push('table')))
    stops.push(store.subscribe(() => heard.push('everything')))
    patch('Kiel')
    patch('Ulm')
    expect(heard).toEqual(['first'])
  })

  test('one that comes during a notification hears the next one', () => {
    const heard: string[] = []
    const stop = store.subscribe('companies', 'c1', () => {
      stop()
      store.subscribe('companies', 'c1', () => heard.push(String(city())))
    })
    patch('Kiel')
    expect(heard).toEqual([])
    patch('Ulm')
    expect(heard).toEqual(['Ulm'])
  })

  test('the same function may subscribe twice, and leaves once for each', () => {
    const before = store.stats().listeners
    const listener = vi.fn()
    const stops = [store.subscribe('companies', 'c1', listener), store.subscribe('companies', 'c1', listener)]
    patch('Kiel')
    expect(listener).toHaveBeenCalledTimes(2)
    stops[0]!()
    stops[0]!()
    expect(store.stats().listeners).toBe(before + 1)
    patch('Ulm')
    expect(listener).toHaveBeenCalledTimes(3)
    stops[1]!()
    expect(store.stats().listeners).toBe(before)
  })

  test('a record that is not there can be watched until it comes, and when it goes and comes again', () => {
    const heard: unknown[] = []
    store.subscribe('companies', 'new', () => heard.push(store.get('companies', 'new')?.name))
    const insert = (name: string): Mutation<typeof tables> => ({ name: 'insert', table: 'companies', record: { id: 'new', name, city: null, owner_id: null } })
    store.mutate(insert('one'))
    store.mutate({ name: 'delete', table: 'companies', key: 'new' })
    store.mutate(insert('two'))
    expect(heard).toEqual(['one', undefined, 'two'])
  })
})

describe('how an operation ends', () => {
  test('confirmed: the record is the server’s, the operation is recent', async () => {
    const { id, durable, settled } = patch('Kiel')
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    expect(await durable).toBe('memory')
    expect(await settled).toEqual({ id, outcome: 'confirmed' })
    expect(city()).toBe('Kiel')
    expect(store.operations()).toMatchObject({ pending: [], recent: [{ id, state: 'confirmed', name: 'patch', table: 'companies', key: 'c1' }] })
    expect(store.status().unsent).toBe(0)
    expect(backend.pushes[0]).toMatchObject({ protocol: 1, id, name: 'patch', set: { city: 'Kiel' }, base: { city: 'Bremen' }, args: {}, after: [] })
  })

  test('refused: the confirmed value is back, and it says why', async () => {
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'only members of Sales may do this' })
    const { id, settled } = patch('Kiel')
    expect(city()).toBe('Kiel')
    expect(await settled).toEqual({ id, outcome: 'refused', code: 'forbidden', message: 'only members of Sales may do this' })
    expect(city()).toBe('Bremen')
    expect(store.operations().recent[0]).toMatchObject({ state: 'refused', code: 'forbidden', message: 'only members of Sales may do this' })
  })

  test('refused: an insert is gone again, a delete is back', async () => {
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    const inserted = store.mutate({ name: 'insert', table: 'companies', record: { id: 'c3', name: 'New', city: null, owner_id: null } })
    const deleted = store.mutate({ name: 'delete', table: 'companies', key: 'c1' })
    await Promise.all([inserted.settled, deleted.settled])
    expect(store.get('companies', 'c3')).toBeUndefined()
    expect(city()).toBe('Bremen')
    expect(store.all('companies')).toHaveLength(2)
  })

  test('conflicted: the winner shows, and the fields are named', async () => {
    backend.judge = () => {
      backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Bremen', owner_id: 'jonas', extra: null }, { silently: true })
      return { outcome: 'conflicted', code: 'taken', message: 'somebody else was assigned first', fields: ['owner_id'] }
    }
    const { id, settled } = store.assignments.assign('companies', 'c1', 'maya')
    expect(await settled).toEqual({ id, outcome: 'conflicted', code: 'taken', message: 'somebody else was assigned first', fields: ['owner_id'] })
    expect(store.get('companies', 'c1')?.owner_id).toBe('jonas')
  })

  test('dead: after its tries it is given up, the confirmed value is back, and settled says so', async () => {
    backend.pushFailures.push(...Array.from({ length: 3 }, () => new Error('boom')))
    const { id, settled } = patch('Kiel')
    expect(await settled).toEqual({ id, outcome: 'dead', code: 'unknown', message: 'boom' })
    expect(city()).toBe('Bremen')
    expect(store.status()).toMatchObject({ dead: 1, unsent: 0 })
    expect(store.operations().pending).toMatchObject([{ id, state: 'dead', tries: 2 }])
  })

  test('cancelled: what was not sent yet is taken back', async () => {
    backend.online = false
    backend.hold()
    const first = patch('Kiel')
    const second = patch('Ulm')
    store.cancel(second.id)
    expect(city()).toBe('Kiel')
    expect(await second.settled).toEqual({ id: second.id, outcome: 'cancelled' })
    expect(() => store.cancel(first.id)).toThrowError(expect.objectContaining({ code: 'too-late' }))
    expect(() => store.cancel(second.id)).toThrowError(expect.objectContaining({ code: 'unknown-operation' }))
  })

  test('retry: the server could not decide, and is asked again', async () => {
    let busy = 2
    backend.judge = () => (busy-- > 0 ? { outcome: 'retry', code: 'busy', message: 'deadlock detected', afterMs: 3 } : undefined)
    expect(await patch('Kiel').settled).toMatchObject({ outcome: 'confirmed' })
    expect(backend.pushes).toHaveLength(3)
    expect(new Set(backend.pushes.map(({ id }) => id)).size).toBe(1)
  })

  test('a lost reply is asked for again under the same id, and the effect is there once', async () => {
    backend.losesReplies = 1
    backend.echo = 'none'
    expect(await patch('Kiel').settled).toMatchObject({ outcome: 'confirmed' })
    expect(backend.ledger.size).toBe(1)
    expect(city()).toBe('Kiel')
  })

  test('a rate limit waits, and is no failed try', async () => {
    const { BackendError } = await import('rota-engine')
    backend.pushFailures.push(...Array.from({ length: 5 }, () => new BackendError('rate-limit', 'slow down', 1)))
    expect(await patch('Kiel').settled).toMatchObject({ outcome: 'confirmed' })
  })

  test.each([[-1], [NaN], [Infinity], ['soon']])('a wait of %s that a backend asks for is no wait', async (afterMs) => {
    const { BackendError } = await import('rota-engine')
    backend.pushFailures.push(new BackendError('rate-limit', 'slow down', afterMs as number))
    expect(await patch('Kiel').settled).toMatchObject({ outcome: 'confirmed' })
  })

  test('operations on one record go out one after the other, those on others beside them', async () => {
    backend.hold()
    const done = [patch('Kiel'), patch('Ulm'), patch('Bonn', 'c2')].map(({ settled }) => settled)
    await until(() => expect(backend.pushes.map(({ set }) => set['city'])).toEqual(['Kiel', 'Bonn']))
    backend.release()
    await Promise.all(done)
    expect(backend.pushes.map(({ set }) => set['city'])).toEqual(['Kiel', 'Bonn', 'Ulm'])
  })

  test('what depends on a refused insert is refused with it', async () => {
    backend.judge = ({ name, after }) => (name === 'insert' ? { outcome: 'refused', code: 'invalid', message: 'no' } : { outcome: 'refused', code: 'dependency-refused', message: `after ${after[0]}` })
    const inserted = store.mutate({ name: 'insert', table: 'companies', record: { id: 'c3', name: 'New', city: null, owner_id: null } })
    const patched = patch('Kiel', 'c3')
    expect(await patched.settled).toMatchObject({ outcome: 'refused', code: 'dependency-refused', message: expect.stringContaining(inserted.id) })
    expect(store.get('companies', 'c3')).toBeUndefined()
  })
})

describe('no flicker: a listener sees the new value, and nothing else, whenever the echo comes', () => {
  test.each([['before'], ['after'], ['none']] as const)('echo %s the answer', async (echo) => {
    backend.echo = echo
    backend.delayMs = 2
    const seen: unknown[] = []
    store.subscribe('companies', 'c1', () => seen.push(city()))
    const { settled } = patch('Kiel')
    await settled
    await pause(15)
    expect(new Set(seen)).toEqual(new Set(['Kiel']))
    expect(store.operations().pending).toEqual([])
  })

  test.each([['before'], ['after'], ['none']] as const)('three patches in a row, echo %s', async (echo) => {
    backend.echo = echo
    backend.delayMs = 1
    const seen: unknown[] = []
    store.subscribe('companies', 'c1', () => seen.push(city()))
    await Promise.all([patch('Kiel'), patch('Ulm'), patch('Bonn')].map(({ settled }) => settled))
    await pause(10)
    // In this order, each for some time, and never one that was there before.
    expect(seen.filter((value, at) => value !== seen[at - 1])).toEqual(['Kiel', 'Ulm', 'Bonn'])
  })

  test('a pull under way does not overwrite what was changed meanwhile', async () => {
    const slow = seeded()
    slow.delayMs = 10
    const world = open(slow)
    await until(() => expect(world.store.status().ready).toBe(true))
    const seen: unknown[] = []
    world.store.reconnect()
    world.store.subscribe('companies', 'c1', () => seen.push(world.store.get('companies', 'c1')?.city))
    await world.store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } }).settled
    await pause(30)
    expect(new Set(seen)).toEqual(new Set(['Kiel']))
  })

  test('a change of another field by somebody else shows beside the pending one', async () => {
    backend.hold()
    patch('Kiel')
    backend.put('companies', { id: 'c1', name: 'Renamed', city: 'Bremen', owner_id: null, extra: null })
    expect(store.get('companies', 'c1')).toMatchObject({ name: 'Renamed', city: 'Kiel' })
  })
})
