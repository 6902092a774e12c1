import { createStore } from 'rota-engine'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { domainsSeeded, openDomains, openDomainsLive, slot, type DomainBackend, type Slot } from './domains.js'
import { pause, refusal, until } from './world.js'

let store: Awaited<ReturnType<typeof openDomainsLive>>['store']
let backend: DomainBackend

beforeEach(async () => {
  ;({ store, backend } = await openDomainsLive())
})

const at = (text: string) => Date.parse(text)
const free = (from: string, to: string) => store.availability.freeBetween(at(from), at(to))
const slots = (person = 'maya', from = '2026-01-01T00:00:00Z', to = '2026-12-31T00:00:00Z') =>
  store.availability.freeSlots(person, at(from), at(to)).map(({ key, fromMs, toMs }) => [key, new Date(fromMs).toISOString(), new Date(toMs).toISOString()])

test('of the slots that lie in a time, the parts that do are told', () => {
  store.availability.create(slot('s1'))
  expect(slots('maya', '2026-11-02T09:30:00.500Z', '2026-11-02T10:00:00Z')).toEqual([['s1', '2026-11-02T09:30:00.500Z', '2026-11-02T10:00:00.000Z']])
})

describe('slots', () => {
  test('are created, changed, switched and deleted, and each shows at once', async () => {
    const { settled } = store.availability.create(slot('s1'))
    expect(free('2026-11-02T09:00:00Z', '2026-11-02T10:00:00Z')).toEqual(['maya'])
    expect((await settled).outcome).toBe('confirmed')
    store.availability.update('s1', { ends_at: '2026-11-02T10:30' })
    expect(free('2026-11-02T09:00:00Z', '2026-11-02T10:00:00Z')).toEqual([])
    expect(free('2026-11-02T08:00:00Z', '2026-11-02T09:30:00Z')).toEqual(['maya'])
    store.availability.toggle('s1')
    expect([store.get('slots', 's1')?.is_active, free('2026-11-02T08:00:00Z', '2026-11-02T09:00:00Z')]).toEqual([false, []])
    store.availability.toggle('s1')
    expect([store.get('slots', 's1')?.is_active, slots()]).toEqual([true, [['s1', '2026-11-02T08:00:00.000Z', '2026-11-02T09:30:00.000Z']]])
    expect((await store.availability.toggle('s1', true).settled).outcome).toBe('confirmed')
    store.availability.remove('s1')
    expect([store.get('slots', 's1'), slots()]).toEqual([undefined, []])
  })

  test('of others come and go with the stream, and a refused one was never there', async () => {
    backend.put('slots', slot('s1', { user_id: 'jonas' }))
    expect(slots('jonas')).toHaveLength(1)
    backend.put('slots', slot('s1', { user_id: 'lena' }))
    expect([slots('jonas').length, slots('lena').length]).toEqual([0, 1])
    backend.remove('slots', 's1')
    await until(() => expect(slots('lena')).toEqual([]))
    backend.judge = () => ({ outcome: 'refused', code: 'overlap', message: 'it overlaps with slot s9' })
    expect(await store.availability.create(slot('s2')).settled).toMatchObject({ outcome: 'refused', code: 'overlap' })
    expect(slots()).toEqual([])
  })

  test('that can not be are refused by name, and nothing has changed', () => {
    store.availability.create(slot('s1'))
    const code = (fields: Partial<Slot>) => refusal(() => store.availability.create(slot('s2', fields))).code
    expect(code({ ends_at: '2026-11-02T08:00' })).toBe('reversed-slot')
    expect(code({ ends_at: '2026-11-02T09:00' })).toBe('empty-slot')
    expect(code({ time_zone: 'Mars/Olympus' })).toBe('unknown-zone')
    expect(code({ time_zone: '+02:00' })).toBe('unknown-zone')
    expect(code({ recurrence: { freq: 'weekly', byDay: ['TU'] } })).toBe('invalid-recurrence')
    expect(code({ starts_at: '2026-11-02T11:00', ends_at: '2026-11-02T13:00' })).toBe('overlap')
    expect(code({ starts_at: 'tomorrow' })).toBe('invalid-operation')
    expect(refusal(() => store.availability.update('s1', { time_zone: 'Mars/Olympus' })).code).toBe('unknown-zone')
    expect(store.can({ name: 'insert', table: 'slots', record: slot('s2', { ends_at: '2026-11-02T08:00' }) })?.code).toBe('reversed-slot')
    expect([store.all('slots').length, store.status().unsent]).toEqual([1, 1])
  })

  test('overlap with what the server brought, in another zone', () => {
    backend.put('slots', slot('s1', { time_zone: 'America/New_York', starts_at: '2026-11-02T09:00', ends_at: '2026-11-02T10:00' }))
    const { code, message } = refusal(() => store.availability.create(slot('s2', { starts_at: '2026-11-02T14:30', ends_at: '2026-11-02T16:00' })))
    expect([code, message]).toEqual(['overlap', expect.stringContaining('s1')])
    expect(store.can({ name: 'insert', table: 'slots', record: slot('s2', { starts_at: '2026-11-02T16:00', ends_at: '2026-11-02T17:00' }) })).toBeUndefined()
  })

  test('that somebody wrote though they can not be are nobody\'s, and reported', async () => {
    const problems: string[] = []
    const world = await openDomainsLive(domainsSeeded(), { onProblem: ({ code, place, message }) => problems.push(`${code} ${place} ${message}`) })
    world.backend.put('slots', slot('bad', { time_zone: 'Mars/Olympus' }))
    world.backend.put('slots', slot('good'))
    expect(world.store.availability.freeSlots('maya', at('2026-01-01T00:00:00Z'), at('2026-12-01T00:00:00Z')).map(({ key }) => key)).toEqual(['good'])
    expect(problems).toEqual([expect.stringContaining('unreadable-slot slots bad')])
  })
})

