// Slots: what can be one, what overlaps, what clocks do to them in several zones, and who is free when.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createWorld, insert, type Json, operation, patch, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld({ demo: false })))
afterAll(() => world.close())
beforeEach(async () => void (await run('delete from availability')))

const ME = 'therapist-1'
const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
let made = 0
/** What adding this slot is answered; a Monday morning in Berlin unless said otherwise. */
const add = async (slot: Json = {}, person = ME): Promise<Json> => {
  made += 1
  const set = { user_id: person, starts_at: '2026-11-02T09:00', ends_at: '2026-11-02T12:00', time_zone: 'Europe/Berlin', recurrence: null, is_active: true, ...slot }
  return world.as(person).apply(insert(`slot-${made}`, set, { table: 'availability' }))
}
const code = async (slot: Json) => {
  const answer = await add(slot)
  return answer['code'] ?? answer['outcome']
}
const free = async (from: string, to: string, person = ME) =>
  (await world.as(person).sql('select starts_at, ends_at from free_slots($1, $2, $3)', [person, from, to])).map((row) => `${row['starts_at'].toISOString().slice(0, 16)} ${row['ends_at'].toISOString().slice(0, 16)}`)
const weekly = (byDay: string[], more: Json = {}) => ({ freq: 'weekly', byDay, ...more })

test('a slot is made, changed, switched off and on, and deleted, each by the plain operations', async () => {
  const added = await add()
  expect(added).toMatchObject({ outcome: 'confirmed', record: { is_active: true, recurrence: null, time_zone: 'Europe/Berlin' } })
  const key = added['key'] as string
  const change = (base: Json, set: Json) => world.as(ME).apply(patch(key, base, set, { table: 'availability' }))
  expect(await change({ ends_at: '2026-11-02T12:00' }, { ends_at: '2026-11-02T13:00' })).toMatchObject({ outcome: 'confirmed' })
  expect(await free('2026-11-01T00:00Z', '2026-11-08T00:00Z')).toEqual(['2026-11-02T08:00 2026-11-02T12:00'])
  expect(await change({ is_active: true }, { is_active: false })).toMatchObject({ outcome: 'confirmed' })
  expect(await free('2026-11-01T00:00Z', '2026-11-08T00:00Z')).toEqual([])
  expect(await change({ is_active: false }, { is_active: true })).toMatchObject({ outcome: 'confirmed' })
  expect(await world.as(ME).apply(operation({ name: 'delete', table: 'availability', key }))).toMatchObject({ outcome: 'confirmed', record: null })
})

describe('refused by name', () => {
  test.each([
    ['reversed-slot', { starts_at: '2026-11-02T12:00', ends_at: '2026-11-02T09:00' }],
    ['empty-slot', { ends_at: '2026-11-02T09:00' }],
    ['empty-slot', { starts_at: '2026-11-02T09:00', ends_at: '2026-11-02T09:00:00' }],
    ['empty-slot', { starts_at: '2026-03-29T02:30', ends_at: '2026-03-29T03:30' }], // the hour that Berlin leaves out
    ['unknown-zone', { time_zone: 'Europe/Atlantis' }],
    ['unknown-zone', { time_zone: 'europe/berlin' }],
    ['unknown-zone', { time_zone: 'FOO+3' }],
    ['unknown-zone', { time_zone: "UTC'; drop table availability; --" }],
    ['invalid', { time_zone: '' }],
    ['invalid', { starts_at: '2026-02-30T09:00' }],
    ['invalid', { starts_at: '2026-11-02 09:00' }],
    ['invalid', { starts_at: '2026-11-02T24:00' }],
    ['invalid', { starts_at: '2026-11-02T09:00Z' }],
    ['invalid', { starts_at: '1969-12-31T09:00' }],
    ['invalid', { starts_at: '2200-01-01T09:00', ends_at: '2200-01-01T10:00' }],
    ['invalid', { ends_at: null }],
    ['invalid', { user_id: '' }],
    ['invalid', { ends_at: '2028-01-01T00:00' }],
    ['invalid', { recurrence: 'weekly' }],
    ['invalid', { recurrence: [] }],
    ['invalid-recurrence', { recurrence: {} }],
    ['invalid-recurrence', { recurrence: { freq: 'daily', byDay: ['MO'] } }],
    ['invalid-recurrence', { recurrence: weekly([]) }],
    ['invalid-recurrence', { recurrence: weekly(['MO', 'MO']) }],
    ['invalid-recurrence', { recurrence: weekly(['MO', 'XX']) }],
    ['invalid-recurrence', { recurrence: weekly(['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU', 'MO']) }],
    ['invalid-recurrence', { recurrence: weekly(['TU']) }],
    ['invalid-recurrence', { recurrence: { ...weekly(['MO']), interval: 2 } }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { until: '2026-11-01' }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { until: '2026-13-01' }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { until: '2026-12-01', count: 3 }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { count: 0 }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { count: 1001 }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { count: 1.5 }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { count: '3' }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { count: 2, except: ['2026-11-02', '2026-11-09'] }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { except: ['tomorrow'] }) }],
    ['invalid-recurrence', { recurrence: weekly(['MO'], { except: Array.from({ length: 1001 }, () => '2026-11-02') }) }],
    ['invalid-recurrence', { ends_at: '2026-11-03T09:01', recurrence: weekly(['MO', 'TU']) }],
    ['invalid-recurrence', { ends_at: '2026-11-09T09:00:01', recurrence: weekly(['MO']) }],
  ])('%s, case %#', async (wanted, slot) => {
    expect(await code(slot)).toBe(wanted)
    expect(await run('select count(*)::int n from availability')).toEqual([{ n: 0 }])
  })
  test('plain SQL is refused the same', async () => {
    await expect(run(`insert into availability (user_id, starts_at, ends_at, time_zone) values ('a', '2026-11-02T12:00', '2026-11-02T09:00', 'UTC')`)).rejects.toMatchObject({ code: 'RT001', detail: 'reversed-slot' })
  })
  test("another person's slot is not theirs to make or change", async () => {
    const key = (await add())['key'] as string
    const other = world.as('therapist-2')
    expect(await other.apply(insert('slot-x', { user_id: ME, starts_at: '2027-01-01T09:00', ends_at: '2027-01-01T10:00', time_zone: 'UTC' }, { table: 'availability' }))).toMatchObject({ code: 'forbidden' })
    expect(await other.apply(patch(key, { is_active: true }, { is_active: false }, { table: 'availability' }))).toMatchObject({ code: 'forbidden' })
  })
})

