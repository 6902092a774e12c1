// Each answer of PROTOCOL.md §3, in the shape of its fixture, and each code of §4.
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  AIKO,
  assign,
  createWorld,
  fixture,
  insert,
  JONAS,
  ledgerSize,
  MAYA,
  operation,
  operationId,
  hlc,
  patch,
  remove,
  RUTH,
  shapeOf,
  TOMAS,
  type World,
} from './world.js'

let world: World
beforeAll(async () => void (world = await createWorld()))
afterAll(() => world.close())

const row = async (key: string) => (await world.owner.query('select * from companies where id = $1', [key])).rows[0]

test('an assignment is confirmed with the record as it is now', async () => {
  await world.company('c-1001')
  const op = assign('c-1001', null, JONAS)
  const answer = await world.as(JONAS).apply(op)
  expect(shapeOf(answer)).toEqual(shapeOf(fixture('answer.confirmed')))
  expect(answer).toMatchObject({ outcome: 'confirmed', id: op['id'], table: 'companies', key: 'c-1001', replayed: false })
  expect(answer['record']).toMatchObject({ owner_id: JONAS, rota_op: op['id'], rota_version: answer['version'] })
  expect(await row('c-1001')).toMatchObject({ owner_id: JONAS, rota_op: op['id'], rota_version: answer['version'] })
})

test('an unassignment is confirmed', async () => {
  await world.company('c-1002', { owner_id: AIKO })
  expect(await world.as(JONAS).apply(assign('c-1002', AIKO, null))).toMatchObject({ outcome: 'confirmed', record: { owner_id: null } })
})

test('an assignment whose base is no longer true is conflicted as taken and changes nothing', async () => {
  const version = await world.company('c-1003', { owner_id: AIKO })
  const answer = await world.as(JONAS).apply(assign('c-1003', null, JONAS))
  expect(answer['winner']).toMatchObject({ user: AIKO })
  expect(shapeOf(answer)).toEqual(shapeOf(fixture('answer.conflicted-winner')))
  expect(answer).toMatchObject({ outcome: 'conflicted', code: 'taken', fields: ['owner_id'], version, record: { owner_id: AIKO } })
  expect((await row('c-1003')).rota_version).toBe(version)
})

test('an assignment to who owns it already is confirmed, whatever the base', async () => {
  const version = await world.company('c-1004', { owner_id: JONAS })
  expect(await world.as(JONAS).apply(assign('c-1004', null, JONAS))).toMatchObject({ outcome: 'confirmed', version })
})

test('an assignment ignores what set says and follows its arguments', async () => {
  await world.company('c-1005')
  const answer = await world.as(MAYA).apply(assign('c-1005', null, AIKO, { set: { owner_id: TOMAS, city: 'Nowhere' } }))
  expect(answer).toMatchObject({ outcome: 'confirmed', record: { owner_id: AIKO, city: 'Bremen' } })
})

test('a patch sets only its fields', async () => {
  await world.company('c-1006', { employees: 5 })
  const answer = await world.as(JONAS).apply(patch('c-1006', { city: 'Bremen' }, { city: 'Hamburg' }))
  expect(answer).toMatchObject({ outcome: 'confirmed', record: { city: 'Hamburg', employees: 5 } })
})

test('a patch conflicts only in the fields that differ from the base and from the wish', async () => {
  await world.company('c-1007', { city: 'Kiel', industry: 'Optics', employees: 7 })
  const answer = await world
    .as(JONAS)
    .apply(patch('c-1007', { city: 'Bremen', industry: 'Glass', employees: 7 }, { city: 'Hamburg', industry: 'Optics', employees: 8 }))
  expect(answer).toMatchObject({ outcome: 'conflicted', code: 'changed', fields: ['city'], record: { city: 'Kiel', employees: 7 } })
})

test('a patch whose wishes are all true already is confirmed without a new version', async () => {
  const version = await world.company('c-1008', { city: 'Hamburg' })
  expect(await world.as(JONAS).apply(patch('c-1008', { city: 'Bremen' }, { city: 'Hamburg' }))).toMatchObject({ outcome: 'confirmed', version })
})

