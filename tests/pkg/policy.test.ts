import type { Policy } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import { openDomainsLive, type DomainBackend, type domainTables } from './domains.js'
import { refusal, until } from './world.js'

let store: Awaited<ReturnType<typeof openDomainsLive>>['store']
let backend: DomainBackend

beforeEach(async () => {
  ;({ store, backend } = await openDomainsLive())
})

const leads: Policy<typeof domainTables, 'leads'> = {
  table: 'leads',
  owner: 'owner_id',
  department: 'department',
  people: { table: 'profiles', department: 'department' },
  rules: [
    { actions: ['assign'], roles: ['admin'] },
    { actions: ['assign'], roles: ['agent'], scope: 'unowned', to: 'oneself' },
    { actions: ['patch'], scope: 'department' },
  ],
}

describe('a declared policy', () => {
  test('answers by role, ownership and department, with the reason', () => {
    expect(store.can({ name: 'assign', table: 'leads', key: 'l1', to: 'jonas' })).toBeUndefined()
    store.policy(leads)
    expect(store.can({ name: 'assign', table: 'leads', key: 'l1', to: 'maya' })).toBeUndefined()
    expect(store.can({ name: 'assign', table: 'leads', key: 'l1', to: 'jonas' })).toEqual({ code: 'forbidden', message: expect.stringContaining('oneself') })
    expect(store.can({ name: 'patch', table: 'leads', key: 'l1', set: { name: 'x' } })).toBeUndefined()
    backend.put('leads', { id: 'l2', name: 'South', owner_id: null, department: 'south' })
    expect(store.can({ name: 'patch', table: 'leads', key: 'l2', set: { name: 'x' } })).toMatchObject({ code: 'forbidden', message: expect.stringContaining('department') })
    expect(store.can({ name: 'delete', table: 'leads', key: 'l1' })).toMatchObject({ code: 'forbidden' })
  })

  test.each([
    ['leeds', { table: 'leeds' }],
    ['ownr_id', { owner: 'ownr_id' }],
    ['dept', { department: 'dept' }],
    ['people', { people: { table: 'people' } }],
    ['rank', { people: { table: 'profiles', role: 'rank' } }],
    ['branch', { people: { table: 'profiles', department: 'branch' } }],
    ['user_id', { people: { table: 'profiles', key: 'user_id' } }],
    ['here', { people: { table: 'profiles', active: 'here' } }],
  ])('that names what is not declared is refused, naming it: %s', (name, wrong) => {
    const error = refusal(() => store.policy({ ...leads, rules: [{ actions: ['patch'] }], ...wrong } as never))
    expect(error).toMatchObject({ code: 'invalid-configuration', message: expect.stringContaining(`"${name}"`) })
    expect(store.can({ name: 'delete', table: 'leads', key: 'l1' })).toBeUndefined()
  })

  test('that knows people by another field than the key of their records is refused, since nobody would be found', () => {
    const error = refusal(() => store.policy({ ...leads, people: { ...leads.people, key: 'name' } }))
    expect(error).toMatchObject({ code: 'invalid-configuration', message: expect.stringContaining('"profiles" is declared with the key "id"') })
    store.policy({ ...leads, people: { ...leads.people, key: 'id' } })
    expect(store.can({ name: 'delete', table: 'leads', key: 'l1' })).toMatchObject({ code: 'forbidden' })
  })

  test('refuses what it does not allow, and nothing has changed', () => {
    store.policy(leads)
    const error = refusal(() => store.assignments.assign('leads', 'l1', 'jonas'))
    expect([error.code, store.get('leads', 'l1')?.owner_id, store.status().unsent]).toEqual(['forbidden', null, 0])
  })

  test('goes by the role as it is now', async () => {
    store.policy(leads)
    backend.put('profiles', { id: 'maya', role: 'admin', department: 'north', name: 'maya' })
    expect(store.can({ name: 'assign', table: 'leads', key: 'l1', to: 'jonas' })).toBeUndefined()
    await until(() => expect(store.status().ready).toBe(true))
  })

  test('takes the place of the one before', () => {
    store.policy(leads)
    store.policy({ ...leads, rules: [{ actions: ['assign'] }] })
    expect(store.can({ name: 'assign', table: 'leads', key: 'l1', to: 'jonas' })).toBeUndefined()
  })

  test('that can not work is refused, and the one before stays', () => {
    store.policy(leads)
    for (const wrong of [{ ...leads, rules: [{ actions: [] }] }, { ...leads, owner: undefined }, { ...leads, colour: 'red' }, null, 'leads']) {
      expect(['invalid-configuration', 'invalid-value']).toContain(refusal(() => store.policy(wrong as never)).code)
    }
    expect(store.can({ name: 'assign', table: 'leads', key: 'l1', to: 'jonas' })?.code).toBe('forbidden')
  })
})

test('can says of every mutation what mutate would throw, and changes nothing', () => {
  const wrong = [
    { name: 'patch', table: 'leads', key: 'nope', set: { name: 'x' } },
    { name: 'patch', table: 'leads', key: 'l1', set: { town: 'x' } },
    { name: 'patch', table: 'nope', key: 'l1', set: { name: 'x' } },
    { name: 'insert', table: 'leads', record: { id: 'l1', name: 'x', owner_id: null, department: null } },
    { name: 'upsert', table: 'leads', key: 'l1' },
    { name: 'patch', table: 'leads', key: 'l1', set: { name: () => 1 } },
    null,
  ] as never[]
  for (const mutation of wrong) {
    const { code, reason: message } = refusal(() => store.mutate(mutation))
    expect(store.can(mutation)).toEqual({ code, message })
  }
  expect(store.can({ name: 'patch', table: 'leads', key: 'l1', set: { name: 'x' } })).toBeUndefined()
  expect([store.get('leads', 'l1')?.name, store.status().unsent]).toEqual(['Harbour', 0])
  store.close()
  expect(refusal(() => store.can({ name: 'delete', table: 'leads', key: 'l1' })).code).toBe('closed')
})

