// Many connections at once: exactly-once, one winner, versions in commit order, and what a lock failure leaves behind.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AIKO, assign, createWorld, fixture, insert, JONAS, ledgerSize, MAYA, patch, remove, RUTH, shapeOf, type World } from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

const twenty = Array.from({ length: 20 }, (_, at) => at)
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const row = async (key: string) => (await world.owner.query('select * from companies where id = $1', [key])).rows[0]

test('one operation sent twenty times at once has its effect once, and all twenty hear the same answer', async () => {
  const version = await world.company('c-2001')
  await world.owner.query(`create table counted (id bigserial); grant all on counted, counted_id_seq to authenticated;
    create function count_it() returns trigger language plpgsql as $$ begin insert into counted default values; return new; end $$;
    create trigger counting after update on companies for each row execute function count_it()`)
  const op = patch('c-2001', { city: 'Bremen' }, { city: 'Hamburg' })
  const answers = await Promise.all(twenty.map(() => world.as(JONAS).apply(op)))
  expect(answers.filter((answer) => !answer['replayed'])).toHaveLength(1)
  expect(new Set(answers.map((answer) => JSON.stringify({ ...answer, replayed: null }))).size).toBe(1)
  expect(answers[0]).toMatchObject({ outcome: 'confirmed', record: { city: 'Hamburg' } })
  expect((await world.owner.query('select count(*) from counted')).rows[0].count).toBe('1')
  await world.owner.query('drop trigger counting on companies')
  expect(BigInt((await row('c-2001')).rota_version)).toBeGreaterThan(BigInt(version))
})

test('of twenty operations that assign one record, one is confirmed and nineteen are taken', async () => {
  await world.company('c-2002')
  const answers = await Promise.all(twenty.map((at) => world.as(RUTH).apply(assign('c-2002', null, [MAYA, JONAS, AIKO, RUTH][at % 4]))))
  const won = answers.filter((answer) => answer['outcome'] === 'confirmed')
  const owner = (await row('c-2002')).owner_id
  // Those who wished for the winner's owner have what they wanted; nobody else was told so.
  expect(won.every((answer) => answer['record'].owner_id === owner)).toBe(true)
  expect(new Set(won.map((answer) => answer['version'])).size).toBe(1)
  expect(answers.filter((answer) => answer['code'] === 'taken')).toHaveLength(15)
})

test('of twenty people who take one record for themselves, one is confirmed and nineteen are taken', async () => {
  const people = twenty.map((at) => `00000000-0000-4000-8000-0000000000${String(at).padStart(2, '0')}`)
  for (const [at, id] of people.entries())
    await world.owner.query(`insert into people values ($1, $2, $3, 'Sales', 'member')`, [id, `Member ${at}`, `m${at}@rota.example`])
  await world.company('c-2003')
  const answers = await Promise.all(people.map((person) => world.as(person).apply(assign('c-2003', null, person))))
  const won = answers.filter((answer) => answer['outcome'] === 'confirmed')
  expect(won).toHaveLength(1)
  expect(
    answers.filter(
      (answer) => answer['outcome'] === 'conflicted' && answer['code'] === 'taken' && answer['record'].owner_id === won[0]!['record'].owner_id,
    ),
  ).toHaveLength(19)
  expect((await row('c-2003')).owner_id).toBe(won[0]!['record'].owner_id)
})

test('of twenty inserts of one key, one is confirmed and nineteen are told it exists', async () => {
  const answers = await Promise.all(twenty.map((at) => world.as(MAYA).apply(insert('c-2004', { name: `Racer ${at}`, department: 'Sales' }))))
  expect(answers.map((answer) => answer['code'] ?? answer['outcome']).sort()).toEqual(['confirmed', ...Array(19).fill('exists')])
})

test('versions of one record rise in commit order across a delete and a new insert that waits for it', async () => {
  const first = BigInt(await world.company('c-2005'))
  const deleting = await world.open()
  await deleting.query(`delete from companies where id = 'c-2005'`)
  const inserting = world.owner.query(`insert into companies (id, name, department) values ('c-2005', 'Again', 'Sales') returning rota_version`)
  await pause(100)
  // Others draw versions meanwhile: had the insert drawn its own before it had the lock, the delete could end above it.
  await world.owner.query(`select nextval('rota.version') from generate_series(1, 5)`)
  const { rows } = await world.owner.query(`select last_value from rota.version`)
  await deleting.query('commit')
  deleting.release()
  const inserted = BigInt((await inserting).rows[0].rota_version)
  expect(inserted).toBeGreaterThan(BigInt(rows[0].last_value))
  expect(inserted).toBeGreaterThan(first)
  expect((await world.owner.query(`select version, deleted from rota.feed where key = 'c-2005'`)).rows).toEqual([
    { version: String(inserted), deleted: false },
  ])
})

