// No operation, however broken, makes the call fail: it is answered, and what has an id is recorded once.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assign, createWorld, insert, JONAS, ledgerSize, MAYA, operation, operationId, patch, type World } from './world.js'

let world: World
beforeAll(async () => {
  world = await createWorld()
  await world.company('c-0900')
})
afterAll(() => world.close())

const without = (member: string) => {
  const op = operation({ base: { city: 'Bremen' }, set: { city: 'Kiel' } })
  delete op[member]
  return op
}
const good = { base: { city: 'Bremen' }, set: { city: 'Kiel' } }

const unrecorded: [string, unknown][] = [
  ['null', null],
  ['a number', 5],
  ['a string', 'assign'],
  ['a list', []],
  ['an empty object', {}],
  ['no id', without('id')],
  ['an id that is a number', operation({ id: 7 })],
  ['an id that is no UUID', operation({ id: 'x' })],
  ['a UUIDv4', operation({ id: '11111111-1111-4111-8111-111111111111' })],
  ['an id in upper case', operation({ id: operationId().toUpperCase() })],
]

test.each(unrecorded)('%s is invalid and not recorded', async (_, op) => {
  const before = await ledgerSize(world)
  const answer = await world.as(JONAS).apply(op)
  expect(answer).toMatchObject({ protocol: 1, outcome: 'refused', code: 'invalid', replayed: false })
  for (const member of ['id', 'table', 'key', 'message']) expect(typeof answer[member]).toBe('string')
  expect(await ledgerSize(world)).toBe(before)
})

const recorded: [string, object, string, string][] = [
  ...['protocol', 'name', 'table', 'key', 'args', 'set', 'base', 'baseVersion', 'hlc', 'tab', 'after'].map(
    (member): [string, object, string, string] => [`no ${member}`, without(member), 'invalid', member],
  ),
  ['protocol 2', operation({ protocol: 2 }), 'protocol-unsupported', '2'],
  ['a protocol that is a string', operation({ protocol: '1' }), 'protocol-unsupported', '1'],
  ['an unknown name', operation({ ...good, name: 'frobnicate' }), 'invalid', 'frobnicate'],
  ['a name that tries to be SQL', operation({ ...good, name: 'patch"(null); drop table companies; --' }), 'invalid', 'no operation named'],
  ["a name with a null character's neighbour", operation({ ...good, name: '\u0001' }), 'invalid', 'no operation named'],
  ['an unknown table', operation({ ...good, table: 'secrets' }), 'invalid', 'secrets'],
  ['a table of the system', operation({ ...good, table: 'pg_authid' }), 'invalid', 'pg_authid'],
  ['an empty key', operation({ ...good, key: '' }), 'invalid', 'key'],
  ['a key of 1,001 characters', operation({ ...good, key: 'x'.repeat(1001) }), 'invalid', 'key'],
  ['an unknown field', patch('c-0900', { colour: 1 }, { colour: 2 }), 'invalid', 'colour'],
  ['an unknown field in base', patch('c-0900', { city: 'Bremen', colour: 1 }, { city: 'Kiel' }), 'invalid', 'colour'],
  ['a field that is not on the list', patch('c-0900', { updated_at: null }, { updated_at: '2020-01-01T00:00:00Z' }), 'invalid', 'updated_at'],
  ['the version column', patch('c-0900', { rota_version: '1' }, { rota_version: '9' }), 'invalid', 'rota_version'],
  ['the key column in a patch', patch('c-0900', { id: 'c-0900' }, { id: 'c-0901' }), 'invalid', 'id'],
  ['a field with a quote', patch('c-0900', { 'a"b': 1 }, { 'a"b': 2 }), 'invalid', 'a"b'],
  ['a patch without the base of a field', patch('c-0900', {}, { city: 'Kiel' }), 'invalid', 'city'],
  ['a base that the column refuses', patch('c-0900', { employees: 'few' }, { employees: 3 }), 'invalid', 'few'],
  ['set as a list', operation({ set: [] }), 'invalid', 'set'],
  ['base as null', operation({ base: null }), 'invalid', 'base'],
  ['a base version with a sign', operation({ ...good, baseVersion: '-1' }), 'invalid', 'baseVersion'],
  ['a clock that is none', operation({ ...good, hlc: 'soon' }), 'invalid', 'hlc'],
  ['after with no id in it', operation({ ...good, after: ['first'] }), 'invalid', 'after'],
  ['after with 1,001 ids', operation({ ...good, after: Array.from({ length: 1001 }, () => operationId()) }), 'invalid', 'after'],
  [
    'an operation of more than a million bytes',
    operation({ base: { city: 'Bremen' }, set: { city: 'x'.repeat(1_000_001) } }),
    'invalid',
    '1,000,000',
  ],
  ['an assignment without to', operation({ name: 'assign', base: { owner_id: null } }), 'invalid', 'args.to'],
  ['an assignment to a number', assign('c-0900', null, 7), 'invalid', 'args.to'],
  ['an assignment to no UUID', assign('c-0900', null, 'maya'), 'invalid', 'maya'],
  ['an assignment without a base', operation({ name: 'assign', args: { to: JONAS } }), 'invalid', 'owner_id'],
  [
    'an assignment in a table without owners',
    operation({ name: 'assign', table: 'people', key: JONAS, args: { to: null }, base: {} }),
    'invalid',
    'owner',
  ],
  ["a key that can't be one", operation({ ...good, table: 'people', key: 'maya' }), 'invalid', 'maya'],
  ['a key in another spelling', operation({ table: 'people', key: 'ABCDEF00-0000-4000-8000-000000000000' }), 'invalid', 'abcdef00'],
  ['a delete that sets something', operation({ ...good, name: 'delete' }), 'invalid', 'set'],
  ['an insert of nothing', operation({ name: 'insert' }), 'invalid', 'key'],
  ['an insert with an unknown field', insert('c-0902', { name: 'N', department: 'Sales', colour: 1 }), 'invalid', 'colour'],
  ['an insert with a wrong value', insert('c-0902', { name: 'N', department: 'Sales', employees: {} }), 'invalid', ''],
]

test.each(recorded)('%s is refused with its reason and recorded once', async (_, op, code, words) => {
  const before = await ledgerSize(world)
  const answer = await world.as(MAYA).apply(op)
  expect(answer).toMatchObject({ outcome: 'refused', code, replayed: false })
  expect(answer['message']).toContain(words)
  expect(await world.as(MAYA).apply(op)).toEqual({ ...answer, replayed: true })
  expect(await ledgerSize(world)).toBe(before + 1)
})

test('after all that the record is as it was', async () => {
  const { rows } = await world.owner.query(`select city, owner_id, employees from companies where id = 'c-0900'`)
  expect(rows).toEqual([{ city: 'Bremen', owner_id: null, employees: 0 }])
})
