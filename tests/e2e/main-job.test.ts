import { expect, test } from 'vitest'
import { people, useDemo } from './harness.js'

const world = useDemo()

test('the main job', async () => {
  const { maya, aiko } = people
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])

  const looked = await one.assignAndLook('companies', key, aiko.id)
  expect(looked.storeOwner, 'in the same tick').toBe(aiko.id)
  expect(looked.screenOwner, 'before the next frame').toBe(aiko.name)

  await two.waitForOwner(key, aiko.name, 2_000)
  await one.waitForSettled(key)
  expect(await world.db.ownerOf('companies', key)).toBe(aiko.id)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
  await one.waitForUnsent(0)
  expect([(await one.status()).role, (await two.status()).role].sort()).toEqual(['follower', 'leader'])
  expect(await one.notices()).toEqual([])
})
