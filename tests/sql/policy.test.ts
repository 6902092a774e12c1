// The guard and the policies that are written from a declaration decide as the engine does from the same one. The list of cases is
// kept equal to the engine's answers by the tests of `src/domain/policy.rs`.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createWorld, type Json, type World } from './world.js'

const read = (name: string) => readFileSync(fileURLToPath(new URL(`../fixtures/policy/${name}`, import.meta.url)), 'utf8')

const PEOPLE: readonly (readonly (string | null)[])[] = [
  ['ada', 'admin', null],
  ['lee', 'lead', 'north'],
  ['maya', 'agent', 'north'],
  ['jonas', 'agent', 'south'],
  ['guest', null, 'north'],
  ['neil', 'o\'neil \\ "sons"', ''],
]

let world: World

beforeAll(async () => {
  world = await createWorld({ demo: false })
  await world.owner.query(`create table public.people (id text primary key, role text, department text);
    create table public.companies (id text primary key, owner_id text, department text);
    grant select, insert, update, delete on public.companies to authenticated;`)
  for (const person of PEOPLE) await world.owner.query('insert into public.people values ($1, $2, $3)', [...person])
  // Twice: what is written can be run again when the declaration has changed.
  for (let time = 0; time < 2; time += 1) await world.owner.query(read('policy.sql'))
})
afterAll(() => world.close())

test('the guard answers all combinations as the engine does, with the same reasons', async () => {
  const cases = JSON.parse(read('cases.json')) as [string, string, string | null, string | null, string | null, string | null][]
  expect(cases.length).toBeGreaterThan(400)
  for (const [person, name, owner, department, to, why] of cases) {
    const record = { owner_id: owner, department }
    const op = { name, args: name === 'assign' ? { to } : {}, set: name === 'insert' ? record : {} }
    const { rows } = await world.owner.query('select rota_policy."guard companies"($1, $2, $3) as answer', [op, name === 'insert' ? null : record, person])
    expect([person, name, owner, department, to, rows[0].answer as Json | null]).toEqual([
      person,
      name,
      owner,
      department,
      to,
      why === null ? null : { code: 'forbidden', message: why },
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