test("a base is compared by the column's type, not by its spelling", async () => {
  await world.company('c-1009', { updated_at: '2026-11-01T10:00:00.5Z' })
  const answer = await world.as(JONAS).apply(patch('c-1009', { city: 'Bremen', updated_at: '2026-11-01 12:00:00.500+02' }, { city: 'Hamburg' }))
  expect(answer).toMatchObject({ outcome: 'confirmed' })
})

test('a patch of a deleted record is conflicted with the record gone', async () => {
  await world.company('c-1010')
  await world.owner.query(`delete from companies where id = 'c-1010'`)
  const answer = await world.as(JONAS).apply(patch('c-1010', { city: 'Bremen' }, { city: 'Hamburg' }))
  expect(shapeOf(answer)).toEqual(shapeOf(fixture('answer.conflicted-gone')))
  expect(answer).toMatchObject({ code: 'changed', fields: ['city'], record: null })
  expect(await world.as(JONAS).apply(assign('c-1010', null, JONAS))).toMatchObject({ outcome: 'conflicted', code: 'taken', record: null })
})

test('a patch of a record that never was is refused as not found', async () => {
  const answer = await world.as(JONAS).apply(patch('c-7777', { city: 'Bremen' }, { city: 'Hamburg' }))
  expect(shapeOf(answer)).toEqual(shapeOf(fixture('answer.refused-unseen')))
  expect(answer).toMatchObject({ outcome: 'refused', code: 'not-found' })
})

test('a refusal gives its reason and the record the person may see', async () => {
  const version = await world.company('c-1011')
  const answer = await world.as(TOMAS).apply(assign('c-1011', null, TOMAS))
  expect(shapeOf(answer)).toEqual(shapeOf(fixture('answer.refused')))
  expect(answer).toMatchObject({ code: 'forbidden', version })
  expect(answer['message']).toBe('Tomás Herrera works in Support; Harbour Optics belongs to Sales. Ask a manager of Sales or an admin.')
})

test('an insert is confirmed, a second one of the same key exists', async () => {
  const record = { name: 'Skerry Lights', city: 'Oban', department: 'Sales' }
  expect(await world.as(MAYA).apply(insert('c-1012', record))).toMatchObject({ outcome: 'confirmed', record: { id: 'c-1012', city: 'Oban' } })
  expect(await world.as(MAYA).apply(insert('c-1012', record))).toMatchObject({ outcome: 'refused', code: 'exists', record: { id: 'c-1012' } })
})

test('an insert whose record has another key is invalid', async () => {
  const answer = await world.as(MAYA).apply(insert('c-1013', { name: 'Two Keys', department: 'Sales', id: 'c-1014' }))
  expect(answer).toMatchObject({ outcome: 'refused', code: 'invalid' })
  expect(answer['message']).toContain('c-1014')
})

test('a delete is confirmed without a record, again and again', async () => {
  const version = await world.company('c-1015')
  const answer = await world.as(MAYA).apply(remove('c-1015'))
  expect(shapeOf(answer)).toEqual(shapeOf(fixture('answer.confirmed-deleted')))
  expect(BigInt(answer['version'])).toBeGreaterThan(BigInt(version))
  expect(await world.as(MAYA).apply(remove('c-1015'))).toMatchObject({ outcome: 'confirmed', record: null, version: answer['version'] })
  expect(await world.as(MAYA).apply(remove('c-7778'))).toMatchObject({ outcome: 'confirmed', record: null, version: '0' })
})

test('a delete stops at a changed field of its base, and the record stays', async () => {
  await world.company('c-1016', { city: 'Kiel' })
  const answer = await world.as(MAYA).apply(remove('c-1016', { city: 'Bremen', name: 'Harbour Optics' }))
  expect(answer).toMatchObject({ outcome: 'conflicted', code: 'changed', fields: ['city'], record: { city: 'Kiel' } })
  expect(await row('c-1016')).toBeDefined()
})

