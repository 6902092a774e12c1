import { BackendError, type Backend, type LinkListener, type StreamEvent } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import { Host } from '../../pkg/dist/host.js'
import { openLive, pause, until } from './world.js'

// The host between a backend and an engine that only notes what it is told.
const heard: unknown[][] = []
const engine = new Proxy({}, { get: (_, name) => (...args: unknown[]) => void heard.push([name, ...args]) })
const keys = new Map([
  ['companies', ['id']],
  ['shifts', ['site', 'day']],
])
let host: Host
let listener: LinkListener
let answer: unknown
let response: unknown
let scripted: Backend

beforeEach(() => {
  heard.length = 0
  scripted = {
    pull: async () => response,
    push: async () => answer,
    connect: (_tables, given) => {
      listener = given
      return () => {}
    },
  } as Backend
  host = new Host(scripted, {} as never, keys, new Map(), 'maya')
  host.attach(
    engine as never,
    () => {},
    () => {},
  )
  host.perform('connect', 1)
})

const tell = (...events: unknown[]) => {
  listener.changed(events as StreamEvent[])
  return heard
}
const changed = (row: unknown, old?: unknown) => ({ table: 'companies', kind: 'changed', row, old })
const report = (table: string) => ['unreadable', 'malformed-event', table, expect.any(String)]
const TOO_LARGE = 2 ** 60

describe('what the stream tells and can not be read is fetched', () => {
  test('of a row that can not be read, the members that can be go to the engine, so that its record is fetched', () => {
    const row = { id: 'c1', big: TOO_LARGE, ok: true, none: null, part: 0.5, not: NaN, list: [1], date: new Date(), missing: undefined }
    expect(tell(changed(row))).toEqual([report('companies'), ['stale', 'companies', { id: 'c1', big: TOO_LARGE, ok: true, none: null, part: 0.5 }]])
  })

  test('where nothing of a row can be read, the table is fetched', () => {
    expect(tell({ table: 'companies', kind: 'changed' })).toEqual([report('companies'), ['stale', 'companies', undefined]])
  })

  test('a row that runs code is never asked twice', () => {
    const row = {
      get id(): string {
        throw new Error('from the getter')
      },
    }
    expect(tell(changed(row))).toEqual([report('companies'), ['stale', 'companies', {}]])
  })

  test('what came with it counts first', () => {
    expect(tell(changed({ id: 'c1', extra: TOO_LARGE }), changed({ id: 'c2' })).map(([name]) => name)).toEqual(['unreadable', 'changed', 'stale'])
  })

  test('an event of no declared table fetches nothing', () => {
    tell({ table: 'nope', kind: 'changed', row: { id: 1n } }, { table: 5, kind: 'deleted', row: {} }, null)
    expect(heard.filter(([name]) => name === 'stale')).toEqual([])
  })

  test.each([
    ['a deletion', { table: 'shifts', kind: 'deleted', row: { site: 'north' } }],
    ['a change', { table: 'shifts', kind: 'changed', row: { site: 'north', day: 1.5, who: null } }],
  ])('%s without the whole key may be about any record, so everything new is fetched', async (_what, event) => {
    const { backend, store, problems } = await openLive()
    backend.put('shifts', { site: 'north', day: 42, who: 'maya' }, { silently: true })
    backend.tell(event)
    await until(() => expect(store.get('shifts', ['north', 42])?.who).toBe('maya'))
    expect(problems).toMatchObject([{ code: 'malformed-event', place: 'shifts' }])
  })

  test('a row that throws whatever is asked of it takes nothing else with it', () => {
    const refuse = () => {
      throw new Error('no')
    }
    const proxy = new Proxy({}, { ownKeys: refuse, getPrototypeOf: refuse })
    const event = { table: 'companies', kind: 'changed', get row() { return refuse() } }
    expect(tell(changed(proxy), event, changed({ id: 'c2' })).map(([name]) => name)).toEqual(['unreadable', 'unreadable', 'changed', 'stale', 'stale'])
  })
})

