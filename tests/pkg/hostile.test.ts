import { init } from 'rota-engine'
import { beforeAll, beforeEach, expect, it } from 'vitest'
import { openTab, session, storage } from './browser.js'
import { isLive, pause, seeded, until } from './world.js'

beforeAll(init)

let channel: BroadcastChannel

beforeEach(() => {
  channel = new BroadcastChannel(session())
  return () => channel.close()
})

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel has none
const say = (message: unknown) => channel.postMessage(message)

function nested(depth: number): unknown {
  let value: unknown = 'bottom'
  for (let level = 0; level < depth; level++) value = level % 2 ? [value] : { value }
  return value
}

function shared(depth: number): unknown {
  let value: unknown = 'bottom'
  for (let level = 0; level < depth; level++) value = [value, value]
  return value
}

function cyclic(): unknown {
  const round: Record<string, unknown> = { v: 1, from: 'x', epoch: 0, seq: 1, kind: 'operation' }
  round.op = round
  round.records = [round]
  return round
}

const envelope = { v: 1, from: 'evil', epoch: 0, seq: 1 }
const operation = {
  protocol: 1,
  id: '019aa5e3-f1c0-7a3b-9c1d-00427498af64',
  name: 'patch',
  table: 'companies',
  key: 'c1',
  args: {},
  set: { city: 'Kiel' },
  base: { city: 'Bremen' },
  hlc: '019aa5e3f1c0-0000',
  tab: 'evil',
  after: [],
}
const row = { table: 'companies', key: 'c1', version: '9007199254740993', op: null, record: { id: 'c1' } }
const proto = JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}') as object

const HOSTILE: readonly [string, () => unknown][] = [
  ['nothing', () => undefined],
  ['a number', () => Number.NaN],
  ['a date', () => new Date(8.64e15)],
  ['a map', () => new Map([['v', 1]])],
  ['bytes', () => new Uint8Array(1 << 20)],
  ['an error', () => new RangeError('no')],
  ['itself inside itself', cyclic],
  ['a value of hundreds of levels', () => ({ ...envelope, kind: 'operation', op: { ...operation, set: { city: nested(900) } } })],
  ['a record as deep', () => ({ ...envelope, kind: 'changes', cursor: null, records: [{ ...row, record: nested(900) }] })],
  ['a list that says to be four thousand million long', () => ({ ...envelope, kind: 'hello', pending: Object.assign([], { length: 2 ** 32 - 1 }) })],
  ['a value that says so', () => ({ ...envelope, kind: 'operation', op: { ...operation, set: { city: Object.assign([], { length: 2 ** 32 - 1 }) } } })],
  ['a value of a few objects that hold each other in as many ways as no time would do to follow', () => ({ ...envelope, kind: 'operation', op: { ...operation, set: { city: shared(60) } } })],
  ['a hundred thousand ids', () => ({ ...envelope, kind: 'hello', pending: Array.from({ length: 100_000 }, () => operation.id) })],
  ['names of the prototype', () => ({ ...envelope, kind: 'operation', op: { ...operation, set: proto, args: proto, key: '__proto__', table: 'constructor' } })],
  ['a record with such names', () => ({ ...envelope, kind: 'changes', cursor: null, records: [{ ...row, key: '__proto__', record: proto }] })],
  ['text of lone surrogates', () => ({ ...envelope, kind: 'operation', op: { ...operation, key: '\uD800', set: { city: '\uDFFF\0' } } })],
  ['counts beyond all measure', () => ({ ...envelope, epoch: Number.MAX_SAFE_INTEGER, seq: Number.MAX_SAFE_INTEGER, kind: 'bye' })],
  ['counts that are none', () => ({ ...envelope, epoch: -1, seq: 0.5, kind: 'hello', pending: [] })],
  ['a later protocol', () => ({ ...envelope, v: 4_294_967_295, kind: 'hello', pending: [] })],
  ['a kind of the prototype', () => ({ ...envelope, kind: 'toString' })],
  ['a snapshot for everybody', () => ({ ...envelope, kind: 'snapshot', to: {}, cursor: 7, records: {}, operations: 'x', link: [] })],
  ['an answer to nothing', () => ({ ...envelope, kind: 'settled', answer: { ...operation, outcome: 'confirmed', version: '1', record: null } })],
  ['a logout in the year 9999', () => ({ ...envelope, v: 2, kind: 'signedOut', atMs: 253_370_764_800_000 })],
  ['people without end', () => ({ ...envelope, v: 2, kind: 'presence', peers: Array.from({ length: 20_000 }, (_, n) => ({ user: `u${n}`, tab: `t${n}`, presence: { place: 'x', doing: 'idle' } })) })],
]

it.each(HOSTILE)('a message that is %s harms nobody', async (_, make) => {
  const { store, problems } = openTab(seeded())
  await isLive(store)
  const began = Date.now()
  for (let time = 0; time < 3; time++) say(make())
  await pause(30)
  expect(Date.now() - began).toBeLessThan(5_000)
  expect(problems.filter(({ code }) => code === 'engine-crashed')).toEqual([])
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  expect(store.get('companies', 'c2')?.name).toBe('North Mill')
  const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { city: 'Ulm' } })
  expect((await settled).outcome).toBe('confirmed')
  expect(store.get('companies', 'c2')?.city).toBe('Ulm')
})

it.each(['{', 'null', '7', '[]', '"x"', '{"v":1}', '{"v":1e400}', '{"v":-1,"op":{}}', `{"v":1,"op":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, '~~~~'])(
  'entry %# that somebody wrote into storage harms nobody',
  async (text) => {
    for (const place of ['op', 'id', 'out', 'dead', 'bad', 'say']) storage.setItem(`${session()}:${place}:019aa5e3f1c0-0000-${operation.id}`, text)
    const backend = seeded()
    const { store, problems } = openTab(backend)
    await isLive(store)
    await until(() => expect(problems.length).toBeGreaterThan(0))
    expect(problems.filter(({ code }) => code === 'engine-crashed')).toEqual([])
    expect(backend.pushes).toEqual([])
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { city: 'Ulm' } })
    expect((await settled).outcome).toBe('confirmed')
  },
)