test('a member may not delete, and is told who may', async () => {
  await world.company('c-1017')
  const answer = await world.as(JONAS).apply(remove('c-1017'))
  expect(answer).toMatchObject({ outcome: 'refused', code: 'forbidden', message: 'Only a manager of Sales or an admin may delete Harbour Optics.' })
})

test('an operation after a refused or conflicted one is refused; an unknown or confirmed one is no hindrance', async () => {
  await world.company('c-1018', { owner_id: AIKO })
  const lost = assign('c-1018', null, JONAS)
  const won = patch('c-1018', { city: 'Bremen' }, { city: 'Husum' })
  await world.as(JONAS).apply(lost)
  await world.as(JONAS).apply(won)
  expect(await world.as(JONAS).apply(patch('c-1018', { employees: 0 }, { employees: 1 }, { after: [won['id'], lost['id']] }))).toMatchObject({
    outcome: 'refused',
    code: 'dependency-refused',
    record: { employees: 0 },
  })
  expect(await world.as(AIKO).apply(patch('c-1018', { employees: 0 }, { employees: 2 }, { after: [lost['id']] }))).toMatchObject({
    outcome: 'confirmed',
  })
  expect(await world.as(JONAS).apply(patch('c-1018', { employees: 2 }, { employees: 3 }, { after: [won['id'], operationId()] }))).toMatchObject({
    outcome: 'confirmed',
  })
})

test('whatever the ledger holds, deciding an operation reads no more of it than the entries it names', async () => {
  const crowd = await createWorld()
  const connection = await crowd.open(JONAS)
  try {
    await crowd.company('c-1590')
    const first = patch('c-1590', { city: 'Bremen' }, { city: 'Kiel' })
    const apply = async (op: unknown) => (await connection.query('select public.apply_operation($1::jsonb) a', [JSON.stringify(op)])).rows[0].a
    const readWhole = async () => Number((await connection.query(`select seq_tup_read n from pg_stat_xact_user_tables where relid = 'rota.ledger'::regclass`)).rows[0].n)
    await apply(first)
    // Enough calls for the session to keep the plans that it made of a small ledger.
    for (let turn = 0; turn < 12; turn += 1) await apply(patch('c-1590', { city: 'Kiel' }, { city: 'Kiel' }, { after: [first['id']] }))
    await crowd.owner.query(`insert into rota.ledger (id, actor, op, answer) select gen_random_uuid(), $1, '{}', '{"outcome": "confirmed"}' from generate_series(1, 20000)`, [JONAS])
    const before = await readWhole()
    expect(await apply(patch('c-1590', { city: 'Kiel' }, { city: 'Bremen' }, { after: [first['id'], operationId()] }))).toMatchObject({ outcome: 'confirmed' })
    expect(await readWhole()).toBe(before)
  } finally {
    connection.release(true)
    await crowd.close()
  }
})

test("every answer and every pull tells the server's time as it leaves, a replayed one too, and the ledger keeps none", async () => {
  await world.company('c-1595')
  const time = async (ask: () => Promise<number>) => {
    const before = Date.now()
    const at = await ask()
    expect(at).toBeGreaterThanOrEqual(before - 1)
    expect(at).toBeLessThanOrEqual(Date.now() + 1)
    return at
  }
  const answered = (op: unknown) => async () => Number((await world.as(JONAS).sql('select public.apply_operation($1::jsonb) a', [JSON.stringify(op)]))[0]!['a'].atMs)
  const op = patch('c-1595', { city: 'Bremen' }, { city: 'Kiel' })
  const first = await time(answered(op))
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(await time(answered(op))).toBeGreaterThan(first)
  await time(answered({}))
  await time(answered(patch('c-none', { city: 'Bremen' }, { city: 'Kiel' })))
  const pulled = await world.as(JONAS).pull({ pending: [op['id']] })
  await time(async () => (await world.as(JONAS).pull({ cursor: pulled['cursor'] }))['atMs'])
  expect(pulled['settled']).toHaveLength(1)
  expect(pulled['settled'][0]).not.toHaveProperty('atMs')
  expect((await world.owner.query('select answer from rota.ledger where id = $1', [op['id']])).rows[0].answer).not.toHaveProperty('atMs')
})

