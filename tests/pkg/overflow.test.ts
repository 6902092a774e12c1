import { init } from 'rota-engine'
import { beforeAll, expect, it } from 'vitest'
import { openTab } from './browser.js'
import { isLive, pause, refusal, seeded } from './world.js'

beforeAll(init)

it('a stack that is full inside the engine, where no panic says a word, is told as a crash too', async () => {
  const { store, problems } = openTab(seeded())
  await isLive(store)
  const codes: unknown[] = []
  const call = () => store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
  // On the way back from as deep as it goes, a call has a little more room each time: at first not even enough to come in, then
  // enough to come in and no further, and in the end all that it needs.
  const dive = (): void => {
    try {
      dive()
    } finally {
      if (!codes.includes('engine-crashed') && codes.length < 2_000) {
        try {
          call()
          codes.push(undefined)
        } catch (error) {
          codes.push((error as { code?: unknown }).code)
        }
      }
    }
  }
  expect(dive).toThrow(RangeError)
  expect(codes).toContain('engine-crashed')
  expect(refusal(call).code).toBe('engine-crashed')
  await pause(5)
  expect(problems.map(({ code }) => code)).toEqual(['engine-crashed'])
  expect(store.status().link.why).toBe('crashed')
})
