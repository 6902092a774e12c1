import { init } from 'rota-engine'
import { afterEach, beforeAll, expect, test, vi } from 'vitest'
import { FakeLocks, openTab, stored } from './browser.js'
import { isLive, pause, refusal, seeded, until } from './world.js'

beforeAll(init)
afterEach(() => vi.unstubAllGlobals())

/** A tab that leads, with a patch that the server has not answered: what is changed in its record now waits, and is sent as one. */
async function waiting() {
  vi.stubGlobal('navigator', { ...globalThis.navigator, locks: new FakeLocks() })
  const backend = seeded()
  const { store, problems } = openTab(backend)
  await isLive(store)
  await until(() => expect(store.status().role).toBe('leader'))
  backend.hold()
  const patch = (set: { city?: string; name?: string }) => store.mutate({ name: 'patch', table: 'companies', key: 'c1', set })
  const before = { ...store.get('companies', 'c1') }
  const sent = patch({ city: 'Jena' })
  await pause(5)
  return { store, backend, problems, patch, sent, before }
}

test('of changes that wait as one each is taken back by its own handle, in any order, and the others are sent', async () => {
  const { store, backend, problems, patch, sent } = await waiting()
  const made = [patch({ city: 'Kiel' }), patch({ city: 'Ulm', name: 'Dock' }), patch({ name: 'Quay' }), patch({ city: 'Hof', name: 'Pier' })] as const
  const [first, second, third, last] = made
  expect(store.operations().pending.map(({ id }) => id)).toEqual([sent.id, last.id])
  const shown = () => [store.get('companies', 'c1')?.city, store.get('companies', 'c1')?.name]

  expect(store.undo(second.id)).toBeUndefined()
  expect(shown()).toEqual(['Hof', 'Pier'])
  expect(await second.settled).toEqual({ id: second.id, outcome: 'cancelled' })

  expect(store.undo(last.id)).toBeUndefined()
  expect(shown()).toEqual(['Kiel', 'Quay'])
  expect(await last.settled).toEqual({ id: last.id, outcome: 'cancelled' })
  expect(refusal(() => store.undo(last.id)).code).toBe('nothing-to-undo')
  // What the database has of it is in its other form there, too.
  await until(async () => expect(await stored('operations')).toHaveLength(2))

  backend.release()
  expect((await Promise.all([first.settled, third.settled])).map(({ outcome }) => outcome)).toEqual(['confirmed', 'confirmed'])
  expect(backend.row('companies', 'c1')).toMatchObject({ city: 'Kiel', name: 'Quay' })
  expect(backend.pushes).toHaveLength(2)
  expect(backend.pushes[1]).not.toHaveProperty('joined')
  await until(() => expect(store.status().unsent).toBe(0))
  await until(async () => expect(await stored('operations')).toEqual([]))
  expect(problems).toEqual([])

  // And from what was sent as one, as well.
  await store.undo(first.id)?.settled
  expect(backend.row('companies', 'c1')).toMatchObject({ city: 'Jena', name: 'Quay' })
})

test('where nothing is left of changes that wait as one, nothing is sent', async () => {
  const { store, backend, patch, sent, before } = await waiting()
  const made = [patch({ name: 'Dock' }), patch({ name: 'Quay' })] as const
  for (const { id } of made) expect(store.undo(id)).toBeUndefined()
  expect(store.get('companies', 'c1')).toMatchObject({ city: 'Jena', name: before.name })
  expect(store.operations().pending.map(({ id }) => id)).toEqual([sent.id])
  for (const { id, settled } of made) expect(await settled).toEqual({ id, outcome: 'cancelled' })
  backend.release()
  await sent.settled
  expect(backend.pushes.map(({ id }) => id)).toEqual([sent.id])
})