describe('zones', () => {
  test('of other people are in nobody’s way, however many, and a write is judged by those of its own person', async () => {
    const seeded = domainsSeeded()
    const zones = Intl.supportedValuesOf('timeZone')
    for (const [n, time_zone] of zones.entries()) seeded.put('slots', slot(`s${n}`, { user_id: `p${n}`, time_zone }))
    seeded.put('slots', slot('theirs', { user_id: 'jonas', time_zone: 'Asia/Tokyo', starts_at: '2026-11-02T17:00', ends_at: '2026-11-02T18:00' }))
    const problems: string[] = []
    const world = await openDomainsLive(seeded, { onProblem: ({ code }) => problems.push(code) })
    const started = performance.now()
    world.store.availability.create(slot('mine'))
    expect(performance.now() - started).toBeLessThan(1_000)
    expect(refusal(() => world.store.availability.create(slot('other', { user_id: 'jonas' }))).code).toBe('overlap')
    expect(problems).toEqual([])
  })

  test('that can not be told are reported once, and only what is one’s own in them is refused', async () => {
    const problems: string[] = []
    const seeded = domainsSeeded()
    seeded.put('slots', slot('before', { time_zone: 'Etc/Wild', starts_at: '2026-11-02T20:00', ends_at: '2026-11-02T21:00' }))
    const world = await openDomainsLive(seeded, { onProblem: ({ code, message }) => problems.push(`${code} ${message}`) })
    // More changes of its clocks than any zone has.
    const wild = vi.spyOn(Intl, 'DateTimeFormat').mockImplementation(function () {
      const format = (ms: number) => {
        const moment = new Date(ms + (Math.floor(ms / 518_400_000) % 2) * 3_600_000)
        return [moment.getUTCMonth() + 1, moment.getUTCDate(), moment.getUTCFullYear(), moment.getUTCHours(), moment.getUTCMinutes(), moment.getUTCSeconds()].join(' ')
      }
      return { format, resolvedOptions: () => ({ timeZone: 'Etc/Wild' }) }
    } as never)
    for (const key of ['one', 'two']) expect(refusal(() => world.store.availability.create(slot(key, { time_zone: 'Etc/Wild' }))).code).toBe('unknown-zone')
    wild.mockRestore()
    expect(problems).toEqual([expect.stringMatching(/^unknown-zone .*Etc\/Wild/)])
    world.store.availability.create(slot('three'))
  })

  test.each(['europe/berlin', 'JST', 'utc', 'EUROPE/BERLIN', 'asia/kolkata', 'SystemV/AST4', 'US/Pacific-New'])('are known only as a server spells them: not %s', (time_zone) => {
    expect(refusal(() => store.availability.create(slot('s', { time_zone }))).code).toBe('unknown-zone')
  })

  test.each(['Europe/Berlin', 'Asia/Kolkata', 'Asia/Calcutta', 'America/Argentina/ComodRivadavia', 'Antarctica/DumontDUrville', 'Etc/GMT+5', 'UTC', 'GMT', 'Japan', 'US/Pacific', 'America/Port-au-Prince'])(
    'are known as a server spells them: %s',
    (time_zone) => {
      store.availability.create(slot('s', { time_zone }))
    },
  )
})