test('a slot may touch another and recur all day, every day', async () => {
  expect(await code({})).toBe('confirmed')
  expect(await code({ starts_at: '2026-11-02T12:00', ends_at: '2026-11-02T13:00' })).toBe('confirmed')
  expect(await add({ ends_at: '2026-11-03T09:00', recurrence: weekly(['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU']) }, 'therapist-3')).toMatchObject({ outcome: 'confirmed' })
  expect(await add({ ends_at: '2026-11-09T09:00', recurrence: weekly(['MO']) }, 'therapist-4')).toMatchObject({ outcome: 'confirmed' })
})

describe('overlap', () => {
  test('two active slots of a person that share a moment are refused, naming the slot and the moment; of two persons, or inactive, not', async () => {
    const first = (await add())['key'] as string
    const clash = { starts_at: '2026-11-02T11:59', ends_at: '2026-11-02T14:00' }
    expect(await add(clash)).toMatchObject({ outcome: 'refused', code: 'overlap', message: `it overlaps with slot ${first} of the same person, first at 2026-11-02T10:59:00Z` })
    expect(await add(clash, 'therapist-2')).toMatchObject({ outcome: 'confirmed' })
    const off = await add({ ...clash, is_active: false })
    expect(off).toMatchObject({ outcome: 'confirmed' })
    expect(await world.as(ME).apply(patch(off['key'], { is_active: false }, { is_active: true }, { table: 'availability' }))).toMatchObject({ code: 'overlap' })
  })
  test('instants count, not walls: the same hour in two zones is no overlap, another hour may be', async () => {
    await add()
    expect(await code({ time_zone: 'America/New_York' })).toBe('confirmed')
    expect(await code({ starts_at: '2026-11-02T03:30', ends_at: '2026-11-02T04:00', time_zone: 'America/New_York' })).toBe('overlap')
  })
  test('a recurrence is met where one of its occurrences is, exceptions left out, up to 400 days on', async () => {
    await add({ recurrence: weekly(['MO', 'WE'], { except: ['2026-11-16'] }) })
    expect(await code({ starts_at: '2026-11-16T10:00', ends_at: '2026-11-16T11:00' })).toBe('confirmed')
    expect(await code({ starts_at: '2026-11-18T10:00', ends_at: '2026-11-18T11:00' })).toBe('overlap')
    expect(await code({ starts_at: '2031-11-03T10:00', ends_at: '2031-11-03T11:00' })).toBe('overlap')
    expect(await code({ starts_at: '2026-11-05T10:00', ends_at: '2026-11-05T11:00', recurrence: weekly(['TH', 'FR']) })).toBe('confirmed')
    expect(await code({ starts_at: '2026-11-06T11:30', ends_at: '2026-11-06T12:00', recurrence: weekly(['FR', 'WE']) })).toBe('overlap')
  })
  test('of twenty overlapping slots that come at once, one is taken', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, (_, at) => add({ starts_at: `2026-11-02T09:${10 + at}` })))
    expect(answers.filter((answer) => answer['outcome'] === 'confirmed')).toHaveLength(1)
    expect(answers.filter((answer) => answer['code'] === 'overlap')).toHaveLength(19)
  })
})

