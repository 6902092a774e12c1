import { BackendError, init } from 'rota-engine'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { FakeBackend, type Row } from './backend.js'
import { open, openLive, pause, seeded, until, type World } from './world.js'

let store: World['store']
let backend: World['backend']
let problems: World['problems']

beforeAll(init)
beforeEach(async () => {
  ;({ store, backend, problems } = await openLive())
})

const row = (fields: Row = {}): Row => ({ id: 'c1', name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: null, rota_version: '2000', rota_op: null, ...fields })
const changed = (fields?: Row) => ({ table: 'companies', kind: 'changed', row: row(fields) })

describe('an event that can not be read is reported, what came with it counts, and the store goes on', () => {
  class Odd {
    size = 1
  }
  const cases: [what: string, event: unknown, says: RegExp][] = [
    ['null', null, /./],
    ['text', 'changed', /./],
    ['an empty object', {}, /not an object/],
    ['an event without a row', { table: 'companies', kind: 'changed' }, /not an object/],
    ['a row that is null', { table: 'companies', kind: 'changed', row: null }, /not an object/],
    ['a row that is a list', { table: 'companies', kind: 'changed', row: [] }, /not an object/],
    ['a row of a class', { table: 'companies', kind: 'changed', row: new Odd() }, /Odd/],
    ['a row with a date', changed({ extra: new Date() }), /companies\.extra is a Date/],
    ['a row with undefined', changed({ city: undefined }), /companies\.city is undefined/],
    ['a row without its key', { table: 'companies', kind: 'changed', row: { name: 'x', rota_version: '2000' } }, /key field "id"/],
    ['a row whose key is null', changed({ id: null }), /key field "id"/],
    ['a row whose key is a fraction', changed({ id: 1.5 }), /key field "id"/],
    ['a deletion without the key', { table: 'shifts', kind: 'deleted', row: { site: 'north' } }, /key field "day"/],
    ['an unknown table', { table: 'nope', kind: 'changed', row: row() }, /not declared/],
    ['a table that every object has', { table: 'constructor', kind: 'changed', row: row() }, /not declared/],
    ['a table that is a number', { table: 5, kind: 'changed', row: row() }, /not declared/],
    ['another kind', { table: 'companies', kind: 'moved', row: row() }, /neither a change nor a deletion/],
    ['no kind', { table: 'companies', row: row() }, /neither a change nor a deletion/],
    ...[undefined, null, '', '01', '-1', '1.5', '1e3', ' 1', 'abc', '99999999999999999999999', -1, 1.5, true, {}, []].map(
      (version): [string, unknown, RegExp] => [`a version of ${JSON.stringify(version)}`, { table: 'companies', kind: 'changed', row: JSON.parse(JSON.stringify(row({ rota_version: version }))) }, /rota_version/],
    ),
  ]

  test.each(cases)('%s', async (_what, event, says) => {
    const heard: unknown[] = []
    store.subscribe('companies', () => heard.push(store.get('companies', 'c2')?.city))
    backend.tell(event, { table: 'companies', kind: 'changed', row: { ...row(), id: 'c2' } })
    expect(problems).toHaveLength(1)
    expect(problems[0]).toEqual({ code: expect.stringMatching(/^(malformed-event|invalid-version)$/), place: expect.any(String), message: expect.stringMatching(says) })
    expect(heard).toEqual(['Kiel'])
    expect(store.get('companies', 'c1')?.city).toBe('Bremen')
    expect(await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Ulm' } }).settled).toMatchObject({ outcome: 'confirmed' })
  })

  test('events that are no list', () => {
    backend.listener?.changed(null as never)
    backend.listener?.changed({} as never)
    expect(problems).toMatchObject([{ code: 'malformed-event' }, { code: 'malformed-event' }])
  })

  test('where nobody listens for problems, the console hears of them', async () => {
    const said = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const world = open(new FakeBackend(), { onProblem: undefined as never })
    await until(() => expect(world.store.status().ready).toBe(true))
    world.backend.tell({ table: 'nope', kind: 'changed', row: {} })
    expect(said).toHaveBeenCalledWith(expect.stringContaining('nope'))
  })

  test('a listener of problems that throws harms nobody', () => {
    const reported: unknown[] = []
    vi.stubGlobal('reportError', (error: unknown) => reported.push(error))
    store.onProblem(() => {
      throw new Error('mine')
    })
    backend.tell(null, changed())
    expect(reported).toHaveLength(1)
    expect(store.get('companies', 'c1')?.city).toBe('Kiel')
    vi.unstubAllGlobals()
  })
})

describe('events in any number and order', () => {
  test('a version may be a number', () => {
    backend.tell(changed({ rota_version: 2000 }))
    expect(store.get('companies', 'c1')?.city).toBe('Kiel')
    expect(problems).toEqual([])
  })

  test('the same event twice is heard once, and an older version never', () => {
    let heard = 0
    store.subscribe('companies', 'c1', () => heard++)
    backend.tell(changed(), changed())
    backend.tell(changed())
    backend.tell(changed({ rota_version: '1999', city: 'old' }))
    expect(heard).toBe(1)
    expect(store.get('companies', 'c1')?.city).toBe('Kiel')
  })

  test('many events in one go are one notification', () => {
    const changes: number[] = []
    store.subscribe(({ records }) => changes.push(records.length))
    backend.tell(...Array.from({ length: 500 }, (_, at) => changed({ id: `n${at}`, rota_version: String(3000 + at) })))
    expect(changes).toEqual([500])
  })

  test('columns that an event lacks keep their confirmed value', () => {
    backend.tell({ table: 'companies', kind: 'changed', row: { id: 'c1', city: 'Kiel', rota_version: '2000', rota_op: null } })
    expect(store.get('companies', 'c1')).toMatchObject({ name: 'Harbour Optics', city: 'Kiel', owner_id: null })
  })

  test('a partial row of an unknown record is fetched whole', async () => {
    backend.put('companies', { id: 'c5', name: 'Whole', city: 'Kiel', owner_id: null, extra: null }, { silently: true })
    backend.tell({ table: 'companies', kind: 'changed', row: { id: 'c5', city: 'Kiel', rota_version: '1', rota_op: null } })
    expect(store.get('companies', 'c5')).toBeUndefined()
    await until(() => expect(store.get('companies', 'c5')?.name).toBe('Whole'))
    expect(backend.pulls.at(-1)).toMatchObject({ cursor: null, keys: { companies: ['c5'] } })
  })

  test('a bare deletion asks for that key, and believes the answer', async () => {
    backend.remove('companies', 'c1')
    await until(() => expect(store.get('companies', 'c1')).toBeUndefined())
    expect(backend.pulls.at(-1)).toMatchObject({ cursor: null, keys: { companies: ['c1'] } })
    const pulls = backend.pulls.length
    backend.tell({ table: 'companies', kind: 'deleted', row: { id: 'c2' } })
    await until(() => expect(backend.pulls).toHaveLength(pulls + 1))
    await pause(3)
    expect(store.get('companies', 'c2')).toBeDefined()
  })

  test('what was missed while the link was down is there after it came up', async () => {
    backend.cut()
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'missed', owner_id: null, extra: null })
    backend.remove('companies', 'c2')
    store.reconnect()
    await until(() => expect(store.get('companies', 'c1')?.city).toBe('missed'))
    expect(store.get('companies', 'c2')).toBeUndefined()
  })

  test('what a closed link still says is not heard', async () => {
    const old = backend.listener!
    backend.cut()
    old.changed([changed({ rota_version: '9000', city: 'late' }) as never])
    expect(store.get('companies', 'c1')?.city).toBe('Bremen')
  })
})

