// @vitest-environment happy-dom
import { BackendError, init } from 'rota-engine'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FakeBackend } from './backend.js'
import { isLive, open, openLive, pause, seeded, until, type World } from './world.js'

let store: World['store']
let backend: World['backend']
let problems: World['problems']

beforeAll(init)
beforeEach(async () => {
  ;({ store, backend, problems } = await openLive())
})

const patch = (city: string) => store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city } })
const city = () => store.get('companies', 'c1')?.city

const goOffline = () => {
  backend.online = false
  backend.cut()
}

describe('off-line', () => {
  test('what is done shows, is counted, and goes out once when the server is back', async () => {
    goOffline()
    const done = [patch('Kiel'), patch('Ulm'), store.assignments.assign('companies', 'c2', 'maya')]
    await pause(20)
    expect(city()).toBe('Ulm')
    expect(store.status()).toMatchObject({ unsent: 3, dead: 0, link: { state: 'offline', why: expect.stringContaining('network') } })
    expect(store.operations().pending.map(({ id }) => id)).toEqual(done.map(({ id }) => id))
    backend.online = true
    store.reconnect()
    expect((await Promise.all(done.map(({ settled }) => settled))).map(({ outcome }) => outcome)).toEqual(['confirmed', 'confirmed', 'confirmed'])
    expect(backend.ledger.size).toBe(3)
    expect(backend.row('companies', 'c1')).toMatchObject({ city: 'Ulm' })
    expect(store.status().unsent).toBe(0)
    expect(store.operations().recent.map(({ state }) => state)).toEqual(['confirmed', 'confirmed', 'confirmed'])
  })

  test('no number of failed attempts makes an operation dead', async () => {
    backend.pushFailures.push(...Array.from({ length: 8 }, () => new BackendError('network', 'no route')))
    expect(await patch('Kiel').settled).toMatchObject({ outcome: 'confirmed' })
  })

  test('it says when it tries again, and tries at once when the browser says it is on-line', async () => {
    goOffline()
    expect(store.status().link.retryAtMs).toBeGreaterThanOrEqual(Date.now() - 5)
    patch('Kiel')
    backend.online = true
    globalThis.dispatchEvent(new Event('online'))
    await isLive(store)
    await until(() => expect(store.status().unsent).toBe(0))
  })

  test('the browser saying it is off-line is only a hint: what gets through, gets through', async () => {
    globalThis.dispatchEvent(new Event('offline'))
    expect(await patch('Kiel').settled).toMatchObject({ outcome: 'confirmed' })
    expect(store.status().link.state).toBe('live')
  })

  test('a page that is shown again looks for what it missed', async () => {
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'missed', owner_id: null, extra: null }, { silently: true })
    document.dispatchEvent(new Event('visibilitychange'))
    await until(() => expect(city()).toBe('missed'))
  })

  test('a closed store leaves no listener on the page', () => {
    const pulls = backend.pulls.length
    store.close()
    globalThis.dispatchEvent(new Event('online'))
    document.dispatchEvent(new Event('visibilitychange'))
    expect(backend.pulls).toHaveLength(pulls)
  })

  test('a store that never reached its server is not ready, and neither lost nor blocked', async () => {
    const fake = new FakeBackend()
    fake.online = false
    const world = open(fake)
    await pause(10)
    expect(world.store.status()).toMatchObject({ ready: false, link: { state: 'offline' } })
    world.store.mutate({ name: 'insert', table: 'people', record: { id: 'lena', name: 'Lena' } })
    expect(world.store.get('people', 'lena')).toEqual({ id: 'lena', name: 'Lena' })
    fake.online = true
    world.store.reconnect()
    await until(() => expect(world.store.status()).toMatchObject({ ready: true, unsent: 0 }))
  })
})

