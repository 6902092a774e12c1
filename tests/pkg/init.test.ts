import { expect, test, vi } from 'vitest'
import { createStore, init, RotaError, version } from 'rota-engine'
import { FakeBackend } from './backend.js'
import { tables } from './world.js'

const options = { app: 'tests', user: 'one', tables, backend: new FakeBackend(), storage: 'memory' } as const

test('importing any entry reads no WebAssembly and leaves nothing behind', async () => {
  const compile = vi.spyOn(WebAssembly, 'instantiate')
  const before = new Set(Reflect.ownKeys(globalThis))
  vi.resetModules()
  for (const entry of ['rota-engine', 'rota-engine/react', 'rota-engine/vue', 'rota-engine/supabase']) await import(entry)
  expect(compile).not.toHaveBeenCalled()
  const added = Reflect.ownKeys(globalThis).filter((name) => !before.has(name) && String(name).includes('rota'))
  expect(added).toEqual([])
})

test('a store that is opened before init says to await it', () => {
  expect(() => createStore(options)).toThrowError(expect.objectContaining({ name: 'RotaError', code: 'not-initialised', message: expect.stringContaining('await init()') }))
  expect(() => createStore(options)).toThrow(RotaError)
})

test('init twice, at once and later, is one load', async () => {
  const compile = vi.spyOn(WebAssembly, 'instantiate')
  const first = init()
  expect(init()).toBe(first)
  await first
  expect(init()).toBe(first)
  await init()
  // The test runner loads small modules of its own.
  const loads = compile.mock.calls.filter(([module]) => (module as unknown as Uint8Array).byteLength > 100_000)
  expect(loads).toHaveLength(1)
})

test('the engine says the version of the package', async () => {
  const { default: manifest } = await import('rota-engine/package.json', { with: { type: 'json' } })
  expect(version()).toBe((manifest as { version: string }).version)
})