describe('an answer that can not be read counts as a failed call, and the operation is neither lost nor done twice', () => {
  const cases: [what: string, answer: unknown][] = [
    ['nothing', undefined],
    ['null', null],
    ['text', 'ok'],
    ['a list', []],
    ['an empty object', {}],
    ['a record that is a list', { record: [] }],
    ['a record that is text', { record: 'c1' }],
    ['another operation', { id: '019aa5e3-f1c0-7a3b-9c1d-2e4f60718293' }],
    ['another protocol', { protocol: 2 }],
    ['an outcome there is not', { outcome: 'perhaps' }],
    ['a version that is none', { version: '-1' }],
  ]

  test.each(cases)('%s', async (_what, spoiled) => {
    let times = 1
    backend.spoilAnswer = (answer) => (times-- > 0 ? (typeof spoiled === 'object' && spoiled && Object.keys(spoiled).length > 0 ? { ...answer, ...spoiled } : spoiled) : answer)
    backend.echo = 'none'
    const { id, settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    await until(() => expect(backend.pushes).toHaveLength(2))
    expect(await settled).toEqual({ id, outcome: 'confirmed' })
    expect(backend.ledger.size).toBe(1)
    expect(store.get('companies', 'c1')?.city).toBe('Kiel')
  })

  test.each(cases)('%s, for ever: it ends dead, with the reason', async (_what, spoiled) => {
    backend.spoilAnswer = (answer) => (typeof spoiled === 'object' && spoiled && Object.keys(spoiled).length > 0 ? { ...answer, ...spoiled } : spoiled)
    backend.echo = 'none'
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(await settled).toMatchObject({ outcome: 'dead', code: 'unknown', message: expect.stringMatching(/malformed answer|another operation|protocol 2|record (is|must)/) })
    expect(store.status().dead).toBe(1)
  })
})

test('an answer whose record alone can not be read is believed, and the record is fetched', async () => {
  backend.spoilAnswer = (answer) => ({ ...answer, record: { ...(answer as { record?: object }).record, extra: 2 ** 60 } })
  backend.echo = 'none'
  const pulls = backend.pulls.length
  const { id, settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
  expect(await settled).toEqual({ id, outcome: 'confirmed' })
  await until(() => expect(backend.pulls.length).toBeGreaterThan(pulls))
  await until(() => expect(store.get('companies', 'c1')?.city).toBe('Kiel'))
  expect(backend.pushes).toHaveLength(1)
  expect(problems).toMatchObject([{ code: 'malformed-event', place: 'companies' }])
})

test('a row of the stream that can not be read is fetched', async () => {
  backend.put('companies', row({ city: 'fetched' }), { silently: true })
  const pulls = backend.pulls.length
  backend.tell(changed({ extra: 2 ** 60 }))
  await until(() => expect(backend.pulls.length).toBeGreaterThan(pulls))
  await until(() => expect(store.get('companies', 'c1')?.city).toBe('fetched'))
  expect(problems).toHaveLength(1)
})

describe('a pull that can not be read counts as a failed call, and nothing is lost', () => {
  const cases: [what: string, spoil: (response: Row) => unknown][] = [
    ['nothing', () => undefined],
    ['null', () => null],
    ['text', () => 'rows'],
    ['an empty object', () => ({})],
    ['another protocol', (response) => ({ ...response, protocol: 2 })],
    ['no records', (response) => ({ ...response, records: undefined })],
    ['records that are null', (response) => ({ ...response, records: null })],
    ['records that are a list', (response) => ({ ...response, records: [] })],
    ['rows that are no list', (response) => ({ ...response, records: { companies: {} } })],
    ['rows that are null', (response) => ({ ...response, records: { companies: null } })],
    ['gone that is no list', (response) => ({ ...response, gone: {} })],
    ['gone of nothing', (response) => ({ ...response, gone: [null] })],
    ['settled that is no list', (response) => ({ ...response, settled: 'none' })],
    ['settled of nothing', (response) => ({ ...response, settled: [null] })],
    ['a cursor that is a number', (response) => ({ ...response, cursor: 7 })],
    ['whole that is no boolean', (response) => ({ ...response, whole: 'yes' })],
  ]

  test.each(cases)('%s', async (_what, spoil) => {
    const companies = store.all('companies')
    let times = 1
    backend.spoilResponse = (response) => (times-- > 0 ? spoil({ ...response, whole: true }) : response)
    const pulls = backend.pulls.length
    backend.put('people', { id: 'lena', name: 'Lena' }, { silently: true })
    store.reconnect()
    await until(() => expect(backend.pulls.length).toBe(pulls + 1))
    await pause(2)
    expect(store.all('companies')).toBe(companies)
    expect(store.get('people', 'lena')).toBeUndefined()
    store.reconnect()
    await until(() => expect(store.get('people', 'lena')).toBeDefined())
    expect(store.all('companies')).toBe(companies)
  })

  test('one row that can not be read is reported; the others count, and nothing is taken for gone', async () => {
    const world = open(seeded())
    await until(() => expect(world.store.status().ready).toBe(true))
    await pause(3)
    world.backend.put('people', { id: 'lena', name: 'Lena' }, { silently: true })
    world.backend.spoilResponse = (response) => ({ ...response, whole: true, records: { people: [...(response.records['people'] ?? []), { name: 'nobody' }, null, 5] } })
    world.store.reconnect()
    await until(() => expect(world.store.get('people', 'lena')).toBeDefined())
    expect(world.problems.length).toBeGreaterThanOrEqual(3)
    expect(world.store.all('companies')).toHaveLength(2)
    world.backend.spoilResponse = undefined
    world.store.reconnect()
    await until(() => expect(world.backend.pulls.at(-1)?.cursor).toBe(null))
  })

  test('a version of what is gone may be a number', async () => {
    backend.spoilResponse = (response) => ({ ...response, gone: response.gone.map((gone) => ({ ...gone, version: Number(gone.version) })) })
    backend.remove('companies', 'c1')
    await until(() => expect(store.get('companies', 'c1')).toBeUndefined())
  })
})

test.each([
  ['an Error', () => new Error('boom')],
  ['text', () => 'boom'],
  ['nothing', () => undefined],
  ['an error of another copy of the package', () => Object.assign(new Error('boom'), { name: 'BackendError', failure: 'server' })],
  ['a failure there is not', () => new BackendError('odd' as never, 'boom')],
  ['a failure of numbers', () => Object.assign(new Error('boom'), { name: 'BackendError', failure: 5, message: 7 })],
])('a backend that throws %s: the call is tried again', async (_what, make) => {
  backend.pushFailures.push(make())
  backend.pullFailures.push(make())
  store.reconnect()
  expect(await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } }).settled).toMatchObject({ outcome: 'confirmed' })
})

