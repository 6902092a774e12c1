// Many slots: what is looked at when somebody asks who is free, or adds one, and that nothing is missed by not looking at all.
import type { PoolClient } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Chance, slotTry, ZONES } from './scenes.js'
import { createWorld, type Json, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld({ demo: false })))
afterAll(() => world.close())
beforeEach(() => run('delete from availability'))

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]

/** How often the kit works out when a slot is, or does something else, while this is done. */
async function spansWorkedOut(work: (client: PoolClient) => Promise<unknown>, what = 'slot_spans'): Promise<number> {
  const client = await world.owner.connect()
  const calls = async () => {
    await client.query('select pg_stat_force_next_flush()')
    const { rows } = await client.query(`select coalesce(sum(calls), 0)::int n from pg_stat_user_functions where schemaname = 'rota' and funcname = $1`, [what])
    return rows[0].n as number
  }
  try {
    await client.query(`set track_functions = 'all'`)
    const before = await calls()
    await work(client)
    return (await calls()) - before
  } finally {
    await client.query('reset track_functions')
    client.release()
  }
}
/** Without the trigger, which would look for overlaps: these have none. */
const put = (select: string) =>
  run(`alter table availability disable trigger zz_rota_check_slot, disable trigger zz_rota_read_slot; insert into availability (id, user_id, starts_at, ends_at, time_zone, recurrence) ${select}; alter table availability enable trigger zz_rota_check_slot, enable trigger zz_rota_read_slot; analyze availability`)
const DAYS = `(array['MO','TU','WE','TH','FR','SA','SU'])`
const weekly = `jsonb_build_object('freq', 'weekly', 'byDay', jsonb_build_array(${DAYS}[1 + i % 7]))`

describe('what is looked at', () => {
  test('of two thousand people with a weekly hour each, and as many slots that are over, only those who may be free', async () => {
    await put(`select 'w' || i, 'p' || i, day || 'T' || hour || ':00', day || 'T' || hour || ':59', (array['Europe/Berlin', 'America/New_York', 'UTC'])[1 + i % 3], ${weekly}
      from generate_series(1, 2000) i, lateral (select ('2026-11-02'::date + i % 7)::text as day, lpad((6 + i / 7 % 12)::text, 2, '0') as hour) d`)
    await put(`select 'o' || i, 'p' || i, '2025-01-01T09:00', '2025-01-01T10:00', 'UTC', null from generate_series(1, 2000) i`)
    let free: Json[] = []
    const looked = await spansWorkedOut(async (client) => ({ rows: free } = await client.query(`select who_is_free('2026-11-18T09:00Z', '2026-11-18T09:30Z') as person`)))
    expect(free.length).toBeGreaterThan(20)
    expect(looked).toBeLessThan(400)
  })
  test('of the slots of a person, when one is added, those that the week brings near it, and none that is over', async () => {
    await put(`select 'w' || i, 'me', day || 'T' || hour || ':00', day || 'T' || hour || ':45', 'Europe/Berlin', ${weekly}
      from generate_series(0, 104) i, lateral (select ('2026-11-02'::date + i % 7)::text as day, lpad((6 + i / 7)::text, 2, '0') as hour) d`)
    await put(`select 'o' || i, 'me', day || 'T03:00', day || 'T04:00', 'Europe/Berlin', null from generate_series(1, 300) i, lateral (select ('2025-12-01'::date + i)::text as day) d`)
    const add = (id: string, hour: string) => (client: PoolClient) =>
      client.query(`insert into availability (id, user_id, starts_at, ends_at, time_zone, recurrence) values ($1, 'me', $2, $3, 'Europe/Berlin', '{"freq": "weekly", "byDay": ["WE"]}')`, [id, `2026-11-04T${hour}:00`, `2026-11-04T${hour}:30`])
    expect(await spansWorkedOut(add('x', '23'))).toBeLessThan(20)
    await expect(spansWorkedOut(add('y', '07'))).rejects.toMatchObject({ code: 'RT001', detail: 'overlap' })
  })
  test('of the slots of a person, when one is added, those of days near its own, however many there are', async () => {
    await put(`select 'd' || i, 'me', day || 'T03:00', day || 'T04:00', 'UTC', null from generate_series(1, 700) i, lateral (select ('2025-12-01'::date + i)::text as day) d`)
    const add = (id: string, hour: string) => (client: PoolClient) =>
      client.query(`insert into availability (id, user_id, starts_at, ends_at, time_zone) values ($1, 'me', $2, $3, 'Pacific/Kiritimati')`, [id, `2026-11-04T${hour}:00`, `2026-11-04T${hour}:30`])
    expect(await spansWorkedOut(add('x', '23'), 'first_overlap')).toBeLessThan(20)
    await expect(spansWorkedOut(add('y', '17'))).rejects.toMatchObject({ code: 'RT001', detail: 'overlap' }) // 03:00 in UTC
  })
  test('a person’s slots that are over are not worked out for what is free next week', async () => {
    await put(`select 'o' || i, 'me', day || 'T03:00', day || 'T04:00', 'UTC', null from generate_series(1, 300) i, lateral (select ('2025-12-01'::date + i)::text as day) d`)
    expect(await spansWorkedOut((client) => client.query(`select * from free_slots('me', '2026-09-20T00:00Z', '2026-09-27T00:00Z')`))).toBeLessThan(20)
  })
})