describe('a row whose key changed', () => {
  test('leaves nothing under its old key', () => {
    expect(tell(changed({ id: 'c2', name: 'x' }, { id: 'c1', name: 'old' }))).toEqual([['changed', ['companies', 'deleted', { id: 'c1' }, 'companies', 'changed', { id: 'c2', name: 'x' }]]])
  })

  test('is found by every part of its key', () => {
    const event = (old: object) => ({ table: 'shifts', kind: 'changed', row: { who: null, day: 2, site: 'a' }, old })
    const change = ['shifts', 'changed', { who: null, day: 2, site: 'a' }]
    expect(tell(event({ day: 1, site: 'a' }), event({ site: 'a', day: 2 }), event({ site: 'b' }))).toEqual([['changed', ['shifts', 'deleted', { site: 'a', day: 1 }, ...change, ...change, ...change]]])
  })

  test.each([undefined, null, 'c0', {}, [], { id: null }, { id: 1n }, { id: 'c1' }])('an old row of %o tells of no other key', (old) => {
    expect(tell(changed({ id: 'c1' }, old))).toEqual([['changed', ['companies', 'changed', { id: 'c1' }]]])
  })

  test('is gone under its old key once the server says so', async () => {
    const { store, backend } = await openLive()
    backend.remove('companies', 'c1', { silently: true })
    const row = backend.put('companies', { id: 'c9', name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: null }, { silently: true })
    backend.tell({ table: 'companies', kind: 'changed', row, old: { id: 'c1' } })
    await until(() => expect(store.get('companies', 'c1')).toBeUndefined())
    expect(store.get('companies', 'c9')?.city).toBe('Kiel')
  })
})

describe('an answer counts, even where its record can not be read', () => {
  const base = { protocol: 1, id: 'o1', table: 'companies', key: 'c1', replayed: false, version: '7', record: { id: 'c1', n: TOO_LARGE } }
  const without = { ...base, version: undefined, record: undefined }
  const cases: [what: string, given: object, told: object][] = [
    ['confirmed', { ...base, outcome: 'confirmed' }, { ...without, outcome: 'confirmed', recordUnreadable: true }],
    ['conflicted', { ...base, outcome: 'conflicted', fields: [] }, { ...without, outcome: 'conflicted', fields: [], recordUnreadable: true }],
    ['refused', { ...base, outcome: 'refused', code: 'not-yours' }, { ...without, outcome: 'refused', code: 'not-yours' }],
  ]

  test.each(cases)('%s, as the answer to a push', async (_what, given, told) => {
    answer = given
    host.perform('push', { id: 'o1' })
    await pause(0)
    expect(heard).toEqual([report('companies'), ['answered', 'o1', told], ['stale', 'companies', undefined]])
  })

  test.each(cases)('%s, as one of what a pull says is settled: the others and the rows count', async (_what, given, told) => {
    const good = { ...base, id: 'o2', outcome: 'confirmed', record: null }
    response = { protocol: 1, records: { companies: [{ id: 'c3' }] }, settled: [given, good] }
    host.perform('pull', { id: 3, request: {} })
    await pause(0)
    expect(heard).toEqual([report('companies'), ['pulled', 3, { protocol: 1, records: { companies: [{ id: 'c3' }] }, settled: [told, good] }], ['stale', 'companies', undefined]])
  })

  test('a refusal with such a record is a refusal', async () => {
    const { store, backend, problems } = await openLive()
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'not yours' })
    backend.spoilAnswer = (given) => ({ ...given, record: { id: 'c1', extra: TOO_LARGE } })
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(await settled).toMatchObject({ outcome: 'refused', code: 'forbidden' })
    expect(backend.pushes).toHaveLength(1)
    expect(problems).toMatchObject([{ code: 'malformed-event', place: 'companies', message: expect.stringContaining("answer's record.extra") }])
  })

  test('an answer whose record is no object at all is none of the protocol', async () => {
    answer = { ...base, outcome: 'confirmed', record: [] }
    host.perform('push', { id: 'o1' })
    await pause(0)
    expect(heard).toEqual([['pushFailed', 'o1', 'unknown', expect.stringContaining('record is not an object'), undefined]])
  })
})