describe('the clocks change', () => {
  test.each(['Asia/Gaza', 'Asia/Hebron', 'Africa/Casablanca', 'America/New_York'])('in %s on every day until 2199 as the platform says', (time_zone) => {
    const day = 86_400_000
    const daily = { freq: 'weekly', byDay: ['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU'] } as const
    store.availability.create(slot('s', { time_zone, starts_at: '2026-01-01T12:00', ends_at: '2026-01-01T13:00', recurrence: daily }))
    const wall = new Intl.DateTimeFormat('sv-SE', { timeZone: time_zone, dateStyle: 'short', timeStyle: 'short' })
    const wrong: string[] = []
    let days = 0
    for (let from = at('2026-01-01T00:00:00Z'); from < at('2199-12-01T00:00:00Z'); from += 360 * day) {
      for (const { fromMs, toMs } of store.availability.freeSlots('maya', from, from + 360 * day)) {
        days++
        if (!wall.format(fromMs).endsWith(' 12:00') || !wall.format(toMs).endsWith(' 13:00')) wrong.push(wall.format(fromMs))
      }
    }
    expect([wrong, days > 63_000]).toEqual([[], true])
  })

  test.each([
    ['Europe/Berlin', '2026-10-19', ['2026-10-19T07:00:00.000Z', '2026-10-26T08:00:00.000Z']],
    ['America/New_York', '2026-10-26', ['2026-10-26T13:00:00.000Z', '2026-11-02T14:00:00.000Z']],
    ['Australia/Lord_Howe', '2026-09-28', ['2026-09-27T22:30:00.000Z', '2026-10-04T22:00:00.000Z']],
    ['Africa/Cairo', '2026-10-26', ['2026-10-26T06:00:00.000Z', '2026-11-02T07:00:00.000Z']],
    ['Asia/Kolkata', '2026-10-19', ['2026-10-19T03:30:00.000Z', '2026-10-26T03:30:00.000Z']],
  ])('and nine in the morning of %s stays nine in the morning', (time_zone, day, moments) => {
    store.availability.create(slot('s1', { time_zone, starts_at: `${day}T09:00`, ends_at: `${day}T10:00`, recurrence: { freq: 'weekly', byDay: ['MO'], count: 2 } }))
    expect(slots().map(([, from]) => from)).toEqual(moments)
  })

  test('of every zone as the platform says, at any moment', () => {
    const zones = ['Europe/Lisbon', 'Africa/Casablanca', 'America/Sao_Paulo', 'Pacific/Apia', 'Africa/Monrovia', 'America/Caracas']
    for (const time_zone of zones) {
      const wall = new Intl.DateTimeFormat('sv-SE', { timeZone: time_zone, dateStyle: 'short', timeStyle: 'medium' })
      for (let n = 0; n < 40; n++) {
        // Noon: no zone has a gap there.
        const starts_at = `${1971 + n * 5}-0${1 + (n % 9)}-15T12:00`
        store.availability.create(slot(`${time_zone} ${n}`, { user_id: time_zone, time_zone, starts_at, ends_at: starts_at.replace('12:00', '13:00') }))
        const around = at(`${starts_at}:00Z`)
        const [found] = store.availability.freeSlots(time_zone, around - 2 * 86_400_000, around + 2 * 86_400_000)
        expect(wall.format(found!.fromMs).replace(' ', 'T').slice(0, 16)).toBe(starts_at)
      }
    }
  })
})