describe('nothing is missed', () => {
  /** Slots by chance, as they are tried in the test of agreement, without a look at whether they overlap. */
  const scatter = async (seed: number, n: number) => {
    const chance = new Chance(seed)
    await run('alter table availability enable replica trigger zz_rota_check_slot, enable replica trigger zz_rota_read_slot')
    for (let at = 0; at < n; ) {
      const { command } = slotTry(chance, [], `s-${at}`)
      const slot: Json = { ...command['set'], user_id: chance.pick(['p1', 'p2', 'p3', 'p4']), is_active: true }
      const [fit] = await run(`select rota.slot_days(rota.wall($1::text), rota.wall($2::text), $3) is not null and rota.wall($2::text) > rota.wall($1::text) and ($3::jsonb is null or ($3::jsonb ->> 'freq' = 'weekly' and $3::jsonb ->> 'count' is distinct from '1.5')) ok`, [slot['starts_at'], slot['ends_at'], JSON.stringify(slot['recurrence']) === 'null' ? null : JSON.stringify(slot['recurrence'])]).catch(() => [{ ok: false }])
      if (fit!['ok'] !== true || !ZONES.includes(slot['time_zone'] as string)) continue
      at += 1
      await run('insert into availability (id, user_id, starts_at, ends_at, time_zone, recurrence) values ($1, $2, $3, $4, $5, $6)', [`s-${at}`, slot['user_id'], slot['starts_at'], slot['ends_at'], slot['time_zone'], slot['recurrence']])
    }
  }
  afterAll(() => run('alter table availability enable trigger zz_rota_check_slot, enable trigger zz_rota_read_slot'))
  test.each([1, 2, 3])('who is free is who would be if every slot were worked out, seed %i', async (seed) => {
    await scatter(seed, 80)
    const chance = new Chance(seed)
    let found = 0
    for (let at = 0; at < 40; at += 1) {
      const from = Date.parse(chance.pick(['2026-10-20T00:00Z', '2026-03-25T00:00Z', '2026-11-01T00:00Z'])) + chance.below(14 * 96) * 900_000
      const [a, b] = [new Date(from), new Date(from + (15 + chance.below(chance.percent(80) ? 120 : 3000)) * 60_000)]
      const asked = await run('select who_is_free($1, $2) as person', [a, b])
      const wanted = await run(
        `select s.user_id as person from (select a.user_id, range_agg(tstzrange(s.starts, s.ends)) as free from availability a cross join lateral rota.slot_spans(a, $1, $2) s group by 1) s
         where s.free @> tstzrange($1, $2) order by 1`,
        [a, b],
      )
      expect(asked, `${a.toISOString()} ${b.toISOString()}`).toEqual(wanted)
      found += wanted.length
    }
    expect(found).toBeGreaterThan(10)
  })
  test('a slot is at the dates that its recurrence names, whatever the window', async () => {
    await scatter(6, 80)
    const wrong = await run(`with windows as (select '2026-03-20T00:00Z'::timestamptz + i * interval '37 hours' as from_at, '2026-03-20T00:00Z'::timestamptz + i * interval '37 hours' + (1 + i % 9) * interval '21 hours' as to_at from generate_series(0, 100) i),
      wanted as (select a.id, w.from_at, s.at as starts, e.at as ends from availability a cross join windows w
        cross join lateral rota.days_of(rota.wall(a.starts_at)::date, a.recurrence, '1970-01-01', '2028-01-01') d
        cross join lateral (select rota.moment(d + rota.wall(a.starts_at)::time, a.time_zone)) s(at)
        cross join lateral (select rota.moment(d + rota.wall(a.starts_at)::time + (rota.wall(a.ends_at) - rota.wall(a.starts_at)), a.time_zone)) e(at)
        where a.recurrence is not null and s.at < e.at and s.at < w.to_at and w.from_at < e.at),
      got as (select a.id, w.from_at, s.starts, s.ends from availability a cross join windows w cross join lateral rota.slot_spans(a, w.from_at, w.to_at) s where a.recurrence is not null)
      (select 'missing', * from wanted except select 'missing', * from got) union all (select 'too many', * from got except select 'too many', * from wanted) limit 3`)
    expect(wrong).toEqual([])
  })
  test.each([4, 5])('two slots meet when all their spans of 400 days do, and not otherwise, seed %i', async (seed) => {
    await scatter(seed, 60)
    const wrong = await run(`select p.*, w.wanted from (select a.id one, b.id other, a as a_row, b as b_row, rota.first_overlap(a, b) got from availability a join availability b on a.id < b.id) p
      cross join lateral (select greatest(rota.moment(rota.wall((a_row).starts_at), (a_row).time_zone), rota.moment(rota.wall((b_row).starts_at), (b_row).time_zone)) as from_at) f
      cross join lateral (select min(greatest(x.starts, y.starts)) as wanted from rota.slot_spans(a_row, from_at, from_at + interval '400 days') x
        join rota.slot_spans(b_row, from_at, from_at + interval '400 days') y on x.starts < y.ends and y.starts < x.ends) w
      where p.got is distinct from w.wanted limit 3`)
    expect(wrong).toEqual([])
    expect((await run('select count(*)::int n from availability a join availability b on a.id < b.id where rota.first_overlap(a, b) is not null'))[0]!['n']).toBeGreaterThan(50)
  })
})
