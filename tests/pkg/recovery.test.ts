import { BackendError, RetryError, type Failure } from 'rota-engine'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { openLive, pause, until } from './world.js'

afterEach(() => vi.useRealTimers())

/** Fails as told, one failure a call, and then succeeds. */
function failing(...failures: (Failure | Error)[]) {
  const left = [...failures]
  return vi.fn(async (_signal: AbortSignal) => {
    const failure = left.shift()
    if (failure === undefined) return 'done'
    throw typeof failure === 'string' ? new BackendError(failure, `failed: ${failure}`) : failure
  })
}

const codeOf = (promise: Promise<unknown>) => promise.then((result) => `resolved ${String(result)}`, (error: { code?: string }) => error.code)
const fast = { retryDelay: 1 }

describe('executeWithRetry', () => {
  test('runs a function once when it succeeds, and gives what it gave', async () => {
    const { store } = await openLive()
    const run = failing()
    expect(await store.recovery.executeWithRetry(run)).toBe('done')
    expect(run).toHaveBeenCalledTimes(1)
    expect(await store.recovery.executeWithRetry(() => 5)).toBe(5)
  })

  test('ends with whatever the function throws, though nothing of it can be read', async () => {
    const { store } = await openLive()
    const thrower = () => {
      throw new Error('not to be read')
    }
    const proxy = new Proxy({}, { get: thrower, getPrototypeOf: thrower, ownKeys: thrower })
    const getter = Object.defineProperty({}, 'status', { get: thrower })
    const unprintable = { toString: thrower }
    for (const thrown of [proxy, getter, unprintable]) {
      const error = await store.recovery.executeWithRetry(() => Promise.reject(thrown), { ...fast, maxRetries: 1 }).catch((caught: unknown) => caught)
      expect(error).toBeInstanceOf(RetryError)
      expect(error).toMatchObject({ failure: 'unknown', runs: 2 })
      expect((error as Error).cause).toBe(thrown)
    }
    expect(store.recovery.getPendingOperationsCount()).toBe(0)
  })

  test.each<[Failure, number]>([
    ['timeout', 4],
    ['server', 4],
    ['unknown', 4],
    ['auth', 1],
    ['conflict', 1],
    ['forbidden', 1],
    ['invalid', 1],
    ['gone', 1],
  ])('gives up on %s after %i tries, and says so', async (failure, tries) => {
    const { store } = await openLive()
    const run = failing(...Array.from({ length: 9 }, () => failure))
    const error = await store.recovery.executeWithRetry(run, { ...fast, maxRetries: 3 }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(RetryError)
    expect(error).toMatchObject({ name: 'RetryError', failure, runs: tries, cause: { message: `failed: ${failure}` } })
    expect((error as Error).message).toContain(`failed: ${failure} [${failure}, after ${tries} `)
    expect(run).toHaveBeenCalledTimes(tries)
    expect(store.recovery.getPendingOperationsCount()).toBe(0)
  })

  test.each<Failure>(['network', 'rate-limit'])('goes on for as long as it takes while the failure is %s', async (failure) => {
    const { store } = await openLive()
    const run = failing(...Array.from({ length: 8 }, () => failure))
    expect(await store.recovery.executeWithRetry(run, { ...fast, maxRetries: 1, backoffMultiplier: 1 })).toBe('done')
    expect(run).toHaveBeenCalledTimes(9)
  })

  test('counts only what counts: a server that could not be reached has not failed', async () => {
    const { store } = await openLive()
    const run = failing('network', 'server', 'network', 'rate-limit', 'network')
    expect(await store.recovery.executeWithRetry(run, { ...fast, maxRetries: 1 })).toBe('done')
    const again = failing('network', 'server', 'network', 'server')
    expect(await store.recovery.executeWithRetry(again, { ...fast, maxRetries: 1 }).catch((error: unknown) => error)).toMatchObject({ failure: 'server', runs: 4 })
    const late = failing('network', 'network', 'network', 'server')
    expect(await store.recovery.executeWithRetry(late, { ...fast, maxRetries: 1 })).toBe('done')
  })

  test('waits ever longer, at random below the ceilings of the defaults: 1,000 ms, twice that, 3 times', async () => {
    const { store } = await openLive(undefined, { retry: {} })
    vi.useFakeTimers()
    const at: number[] = []
    const run = () => {
      at.push(Date.now())
      return Promise.reject(new BackendError('server', 'no'))
    }
    const ended = store.recovery.executeWithRetry(run).catch((error: unknown) => error)
    await vi.advanceTimersByTimeAsync(7_000)
    expect(at).toHaveLength(4)
    for (const [index, ceiling] of [1_000, 2_000, 4_000].entries()) {
      const wait = at[index + 1]! - at[index]!
      expect(wait).toBeGreaterThanOrEqual(ceiling / 20)
      expect(wait).toBeLessThanOrEqual(ceiling)
    }
    expect(await ended).toMatchObject({ failure: 'server', runs: 4 })
  })

  test('aborts a try that takes longer than its time, and counts it as a time-out', async () => {
    const { store } = await openLive(undefined, { retry: {} })
    vi.useFakeTimers()
    const signals: AbortSignal[] = []
    const never = (signal: AbortSignal) => {
      signals.push(signal)
      return new Promise<never>(() => {})
    }
    const ended = store.recovery.executeWithRetry(never, { maxRetries: 0 }).catch((error: unknown) => error)
    await vi.advanceTimersByTimeAsync(9_999)
    expect(signals.map(({ aborted }) => aborted)).toEqual([false])
    await vi.advanceTimersByTimeAsync(1)
    expect(await ended).toMatchObject({ failure: 'timeout', runs: 1 })
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
  })

  test.each([
    ['what fetch throws', new DOMException('The user aborted a request.', 'AbortError')],
    ['what supabase-js makes of it', { code: '20', message: 'AbortError: This operation was aborted' }],
  ])('ends when the function aborts itself: %s', async (_, thrown) => {
    const { store } = await openLive()
    const run = vi.fn(() => Promise.reject(thrown))
    expect(await store.recovery.executeWithRetry(run, fast).catch((error: unknown) => error)).toMatchObject({ name: 'RotaError', code: 'cancelled', cause: thrown })
    expect(run).toHaveBeenCalledTimes(1)
  })

  test.each([
    [{ code: '23505', message: 'duplicate key value', details: null, hint: null }, 'duplicate key value [conflict, after 1 try]'],
    [new Response('', { status: 404 }), 'the server answered 404 [invalid, after 1 try]'],
  ])('says in words what the last failure was', async (thrown, message) => {
    const { store } = await openLive()
    await expect(store.recovery.executeWithRetry(() => Promise.reject(thrown), fast)).rejects.toMatchObject({ message })
  })

  test('waits for as long as the server asks', async () => {
    const { store } = await openLive()
    vi.useFakeTimers()
    const run = failing(new BackendError('rate-limit', 'slow down', 30_000))
    const ended = store.recovery.executeWithRetry(run, fast)
    await vi.advanceTimersByTimeAsync(29_999)
    expect(run).toHaveBeenCalledTimes(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(await ended).toBe('done')
  })

  test('tries again at once when the link is live again', async () => {
    const { store, backend } = await openLive()
    backend.comesUp = false
    backend.cut()
    const run = failing('network', 'network')
    const ended = store.recovery.executeWithRetry(run, { retryDelay: 60_000, backoffMultiplier: 1 })
    await pause(5)
    expect(run).toHaveBeenCalledTimes(1)
    const connects = backend.connects
    store.reconnect()
    await until(() => expect(backend.connects).toBe(connects + 1))
    backend.comeUp()
    await until(() => expect(run).toHaveBeenCalledTimes(2))
    store.recovery.retryPendingOperations()
    expect(await ended).toBe('done')
  })

  test.each<[string, unknown, Failure]>([
    ['a failed fetch in Chromium', new TypeError('Failed to fetch'), 'network'],
    ['in Firefox', new TypeError('NetworkError when attempting to fetch resource.'), 'network'],
    ['in WebKit', new TypeError('Load failed'), 'network'],
    ['in Node', new TypeError('fetch failed'), 'network'],
    ['a mistake of types', new TypeError('x is not a function'), 'unknown'],
    ['a time-out of a signal', new DOMException('late', 'TimeoutError'), 'timeout'],
    ['an answer of 0', { status: 0 }, 'network'],
    ['an answer of 401', { status: 401 }, 'auth'],
    ['an answer of 403', { status: 403 }, 'forbidden'],
    ['an answer of 409', { status: 409 }, 'conflict'],
    ['an answer of 410', { status: 410 }, 'gone'],
    ['an answer of 422', { status: 422 }, 'invalid'],
    ['an answer of 429', { status: 429 }, 'rate-limit'],
    ['an answer of 500', { status: 500 }, 'server'],
    ['an answer of 502', { status: 502 }, 'server'],
    ['an answer of 503', { status: 503 }, 'server'],
    ['a response', new Response('no', { status: 500 }), 'server'],
    ['an answer to an edge function', Object.assign(new Error('non-2xx'), { name: 'FunctionsHttpError', context: new Response('', { status: 403 }) }), 'forbidden'],
    ["PostgREST's word for a table that is not there", { code: 'PGRST205', message: 'no such table', details: null, hint: null }, 'invalid'],
    ["PostgREST's word for a token", { code: 'PGRST301', message: 'JWT expired' }, 'auth'],
    ["PostgREST's word for a database that is away", { code: 'PGRST002', message: 'no schema cache' }, 'server'],
    ["a status of the application's own", { code: 'PT429', message: 'slowly' }, 'rate-limit'],
    ['a value that is there already', { code: '23505', message: 'duplicate key' }, 'conflict'],
    ['a row that must not be written', { code: '42501', message: 'permission denied' }, 'forbidden'],
    ['a deadlock', { code: '40P01', message: 'deadlock detected' }, 'server'],
    ['a statement that took too long', { code: '57014', message: 'canceling statement' }, 'timeout'],
    ['a column that is not there', { code: '42703', message: 'no column' }, 'invalid'],
    ['a code of something else', { code: 'EPIPE', message: 'broken pipe' }, 'unknown'],
    ["supabase-js's word for a server that was not reached", { code: '', message: 'TypeError: fetch failed', details: '', hint: '' }, 'network'],
    ['an answer of 504', { status: 504 }, 'timeout'],
    ['text', 'no', 'unknown'],
    ['nothing', undefined, 'unknown'],
  ])('tells what kind of failure %s is', async (_, thrown, failure) => {
    const { store } = await openLive()
    vi.useFakeTimers()
    const run = vi.fn(() => Promise.reject(thrown))
    const ended = store.recovery.executeWithRetry(run, { maxRetries: 0 }).catch((error: unknown) => error)
    await vi.advanceTimersByTimeAsync(0)
    if (failure === 'network' || failure === 'rate-limit') {
      expect(store.recovery.getPendingOperationsCount()).toBe(1)
      await vi.advanceTimersByTimeAsync(60_000)
      expect(run.mock.calls.length).toBeGreaterThan(1)
      store.recovery.clearPendingOperations()
      expect(await ended).toMatchObject({ code: 'cancelled' })
    } else {
      expect(await ended).toMatchObject({ failure, runs: 1 })
    }
  })

  test.each<[string, unknown, unknown, string]>([
    ['no function', 5, {}, 'invalid-operation'],
    ['options that are none', () => 1, null, 'invalid-configuration'],
    ['an unknown option', () => 1, { retries: 3 }, 'invalid-configuration'],
    ['a multiplier below 1', () => 1, { backoffMultiplier: 0.5 }, 'invalid-configuration'],
    ['text for a number', () => 1, { maxRetries: 'three' }, 'invalid-configuration'],
    ['no time at all', () => 1, { timeout: 0 }, 'invalid-configuration'],
    ['too many retries', () => 1, { maxRetries: 101 }, 'invalid-configuration'],
  ])('of %s is refused, and nothing is run', async (_, run, options, code) => {
    const { store } = await openLive()
    const spy = vi.fn(run as () => unknown)
    expect(await codeOf(store.recovery.executeWithRetry(typeof run === 'function' ? spy : (run as never), options as never))).toBe(code)
    expect([spy.mock.calls.length, store.recovery.getPendingOperationsCount()]).toEqual([0, 0])
  })

  test('at most a thousand functions are under way, and those go on', async () => {
    const { store } = await openLive()
    let release = () => {}
    const gate = new Promise<void>((resolve) => (release = resolve))
    const all = Array.from({ length: 1_000 }, () => store.recovery.executeWithRetry(() => gate))
    expect(await codeOf(store.recovery.executeWithRetry(() => 1))).toBe('outbox-full')
    release()
    await Promise.all(all)
    expect(await store.recovery.executeWithRetry(() => 1)).toBe(1)
  })
})

describe('what is pending', () => {
  test('counts operations without an end and functions under way', async () => {
    const { store, backend } = await openLive()
    backend.hold()
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    const ended = store.recovery.executeWithRetry(failing('server'), { retryDelay: 60_000 })
    await pause(1)
    expect(store.recovery.getPendingOperationsCount()).toBe(2)
    store.recovery.retryPendingOperations()
    expect(await ended).toBe('done')
    backend.release()
    await until(() => expect(store.recovery.getPendingOperationsCount()).toBe(0))
  })

  test('is tried again on demand, operations that were given up included', async () => {
    const { store, backend } = await openLive()
    for (let failure = 0; failure < 3; failure++) backend.pushFailures.push(new BackendError('server', 'no'))
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(await settled).toMatchObject({ outcome: 'dead' })
    expect(store.recovery.getPendingOperationsCount()).toBe(1)
    store.recovery.retryPendingOperations()
    await until(() => expect(backend.row('companies', 'c1')?.['city']).toBe('Kiel'))
    await until(() => expect(store.recovery.getPendingOperationsCount()).toBe(0))
  })

  test('is cleared: what is unsent ends as cancelled, with what depends on it, and what is sent stays', async () => {
    const { store, backend } = await openLive()
    backend.hold()
    const sent = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    const behind = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { name: 'Other' } })
    const dependant = store.mutate({ name: 'patch', table: 'people', key: 'maya', set: { name: 'M' }, after: [behind.id] })
    let release = () => {}
    const running = store.recovery.executeWithRetry(() => new Promise<string>((resolve) => (release = () => resolve('went on'))))
    const waiting = codeOf(store.recovery.executeWithRetry(failing('server'), { retryDelay: 60_000 }))
    await pause(2)
    store.recovery.clearPendingOperations()
    expect([(await behind.settled).outcome, (await dependant.settled).outcome, await waiting]).toEqual(['cancelled', 'cancelled', 'cancelled'])
    expect(store.get('companies', 'c1')).toMatchObject({ city: 'Kiel', name: 'Harbour Optics' })
    expect(store.recovery.getPendingOperationsCount()).toBe(2)
    release()
    backend.release()
    expect([await running, (await sent.settled).outcome]).toEqual(['went on', 'confirmed'])
    expect(store.recovery.getPendingOperationsCount()).toBe(0)
  })

  test('of a closed store rejects as closed, and its functions hear so', async () => {
    const { store } = await openLive()
    const aborted = vi.fn()
    const running = codeOf(store.recovery.executeWithRetry((signal) => new Promise(() => signal.addEventListener('abort', aborted))))
    const waiting = codeOf(store.recovery.executeWithRetry(failing('server'), { retryDelay: 60_000 }))
    await pause(1)
    store.close()
    expect([await running, await waiting, aborted.mock.calls.length]).toEqual(['closed', 'closed', 1])
    expect(await codeOf(store.recovery.executeWithRetry(() => 1))).toBe('closed')
    expect(() => store.recovery.retryPendingOperations()).toThrow(/closed/)
    expect(() => store.recovery.clearPendingOperations()).toThrow(/closed/)
    expect(store.recovery.getPendingOperationsCount()).toBe(0)
  })
})
