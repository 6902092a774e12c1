// What the availability document wants verified, step by step: three dashboards are three stores, with links of their own.
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { openBackend, until, type Backend, type Person, type Session } from './backend.js'

let backend: Backend
let therapist: Person
let dashboards: Session[]
let made = 0
beforeAll(async () => {
  backend = await openBackend(inject('serverUrl'))
  therapist = await backend.person('Thea', 'operator')
  // Open multiple dashboard tabs (Therapist, Operator, Scheduling)
  const operator = await backend.person('Olaf', 'operator')
  dashboards = [await backend.session(therapist), await backend.session(operator), await backend.session(therapist)]
})
afterAll(() => backend.close())

/** A morning of its own. */
async function add(): Promise<string> {
  made += 1
  const id = `slot-${made}`
  const day = `2026-11-${String(made).padStart(2, '0')}`
  const record = { id, user_id: therapist.id, starts_at: `${day}T09:00`, ends_at: `${day}T12:00`, time_zone: 'Europe/Berlin', recurrence: null, is_active: true, notes: null }
  const { settled } = dashboards[0]!.store.mutate({ name: 'insert', table: 'availability', record })
  expect(dashboards[0]!.store.get('availability', id)).toMatchObject({ is_active: true })
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  return id
}
const everywhere = (id: string, check: (slot: { is_active: boolean } | undefined) => boolean, what: string) =>
  until(() => dashboards.every(({ store }) => check(store.get('availability', id))), what)

test('Add availability in one dashboard → Verify immediate appearance in other dashboards', async () => {
  const id = await add()
  await everywhere(id, (slot) => slot?.is_active === true, 'the slot is in every dashboard')
})
test('Update availability (toggle active/inactive) → Verify immediate update across dashboards', async () => {
  const id = await add()
  await everywhere(id, (slot) => slot !== undefined, 'the slot is in every dashboard')
  dashboards[2]!.store.mutate({ name: 'patch', table: 'availability', key: id, set: { is_active: false } })
  expect(dashboards[2]!.store.get('availability', id)?.is_active).toBe(false)
  await everywhere(id, (slot) => slot?.is_active === false, 'it is inactive in every dashboard')
  expect(await backend.sql('select * from free_slots($1, $2, $3)', [therapist.id, '2026-11-02T00:00Z', '2026-11-03T00:00Z'])).toEqual([])
  dashboards[0]!.store.mutate({ name: 'patch', table: 'availability', key: id, set: { is_active: true } })
  await everywhere(id, (slot) => slot?.is_active === true, 'it is active in every dashboard')
  expect(await backend.sql('select slot_id from free_slots($1, $2, $3)', [therapist.id, '2026-11-02T00:00Z', '2026-11-03T00:00Z'])).toEqual([{ slot_id: id }])
})
test('Delete availability → Verify immediate removal across dashboards', async () => {
  const id = await add()
  await everywhere(id, (slot) => slot !== undefined, 'the slot is in every dashboard')
  dashboards[0]!.store.mutate({ name: 'delete', table: 'availability', key: id })
  expect(dashboards[0]!.store.get('availability', id)).toBeUndefined()
  await everywhere(id, (slot) => slot === undefined, 'it is gone from every dashboard')
  expect(await backend.sql('select id from availability where id = $1', [id])).toEqual([])
})