test('deletes and inserts of one key from many sides leave row and feed agreeing', async () => {
  const work = twenty.map((at) =>
    at % 2 ? world.as(MAYA).apply(remove('c-2006')) : world.as(MAYA).apply(insert('c-2006', { name: `Turn ${at}`, department: 'Sales' })),
  )
  for (const answer of await Promise.all(work)) expect(['confirmed', 'exists', 'busy']).toContain(answer['code'] ?? answer['outcome'])
  const found = await row('c-2006')
  const { rows } = await world.owner.query(`select version, deleted from rota.feed where key = 'c-2006'`)
  expect(rows[0].deleted).toBe(found === undefined)
  if (found !== undefined) expect(found.rota_version).toBe(rows[0].version)
})

test('a deadlock is answered with retry, and the same operation is confirmed afterwards', async () => {
  await world.company('c-2007')
  await world.company('c-2008')
  const before = await ledgerSize(world)
  const op = patch('c-2008', { city: 'Bremen' }, { city: 'Jever' })
  const mine = await world.open(JONAS)
  await mine.query(`set local lock_timeout = '20s'`)
  await mine.query(`update companies set city = 'Aurich' where id = 'c-2007'`)
  const other = await world.open()
  await other.query(`set local deadlock_timeout = '20s'`) // so that the other side is the one to notice
  await other.query(`update companies set city = 'Emden' where id = 'c-2008'`)
  const waiting = other.query(`update companies set city = 'Emden' where id = 'c-2007'`)
  await pause(50)
  const { atMs: _, ...answer } = (await mine.query('select apply_operation($1) a', [op])).rows[0].a
  await mine.query('commit')
  await waiting
  await other.query('rollback')
  for (const connection of [mine, other]) connection.release()
  expect(shapeOf(answer)).toEqual(shapeOf(fixture('answer.retry')))
  expect(answer).toMatchObject({ outcome: 'retry', code: 'busy', message: 'deadlock detected' })
  expect(await ledgerSize(world)).toBe(before)
  expect((await row('c-2008')).city).toBe('Bremen')
  expect(await world.as(JONAS).apply(op)).toMatchObject({ outcome: 'confirmed', replayed: false, record: { city: 'Jever' } })
})

test('a lock that is not given in time is answered with retry and not recorded', async () => {
  await world.company('c-2009')
  const other = await world.open()
  await other.query(`update companies set city = 'Emden' where id = 'c-2009'`)
  const mine = await world.open(JONAS)
  await mine.query(`set local lock_timeout = '100ms'`)
  const before = await ledgerSize(world)
  const op = patch('c-2009', { city: 'Bremen' }, { city: 'Jever' })
  expect((await mine.query('select apply_operation($1) a', [op])).rows[0].a).toMatchObject({ outcome: 'retry', code: 'busy' })
  await mine.query('commit')
  await other.query('rollback')
  for (const connection of [mine, other]) connection.release()
  expect(await ledgerSize(world)).toBe(before)
})

test('a serialisation failure is answered with retry', async () => {
  await world.company('c-2010')
  const mine = await world.owner.connect()
  await mine.query('begin isolation level repeatable read; set local role authenticated')
  await mine.query(`select set_config('request.jwt.claims', $1, true)`, [JSON.stringify({ sub: JONAS })])
  await world.owner.query(`update companies set city = 'Emden' where id = 'c-2010'`)
  const op = patch('c-2010', { city: 'Bremen' }, { city: 'Jever' })
  expect((await mine.query('select apply_operation($1) a', [op])).rows[0].a).toMatchObject({ outcome: 'retry', code: 'busy' })
  await mine.query('commit')
  mine.release()
})

test("an id is waited for: if its first sender rolls back, the second one's effect counts", async () => {
  await world.company('c-2011')
  const op = assign('c-2011', null, JONAS)
  const first = await world.open(JONAS)
  await first.query('select apply_operation($1)', [op])
  const second = world.as(JONAS).apply(op)
  await pause(100)
  await first.query('rollback')
  first.release()
  expect(await second).toMatchObject({ outcome: 'confirmed', replayed: false })
  expect((await row('c-2011')).owner_id).toBe(JONAS)
})
