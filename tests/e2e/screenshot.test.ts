/** The README's picture. Written to target/, so that a run never changes what is in git; `docs/demo.png` is a copy of it. */
import { mkdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { people, useDemo } from './harness.js'

const world = useDemo()

test('the demo has its picture taken, with an assignment made and one refused', async () => {
  const folder = fileURLToPath(new URL('../../target/screenshots/', import.meta.url))
  mkdirSync(folder, { recursive: true })
  const one = await world.newPerson(people.maya)
  await one.page.setViewport({ width: 1280, height: 800, deviceScaleFactor: 1 })
  const key = await world.db.recordOf('companies', 'Sales', [people.aiko])
  await one.assignCompany(key, people.aiko.id)
  await one.waitForOwner(key, people.aiko.name)
  await one.assignCompany(await world.db.recordOf('companies', 'Operations', [null, people.maya]), people.maya.id)
  await one.waitForNotice()
  await one.waitForUnsent(0)
  const path = `${folder}demo.png` as const
  await one.page.screenshot({ path })
  expect(statSync(path).size).toBeGreaterThan(20_000)
})