describe('a token that is refused', () => {
  test('pauses everything without losing anything, and a fresh one resumes it', async () => {
    backend.shutOut = true
    backend.refreshHelps = false
    const { id, settled } = patch('Kiel')
    await until(() => expect(store.status().link).toMatchObject({ state: 'paused', why: expect.stringContaining('the token has expired') }))
    expect(store.operations().pending).toMatchObject([{ id, state: 'queued', tries: 0 }])
    expect(city()).toBe('Kiel')
    backend.shutOut = false
    for (const listener of backend.onTokenListeners) listener()
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    expect(backend.ledger.size).toBe(1)
  })

  test('a fresh one is asked for, and then it goes on by itself', async () => {
    backend.shutOut = true
    const { settled } = patch('Kiel')
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    expect(backend.tokens).toBe(1)
  })

  test('when it can not be refreshed, that is reported, and reconnect asks again', async () => {
    backend.shutOut = true
    let fails = true
    backend.refreshToken = async () => {
      if (fails) throw new Error('signed out')
      backend.shutOut = false
    }
    const { settled } = patch('Kiel')
    await until(() => expect(problems).toMatchObject([{ code: 'auth', message: 'signed out' }]))
    fails = false
    store.reconnect()
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
  })

  test('a refreshed token that is refused as well is not refreshed over and over without a wait', async () => {
    backend.shutOut = true
    let asked = 0
    // Fresh tokens come at once, and the server refuses each of them.
    backend.refreshToken = async () => void asked++
    const { id } = patch('Kiel')
    await until(() => expect(store.status().link).toMatchObject({ state: 'paused', retryAtMs: expect.any(Number) }))
    expect(asked).toBeLessThan(4)
    expect(store.operations().pending).toMatchObject([{ id, state: 'queued' }])
    expect(city()).toBe('Kiel')
  })

  test('a link that is refused for it pauses too', async () => {
    backend.shutOut = true
    backend.refreshHelps = false
    backend.cut(new BackendError('auth', 'expired'))
    expect(store.status().link.state).toBe('paused')
    backend.shutOut = false
    for (const listener of backend.onTokenListeners) listener()
    await until(() => expect(store.status().link.state).toBe('live'))
  })
})

describe('a dead operation', () => {
  const die = async () => {
    backend.pushFailures.push(new BackendError('forbidden', 'no such function'))
    const mutated = patch('Kiel')
    expect(await mutated.settled).toMatchObject({ outcome: 'dead', code: 'forbidden', message: 'no such function' })
    return mutated.id
  }

  test('can be retried: it shows again, and goes out under the same id', async () => {
    const id = await die()
    expect(city()).toBe('Bremen')
    expect(store.status()).toMatchObject({ dead: 1, unsent: 0 })
    backend.hold()
    store.retry(id)
    expect(city()).toBe('Kiel')
    expect(store.status()).toMatchObject({ dead: 0, unsent: 1 })
    backend.release()
    await until(() => expect(store.operations().recent).toMatchObject([{ id, state: 'confirmed' }]))
    expect(city()).toBe('Kiel')
  })

  test('can be dropped', async () => {
    const id = await die()
    store.cancel(id)
    expect(store.status()).toMatchObject({ dead: 0, unsent: 0 })
    expect(store.operations()).toMatchObject({ pending: [], recent: [{ id, state: 'cancelled' }] })
    expect(store.stats().operations).toBe(0)
  })

  test.each([['forbidden'], ['invalid'], ['gone']] as const)('a call that is %s is not tried again', async (failure) => {
    backend.pushFailures.push(new BackendError(failure, 'no'))
    expect(await patch('Kiel').settled).toMatchObject({ outcome: 'dead', code: failure })
    expect(backend.pushes).toHaveLength(1)
  })

  test('does not stand in the way of later ones on the same record', async () => {
    await die()
    expect(await patch('Ulm').settled).toMatchObject({ outcome: 'confirmed' })
  })
})

test('an answer that does not come in time is asked for again, and the late one does no harm', async () => {
  const slow = seeded()
  const world = open(slow, { retry: { maxRetries: 5, retryDelay: 1, timeout: 30 } })
  await isLive(world.store)
  slow.hold()
  const { settled } = world.store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
  await until(() => expect(slow.pushes.length).toBeGreaterThanOrEqual(2))
  slow.release()
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  await pause(10)
  expect(slow.ledger.size).toBe(1)
  expect(world.store.get('companies', 'c1')?.city).toBe('Kiel')
})

test('no more than a hundred ended operations are kept to be seen', async () => {
  const done = Array.from({ length: 130 }, (_, at) => store.mutate({ name: 'insert', table: 'counters', record: { id: 100 + at, n: 0 } }))
  await Promise.all(done.map(({ settled }) => settled))
  expect(store.operations().recent).toHaveLength(100)
  expect(store.operations().recent.at(-1)?.state).toBe('confirmed')
})