test('an operation older than thirty days has expired, by its id or by its clock', async () => {
  await world.company('c-1019')
  const old = Date.now() - 30 * 86_400_000 - 60_000
  for (const more of [{ id: operationId(old) }, { hlc: hlc(old) }]) {
    expect(await world.as(JONAS).apply(assign('c-1019', null, JONAS, more))).toMatchObject({
      outcome: 'refused',
      code: 'expired',
      record: { owner_id: null },
    })
  }
  expect(await world.as(JONAS).apply(assign('c-1019', null, JONAS, { id: operationId(old + 120_000) }))).toMatchObject({ outcome: 'confirmed' })
})

test('what a column or a constraint refuses is invalid, in words', async () => {
  await world.company('c-1020')
  const tries: [object, string][] = [
    [patch('c-1020', { employees: 0 }, { employees: 'many' }), 'invalid input syntax'],
    [patch('c-1020', { employees: 0 }, { employees: -1 }), 'companies_employees_check'],
    [patch('c-1020', { name: 'Harbour Optics' }, { name: null }), 'the field name may not be empty'],
    [patch('c-1020', { employees: 0 }, { employees: 99999999999 }), 'integer'],
    [operation({ table: 'leads', name: 'patch', key: 'l-0001', set: { stage: 'maybe' }, base: { stage: 'new' } }), 'leads_stage_check'],
  ]
  for (const [op, words] of tries) {
    const answer = await world.as(RUTH).apply(op)
    expect(answer).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect(answer['message']).toContain(words)
  }
})

test('a deferred constraint refuses the operation instead of failing the call at its commit', async () => {
  await world.owner.query(`create table parts (id int primary key, part_of int references parts deferrable initially deferred);
    grant select, update on parts to authenticated; select rota.sync_table('parts', '{id}', '{part_of}'); insert into parts values (1)`)
  const answer = await world.as(JONAS).apply(operation({ table: 'parts', key: '1', base: { part_of: null }, set: { part_of: 7 } }))
  expect(answer).toMatchObject({ outcome: 'refused', code: 'invalid', record: { part_of: null } })
  expect(answer['message']).toContain('does not exist (parts_part_of_fkey)')
})

test('no person may be given a record but one of its department, save by an admin', async () => {
  await world.company('c-1021')
  expect(await world.as(MAYA).apply(assign('c-1021', null, TOMAS))).toMatchObject({
    code: 'forbidden',
    message: 'Tomás Herrera works in Support; Harbour Optics belongs to Sales.',
  })
  expect(await world.as(MAYA).apply(assign('c-1021', null, operationId()))).toMatchObject({
    code: 'invalid',
    message: 'There is no such person to assign this to.',
  })
  expect(await world.as(RUTH).apply(assign('c-1021', null, TOMAS))).toMatchObject({ outcome: 'confirmed' })
})

test('a table that nobody may write refuses, and its fields are not on the list', async () => {
  const person = { table: 'people', key: JONAS }
  expect(await world.as(RUTH).apply(operation({ ...person, set: { name: 'J' }, base: { name: 'Jonas Lindqvist' } }))).toMatchObject({
    code: 'invalid',
  })
  expect(await world.as(RUTH).apply(operation({ ...person, name: 'delete' }))).toMatchObject({ code: 'forbidden' })
})

test('refused and conflicted answers are recorded like confirmed ones', async () => {
  const before = await ledgerSize(world)
  await world.company('c-1022', { owner_id: AIKO })
  const ops = [assign('c-1022', null, JONAS), assign('c-1022', AIKO, TOMAS), assign('c-1022', AIKO, JONAS)]
  const first = []
  for (const op of ops) first.push(await world.as(JONAS).apply(op))
  expect(first.map((answer) => answer['outcome'])).toEqual(['conflicted', 'refused', 'confirmed'])
  for (const [at, op] of ops.entries()) expect(await world.as(JONAS).apply(op)).toEqual({ ...first[at], replayed: true })
  expect(await ledgerSize(world)).toBe(before + 3)
})