// Gaps and overlaps, each computed by hand: local wall → moment.
describe('clocks', () => {
  test.each([
    ['Europe/Berlin', '2026-03-29T02:30', '2026-03-29T01:30Z'], // left out: moved on by an hour
    ['Europe/Berlin', '2026-10-25T02:30', '2026-10-25T00:30Z'], // twice: the first
    ['Europe/Berlin', '2026-10-25T03:00', '2026-10-25T02:00Z'],
    ['America/New_York', '2026-03-08T02:30', '2026-03-08T07:30Z'],
    ['America/New_York', '2026-11-01T01:30', '2026-11-01T05:30Z'],
    ['Australia/Lord_Howe', '2026-04-05T01:45', '2026-04-04T14:45Z'], // half an hour twice
    ['Australia/Lord_Howe', '2026-10-04T02:15', '2026-10-03T15:45Z'], // half an hour left out
    ['Pacific/Apia', '2011-12-30T10:00', '2011-12-30T20:00Z'], // a whole day left out
    ['Europe/Dublin', '2026-10-25T01:30', '2026-10-25T00:30Z'],
    ['Europe/Moscow', '2014-10-26T01:30', '2014-10-25T21:30Z'],
    ['Africa/Casablanca', '2026-02-15T02:30', '2026-02-15T01:30Z'],
    ['Asia/Kolkata', '2026-06-01T00:00', '2026-05-31T18:30Z'],
    ['UTC', '2026-06-01T00:00', '2026-06-01T00:00Z'],
  ])('%s shows %s at %s', async (zone, wall, moment) => {
    const [row] = await run('select rota.moment($1::timestamp, $2) m', [wall, zone])
    expect(row!['m'].toISOString()).toBe(new Date(moment).toISOString())
  })
  test.each([
    ['Europe/Berlin', 2026], ['America/New_York', 2026], ['Australia/Lord_Howe', 2026], ['Pacific/Auckland', 2026],
    ['America/Sao_Paulo', 2018], ['Africa/Cairo', 2026], ['Asia/Tehran', 2022],
  ])('every quarter of an hour in %s of %i: the first moment that shows it, or moved on by the gap', async (zone, year) => {
    // The slow and sure way: which moments show this wall?
    const wrong = await run(
        `with moments as (select m, m at time zone $1 as wall from generate_series(make_timestamptz($2, 1, 1, 0, 0, 0) - interval '2 days', make_timestamptz($2 + 1, 1, 3, 0, 0, 0), '15 minutes') m),
           first_of as (select wall, min(m) as m from moments group by wall),
           walls as (select w, rota.moment(w, $1) as got from generate_series(make_timestamp($2, 1, 1, 0, 0, 0), make_timestamp($2, 12, 31, 0, 0, 0), '15 minutes') w)
         select w.w, w.got, f.m as wanted from walls w left join first_of f on f.wall = w.w
         where case when f.m is not null then w.got <> f.m else not (w.got at time zone $1 > w.w) end limit 3`,
        [zone, year],
      )
    expect(wrong).toEqual([])
  })
  test.each([
    ['Europe/Berlin', '2026-10-19T09:00', ['2026-10-19T07:00', '2026-10-26T08:00', '2026-11-02T08:00']],
    ['America/New_York', '2026-10-19T09:00', ['2026-10-19T13:00', '2026-10-26T13:00', '2026-11-02T14:00']],
    ['Australia/Sydney', '2026-09-28T09:00', ['2026-09-27T23:00', '2026-10-04T22:00', '2026-10-11T22:00']],
    ['Asia/Kolkata', '2026-10-19T09:00', ['2026-10-19T03:30', '2026-10-26T03:30', '2026-11-02T03:30']],
  ])('a weekly morning in %s keeps its wall time across a change of the clocks', async (zone, starts_at, moments) => {
    expect(await add({ time_zone: zone, starts_at, ends_at: starts_at.replace('09:', '10:'), recurrence: weekly(['MO'], { count: 3 }) })).toMatchObject({ outcome: 'confirmed' })
    expect((await free('2026-09-01T00:00Z', '2026-12-31T00:00Z')).map((span) => span.slice(0, 16))).toEqual(moments)
  })
  test('of a slot that begins before the time asked for, or ends after it, the part that lies in it is told', async () => {
    await add()
    expect(await free('2026-11-02T09:00Z', '2026-11-02T10:30Z')).toEqual(['2026-11-02T09:00 2026-11-02T10:30'])
    expect(await free('2026-11-02T10:00Z', '2026-11-03T00:00Z')).toEqual(['2026-11-02T10:00 2026-11-02T11:00'])
  })

  test('a night in which the clocks change is an hour longer or shorter, and a weekly hour that is left out is no occurrence', async () => {
    await add({ starts_at: '2026-10-24T22:00', ends_at: '2026-10-25T06:00' })
    await add({ starts_at: '2026-03-28T22:00', ends_at: '2026-03-29T06:00' })
    expect(await free('2026-01-01T00:00Z', '2026-12-31T00:00Z')).toEqual(['2026-03-28T21:00 2026-03-29T04:00', '2026-10-24T20:00 2026-10-25T05:00'])
    await add({ starts_at: '2026-03-22T02:30', ends_at: '2026-03-22T03:30', recurrence: weekly(['SU'], { count: 3 }) }, 'night')
    expect(await free('2026-03-01T00:00Z', '2026-05-01T00:00Z', 'night')).toEqual(['2026-03-22T01:30 2026-03-22T02:30', '2026-04-05T00:30 2026-04-05T01:30'])
  })
})