describe('several operations in one call', () => {
  const done = (id: string) => ({ protocol: 1, id, table: 'companies', key: id, replayed: false, outcome: 'confirmed', version: '7', record: { id } })
  const send = async (answers: unknown) => {
    Object.assign(scripted, { pushAll: () => (answers instanceof Error ? Promise.reject(answers) : Promise.resolve(answers)) })
    host.perform('pushAll', [3, [{ id: 'o1' }, { id: 'o2' }, { id: 'o3' }]])
    await pause(2)
    return heard
  }

  test('are sent when the running task is over', async () => {
    host.perform('gather', undefined)
    expect(heard).toEqual([])
    await Promise.resolve()
    expect(heard).toEqual([['gathered']])
  })

  test('have their answers by id, in whatever order they come', async () => {
    expect(await send([done('o3'), done('o1'), done('o2')])).toEqual([['callAnswered', 3, ['o3', done('o3'), 'o1', done('o1'), 'o2', done('o2')], []]])
  })

  test('one that is passed over has none, and an answer to another operation is none of theirs', async () => {
    expect(await send([done('o1'), done('o9'), done('o1'), null, 5])).toEqual([
      ['unreadable', 'malformed-answer', 'pushAll', expect.stringContaining('4 of the answers')],
      ['callAnswered', 3, ['o1', done('o1')], []],
    ])
  })

  test('an error in the place of one is what became of that one', async () => {
    const limited = new BackendError('rate-limit', 'slowly', 1_500)
    expect(await send([done('o1'), limited, new Error('odd')])).toEqual([
      ['callAnswered', 3, ['o1', done('o1')], ['o2', 'rate-limit', 'slowly', 1_500, 'o3', 'unknown', 'odd', undefined]],
    ])
  })

  test('an answer that can not be read is that of one, and its getters are asked inside', async () => {
    const trap = {
      get id(): string {
        throw new Error('from the getter')
      },
    }
    expect(await send([{ ...done('o1'), record: [] }, trap, done('o3')])).toEqual([
      ['unreadable', 'malformed-answer', 'pushAll', expect.any(String)],
      ['callAnswered', 3, ['o3', done('o3')], ['o1', 'unknown', expect.stringContaining('record is not an object'), undefined]],
    ])
  })

  test('a call that fails fails as a whole', async () => {
    expect(await send(new BackendError('auth', 'expired'))).toEqual([['callFailed', 3, 'auth', 'expired', undefined]])
  })

  test.each([[{}], ['answers'], [null]])('so does one that is answered with %j', async (answers) => {
    expect(await send(answers)).toEqual([['callFailed', 3, 'unknown', expect.stringContaining('list'), undefined]])
  })

  test('a server that takes one a call says so by saying nothing', async () => {
    expect(await send(undefined)).toEqual([['callDeclined', 3]])
  })
})

test('while somebody else is signed in, nobody is said to be at work either', async () => {
  let calls = 0
  Object.assign(scripted, { active: async () => ++calls > 0 })
  host.holdBack(new BackendError('auth', 'somebody else is signed in'))
  await expect(host.active('chats', 'c-1')).rejects.toMatchObject({ failure: 'auth' })
  host.holdBack(undefined)
  expect([await host.active('chats', 'c-1'), calls]).toEqual([true, 1])
})

describe('what the engine asks about tokens and the link is answered', () => {
  const refresh = async (refreshToken?: () => Promise<void>) => {
    Object.assign(scripted, { refreshToken })
    host.perform('refreshToken', undefined)
    await pause(2)
    return heard
  }

  test('at once, where no token can be asked for', () => {
    host.perform('refreshToken', undefined)
    expect(heard).toEqual([['tokenKept']])
  })

  test('with a fresh token', async () => {
    expect(await refresh(async () => {})).toEqual([['tokenRefreshed']])
  })

  test('with a refusal', async () => {
    expect(await refresh(() => Promise.reject(new BackendError('auth', 'signed out')))).toEqual([['tokenRefused', 'signed out']])
  })

  test('with a network that is away, which says nothing about the token', async () => {
    expect(await refresh(() => Promise.reject(new BackendError('network', 'no route')))).toEqual([['tokenMissed', 'network', 'no route']])
  })

  test('a ping with a pong, or with the end of the link', async () => {
    let fails = false
    Object.assign(scripted, { ping: () => (fails ? Promise.reject(new BackendError('network', 'gone')) : Promise.resolve()) })
    host.perform('ping', 1)
    await pause(2)
    fails = true
    host.perform('ping', 1)
    await pause(2)
    expect(heard).toEqual([
      ['ponged', 1],
      ['linkClosed', 1, 'network', 'gone'],
    ])
  })
})
