import { createStore, init } from 'rota-engine'
import { beforeAll, expect, it, vi } from 'vitest'
import { Lines, openTab, session, storage } from './browser.js'
import { FakeBackend } from './backend.js'
import { isLive, pause, refusal, seeded, tables, until } from './world.js'

let memory: WebAssembly.Memory | undefined

beforeAll(async () => {
  const { instantiate } = WebAssembly
  const spy = vi.spyOn(WebAssembly, 'instantiate').mockImplementation((async (...given: Parameters<typeof instantiate>) => {
    const made = (await instantiate(...given)) as unknown as Partial<WebAssembly.WebAssemblyInstantiatedSource>
    // Node has WebAssembly of its own.
    memory ??= made.instance?.exports.memory as WebAssembly.Memory
    return made
  }) as unknown as typeof instantiate)
  await init()
  spy.mockRestore()
})

// One page has one engine's memory: what is spoilt stays spoilt, so this is one story.
it('a crash from outside any call is told once, in every store, and nothing is taken, sent or called any more', async () => {
  const uncaught: unknown[] = []
  const onUncaught = (error: unknown) => uncaught.push(error)
  process.on('uncaughtException', onUncaught)
  const lines = new Lines(seeded())
  const one = openTab(lines.one())
  await isLive(one.store)
  const other = openTab(seeded(), { user: 'somebody-else' })
  await isLive(other.store)
  lines.server.hold()
  const { id, settled } = one.store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
  const leaving = one.store.logout({ unsent: 'wait' }).catch((error: unknown) => error)
  const heard: string[] = []
  one.store.subscribe(({ status }) => void (status && heard.push(status.link.why)))

  // Nothing in there is what it was; the next to come in is a message of another tab.
  new Uint8Array(memory!.buffer).fill(0xa5)
  const channel = new BroadcastChannel(session())
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel has none
  for (let count = 0; count < 20; count++) channel.postMessage({ v: 1, from: 'x', epoch: 0, seq: count, kind: 'hello', pending: [] })
  await until(() => expect(one.store.status().link).toMatchObject({ state: 'stopped', why: 'crashed' }))
  await pause(20)
  channel.close()

  for (const { store, problems } of [one, other]) {
    expect(store.status().link.why).toBe('crashed')
    expect(problems.map(({ code }) => code)).toEqual(['engine-crashed'])
    for (let count = 0; count < 2; count++) {
      const error = refusal(() => store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { city: 'Ulm' } }))
      expect(error.code).toBe('engine-crashed')
      expect(error.message).toMatch(/crashed.*reload the page/)
      expect(error.message).not.toContain('\uFFFD')
    }
    expect(refusal(() => store.reconnect()).code).toBe('engine-crashed')
    // What is shown can still be read.
    expect(store.get('companies', 'c1')).toBeDefined()
    expect(store.stats()).toMatchObject({ records: 0, operations: 0 })
  }
  expect(heard).toEqual(['crashed'])
  expect(await settled).toMatchObject({ id, outcome: 'unknown', code: 'engine-crashed' })
  expect(await leaving).toMatchObject({ code: 'engine-crashed' })
  expect(refusal(() => createStore({ app: 'tests', user: 'late', tables, backend: new FakeBackend() })).code).toBe('engine-crashed')

  // Quiet: only the one that crashed it was thrown, though messages, timers and the database have come since.
  await pause(300)
  expect(uncaught.length).toBeLessThanOrEqual(1)
  const pushes = lines.pushes.length
  lines.server.release()
  await pause(20)
  expect(lines.pushes).toHaveLength(pushes)
  // The next visit finds it.
  expect(storage.keys.filter((key) => key.endsWith(id))).toHaveLength(1)
  one.store.close()
  expect(one.store.isClosed).toBe(true)
  expect(() => one.store.close()).not.toThrow()
  process.off('uncaughtException', onUncaught)
})
