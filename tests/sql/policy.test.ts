// The guard and the policies that are written from a declaration decide as the engine does from the same one. The list of cases is
// kept equal to the engine's answers by the tests of `src/domain/policy.rs`, and the SQL is what users of the package get.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { policySql } from 'rota-engine/policy-sql'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { assign, createWorld, type Json, type World } from './world.js'

const read = (name: string) => readFileSync(fileURLToPath(new URL(`../fixtures/policy/${name}`, import.meta.url)), 'utf8')

const PEOPLE: readonly (readonly (string | null)[])[] = [
  ['ada', 'admin', null],
  ['lee', 'lead', 'north'],
  ['maya', 'agent', 'north'],
  ['jonas', 'agent', 'south'],
  ['guest', null, 'north'],
  ['neil', 'o\'neil \\ "sons"', ''],
  ['gone', 'agent', 'north'],
]

let world: World

beforeAll(async () => {
  world = await createWorld({ demo: false })
  await world.owner.query(`create table public.people (id text primary key, role text, department text, here boolean default true);
    create table public.companies (id text primary key, owner_id text, department text);
    grant select, insert, update, delete on public.companies to authenticated;`)
  for (const person of PEOPLE) await world.owner.query('insert into public.people values ($1, $2, $3, $1 <> $4)', [...person, 'gone'])
  // Twice: what is written can be run again when the declaration has changed.
  const sql = await policySql(JSON.parse(read('declaration.json')) as Parameters<typeof policySql>[0])
  for (let time = 0; time < 2; time += 1) await world.owner.query(sql)
})
afterAll(() => world.close())

test('the guard answers all combinations as the engine does, with the same reasons', async () => {
  const cases = JSON.parse(read('cases.json')) as [string, string, string | null, string | null, string | null, Json | null][]
  expect(cases.length).toBeGreaterThan(1_000)
  for (const [person, name, owner, department, to, why] of cases) {
    const record = { owner_id: owner, department }
    const op = { name, args: name === 'assign' ? { to } : {}, set: name === 'insert' ? record : name === 'patch' && to !== null ? { owner_id: to } : {} }
    const { rows } = await world.owner.query('select rota_policy."guard companies"($1, $2, $3) as answer', [op, name === 'insert' ? null : record, person])
    expect([person, name, owner, department, to, rows[0].answer as Json | null]).toEqual([
      person,
      name,
      owner,
      department,
      to,
      why,
    ])
  }
})

test('row-level security lets through what some rule allows, and nothing else', async () => {
  await world.owner.query(`insert into public.companies values ('c-1', 'maya', 'north'), ('c-2', 'jonas', 'south')`)
  const changed = async (person: string, text: string) => (await world.as(person).sql(`with changed as (${text} returning id) select id from changed order by id`)).map(({ id }) => id as string)
  expect(await world.as('guest').sql('select id from companies')).toHaveLength(2)
  expect(await changed('guest', `update companies set owner_id = owner_id`)).toEqual([])
  expect(await changed('maya', `update companies set owner_id = owner_id`)).toEqual(['c-1'])
  expect(await changed('lee', `update companies set owner_id = owner_id`)).toEqual(['c-1'])
  expect(await changed('ada', `update companies set owner_id = owner_id`)).toEqual(['c-1', 'c-2'])
  expect(await changed('lee', `delete from companies`)).toEqual([])
  await expect(changed('maya', `insert into companies values ('c-3', 'maya', 'south')`)).rejects.toThrow(/row-level security/)
  expect(await changed('maya', `insert into companies values ('c-3', 'maya', 'north')`)).toEqual(['c-3'])
})

test('the guard that was written is asked before each operation', async () => {
  await world.owner.query(`select rota.sync_table('companies', key_columns => '{id}', writable => '{id,owner_id,department}', owner_column => 'owner_id',
    guard => 'rota_policy."guard companies"(jsonb, jsonb, text)');
    delete from public.companies; insert into public.companies values ('g-1', null, 'north'), ('g-2', 'maya', 'south')`)
  const give = (person: string, key: string, from: string | null, to: string) => world.as(person).apply(assign(key, from, to))
  expect(await give('maya', 'g-1', null, 'lee')).toMatchObject({ outcome: 'refused', code: 'forbidden', message: expect.stringContaining('oneself') })
  expect(await give('maya', 'g-1', null, 'maya')).toMatchObject({ outcome: 'confirmed' })
  expect(await give('lee', 'g-2', 'maya', 'lee')).toMatchObject({ outcome: 'refused', code: 'forbidden' })
  expect(await give('ada', 'g-2', 'maya', 'nobody')).toMatchObject({ outcome: 'refused', code: 'unknown-person' })
  await world.owner.query(`select rota.sync_table('companies', key_columns => '{id}', writable => '{id,owner_id,department}', owner_column => 'owner_id')`)
})

test('nothing is given to somebody who is not there, or is there no more', async () => {
  const answer = async (op: object) => (await world.owner.query('select rota_policy."guard companies"($1, $2, $3) as answer', [op, { owner_id: null, department: 'north' }, 'ada'])).rows[0].answer as Json
  for (const op of [{ name: 'assign', args: { to: 'nobody' } }, { name: 'patch', args: {}, set: { owner_id: 'nobody' } }]) {
    expect(await answer(op)).toEqual({ code: 'unknown-person', message: 'there is no person nobody' })
  }
  expect(await answer({ name: 'assign', args: { to: 'gone' } })).toEqual({ code: 'inactive', message: 'gone is not active' })
  expect(await answer({ name: 'assign', args: { to: null } })).toBeNull()
  const { rows } = await world.owner.query('select rota_policy."guard companies"($1, null, $2) as answer', [{ name: 'insert', set: { owner_id: 'nobody', department: 'north' } }, 'ada'])
  expect(rows[0].answer).toMatchObject({ code: 'unknown-person' })
})

test('whoever writes the table itself hands on what they might assign, and to whom, and no more', async () => {
  await world.owner.query(`delete from public.companies; insert into public.companies values ('h-1', 'maya', 'north'), ('h-2', null, 'north')`)
  const hand = (person: string, key: string, to: string) => world.as(person).sql(`with given as (update companies set owner_id = '${to}' where id = '${key}' returning owner_id) select owner_id from given`)
  expect(await hand('lee', 'h-1', 'guest')).toEqual([{ owner_id: 'guest' }])
  await expect(hand('lee', 'h-1', 'jonas')).rejects.toThrow(/people of the record's department/)
  await expect(hand('maya', 'h-2', 'lee')).rejects.toThrow(/oneself/)
  await expect(hand('lee', 'h-1', 'nobody')).rejects.toThrow(/there is no person nobody|department/)
  await expect(hand('ada', 'h-1', 'gone')).rejects.toThrow(/gone is not active/)
  expect(await hand('gone', 'h-1', 'maya')).toEqual([])
  // Whoever runs the database may do anything.
  await world.owner.query(`update companies set owner_id = 'nobody' where id = 'h-1'`)
})