describe('events', () => {
  const heard: string[] = []
  beforeEach(() => {
    heard.length = 0
    store.availability.watch({
      availability_created: ({ id, ends_at }, key) => heard.push(`created ${id} ${key} ${ends_at}`),
      availability_updated: ({ id, ends_at }) => heard.push(`updated ${id} ${ends_at}`),
      availability_deleted: ({ id }) => heard.push(`deleted ${id}`),
    })
  })

  test('tell of what shows: here, from others, and taken back', async () => {
    backend.hold()
    store.availability.create(slot('s1'))
    store.availability.update('s1', { ends_at: '2026-11-02T10:00' })
    expect(heard).toEqual(['created s1 s1 2026-11-02T12:00', 'updated s1 2026-11-02T10:00'])
    heard.length = 0
    backend.put('slots', slot('s2', { user_id: 'jonas' }))
    backend.remove('slots', 's2')
    await until(() => expect(heard).toEqual(['created s2 s2 2026-11-02T12:00', 'deleted s2']))
    heard.length = 0
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    const { settled } = store.availability.create(slot('s3', { user_id: 'lena' }))
    backend.release()
    await settled
    expect(heard.filter((event) => event.includes('s3'))).toEqual(['created s3 s3 2026-11-02T12:00', 'deleted s3'])
  })

  test('are told once of each change, though its row comes back from the server', async () => {
    const weekly = { freq: 'weekly', byDay: ['MO'] } as const
    await store.availability.create(slot('s1', { recurrence: weekly })).settled
    await store.availability.update('s1', { notes: 'x' }).settled
    await pause(5)
    backend.put('slots', slot('s1', { notes: 'x', recurrence: { byDay: ['MO'], freq: 'weekly' } as never }))
    expect(heard).toEqual(['created s1 s1 2026-11-02T12:00', 'updated s1 2026-11-02T12:00'])
    backend.put('slots', slot('s1', { notes: 'x', recurrence: { freq: 'weekly', byDay: ['MO'], except: [] } }))
    expect(heard).toHaveLength(3)
  })

  test('that there are not, and handlers that are none, are refused by name', () => {
    expect(refusal(() => store.availability.watch({ availability_moved: () => {} } as never)).message).toContain('availability_moved')
    expect(refusal(() => store.availability.watch({ availability_updated: 'x' } as never)).message).toContain('availability_updated')
  })

  test('do not tell of what was there at the beginning', async () => {
    const seeded = domainsSeeded()
    seeded.put('slots', slot('s1'))
    const { store: late } = openDomains(seeded)
    const events: string[] = []
    late.availability.watch({ availability_created: (_, key) => events.push(key) })
    await until(() => expect(late.get('slots', 's1')).toBeDefined())
    await pause(5)
    expect(events).toEqual([])
    seeded.put('slots', slot('s2'))
    await until(() => expect(events).toEqual(['s2']))
  })

  test('end with their subscription', () => {
    const before = store.stats().listeners
    const stop = store.availability.watch({})
    expect(store.stats().listeners).toBe(before + 1)
    stop()
    expect(store.stats().listeners).toBe(before)
  })
})

test('questions that make no sense are refused, and so are those without a table of slots, or with two', () => {
  expect(refusal(() => free('2026-11-02T10:00:00Z', '2026-11-02T09:00:00Z')).code).toBeDefined()
  expect(refusal(() => store.availability.freeBetween(Number.NaN, 5)).code).toBe('invalid-value')
  expect(refusal(() => store.availability.freeBetween(new Date('x'), new Date())).code).toBe('invalid-value')
  expect(refusal(() => store.availability.freeSlots(5 as never, 1, 2)).code).toBe('invalid-value')
  expect(refusal(() => store.availability.freeSlots('maya', 1, 2, 0)).code).toBe('invalid-value')
  const { operators, slots: ours } = store.tables
  const none = createStore({ app: 'none', user: 'maya', tables: { operators }, backend, storage: 'memory' })
  expect(refusal(() => none.availability.freeBetween(1, 2)).message).toContain('no table is declared')
  none.close()
  const two = createStore({ app: 'two', user: 'maya', tables: { one: ours, other: ours }, backend, storage: 'memory' })
  expect(refusal(() => two.availability.remove('x')).message).toContain('one, other')
  two.availability.in('other').create(slot('s1'))
  expect([two.availability.in('one').freeSlots('maya', at('2026-11-01T00:00:00Z'), at('2026-11-09T00:00:00Z')).length, two.availability.in('other').freeBetween(new Date('2026-11-02T09:00:00Z'), new Date('2026-11-02T09:30:00Z'))]).toEqual([0, ['maya']])
  two.close()
  expect(refusal(() => two.availability.in('one').freeBetween(1, 2)).code).toBe('closed')
})