describe('who is free', () => {
  test('an inactive slot is never free, spans that touch are one, ends are exclusive', async () => {
    await add({ time_zone: 'UTC' })
    await add({ time_zone: 'UTC', starts_at: '2026-11-02T12:00', ends_at: '2026-11-02T14:00' })
    await add({ time_zone: 'UTC', is_active: false }, 'off')
    await add({ time_zone: 'UTC', recurrence: weekly(['MO'], { except: ['2026-11-09'] }) }, 'weekly')
    const who = async (from: string, to: string) => (await world.as('anybody').sql('select who_is_free($1, $2) w', [from, to])).map((row) => row['w'])
    expect(await who('2026-11-02T10:00Z', '2026-11-02T11:00Z')).toEqual([ME, 'weekly'])
    expect(await who('2026-11-02T09:00Z', '2026-11-02T14:00Z')).toEqual([ME])
    expect(await who('2026-11-02T09:00Z', '2026-11-02T14:01Z')).toEqual([])
    expect(await who('2026-11-09T10:00Z', '2026-11-09T11:00Z')).toEqual([])
    expect(await who('2027-11-08T10:00Z', '2027-11-08T11:00Z')).toEqual(['weekly'])
    expect(await who('2026-11-02T12:00Z', '2026-11-02T13:00Z')).toEqual([ME])
  })
  test('a count counts the excepted ones, until is the last date, endless ones end nowhere', async () => {
    await add({ time_zone: 'UTC', recurrence: weekly(['MO'], { count: 4, except: ['2026-11-09'] }) }, 'count')
    await add({ time_zone: 'UTC', recurrence: weekly(['MO', 'FR'], { until: '2026-11-13' }) }, 'until')
    await add({ time_zone: 'UTC', recurrence: weekly(['MO']) }, 'endless')
    const days = async (person: string, from: string, to: string) => (await free(from, to, person)).map((span) => span.slice(5, 10))
    expect(await days('count', '2026-10-01T00:00Z', '2027-05-01T00:00Z')).toEqual(['11-02', '11-16', '11-23'])
    expect(await days('until', '2026-10-01T00:00Z', '2027-05-01T00:00Z')).toEqual(['11-02', '11-06', '11-09', '11-13'])
    expect(await days('endless', '2126-11-01T00:00Z', '2126-11-30T00:00Z')).toHaveLength(4)
  })
  test('a window that is reversed, empty or longer than a year is refused', async () => {
    for (const [from, to] of [['2026-01-02', '2026-01-01'], ['2026-01-01', '2026-01-01'], ['2026-01-01', '2027-01-03'], [null, '2026-01-01'], ['2026-01-01', 'infinity']])
      for (const call of ['free_slots($3, $1, $2)', 'who_is_free($1, $2)'])
        await expect(world.as(ME).sql(`select ${call}`, call.includes('$3') ? [from, to, ME] : [from, to])).rejects.toMatchObject({ code: '22023' })
  })
})