test('a link that closes with nothing said is tried again', async () => {
  const { listener } = backend
  listener?.closed(undefined as never)
  expect(store.status().link.state).toBe('offline')
  store.reconnect()
  await until(() => expect(store.status().link.state).toBe('live'))
})

test('a backend may do what it likes with the operation that it was given', async () => {
  const push = backend.push.bind(backend)
  vi.spyOn(backend, 'push').mockImplementation((operation) => {
    const answer = push({ ...operation })
    for (const name of Object.keys(operation)) delete (operation as unknown as Row)[name]
    return answer
  })
  expect(await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } }).settled).toMatchObject({ outcome: 'confirmed' })
})

/** A small generator of numbers that can be repeated (mulberry32). */
function chance(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

test.each([1, 2, 3, 4])('in a random run (seed %i) every JavaScript object held is a record, and in the end store and server agree', async (seed) => {
  const random = chance(seed)
  const key = () => `r${random(8)}`
  for (let step = 0; step < 150; step++) {
    const id = key()
    const there = store.get('companies', id)
    const company = { id, name: `n${step}`, city: null, owner_id: null, extra: null }
    const steps: (() => unknown)[] = [
      () => (there ? store.mutate({ name: 'patch', table: 'companies', key: id, set: { name: `n${step}` } }) : store.mutate({ name: 'insert', table: 'companies', record: company })),
      () => there && store.mutate({ name: 'delete', table: 'companies', key: id }),
      () => there && store.assignments.assign('companies', id, random(2) ? 'maya' : null),
      () => backend.put('companies', company, { silently: random(3) === 0 }),
      () => backend.row('companies', id) && backend.remove('companies', id, { silently: random(3) === 0 }),
      () => random(4) === 0 && backend.cut(),
      () => store.reconnect(),
      () => backend.pushFailures.push(new BackendError(random(2) ? 'network' : 'server', 'no')),
      () => (backend.judge = random(3) ? undefined : () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })),
      () => (backend.echo = (['before', 'after', 'none'] as const)[random(3)]!),
      () => pause(random(3)),
      () => store.operations().pending.find(({ state }) => state === 'dead') && store.retry(store.operations().pending.find(({ state }) => state === 'dead')!.id),
    ]
    await steps[random(steps.length)]!()
    const { handles, records } = store.stats()
    expect(handles).toBe(records)
  }
  backend.judge = undefined
  backend.pushFailures.length = 0
  await until(() => {
    store.reconnect()
    for (const { id, state } of store.operations().pending) if (state === 'dead') store.cancel(id)
    expect(store.operations().pending).toEqual([])
  })
  await pause(10)
  store.reconnect()
  await pause(20)
  const told = Array.from({ length: 8 }, (_, at) => backend.row('companies', `r${at}`))
  expect(Array.from({ length: 8 }, (_, at) => store.get('companies', `r${at}`) ?? null)).toEqual(told)
  expect(store.stats().handles).toBe(store.stats().records)
  expect(problems).toEqual([])
})
