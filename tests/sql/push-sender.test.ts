// The outbox, drained by Web Push: a real database, and a push service that reads what it is sent as a browser would.
import { createPushSender, type OutboxEntry, type PushMessage, type PushSenderOptions } from 'rota-engine/push-sender'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import webPush from 'web-push'
import { type Browser, PushService, vouched } from './push-service.js'
import { AIKO, assign, createWorld, JONAS, type Json, MAYA, type World } from './world.js'

const keys = webPush.generateVAPIDKeys()
const vapid = { subject: 'mailto:ops@example.org', ...keys }
let world: World
let service: PushService
beforeAll(async () => {
  ;[world, service] = await Promise.all([createWorld(), PushService.start()])
})
afterAll(async () => {
  await service.stop()
  await world.close()
})
beforeEach(async () => {
  service.reset()
  await run('truncate rota.outbox, push_subscriptions')
})

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const outbox = () => run('select recipient, attempts, last_error, done_at is not null as done, extract(epoch from due_at - clock_timestamp())::float8 as due_s, cardinality(reached) as reached from rota.outbox order by id')
const endpoints = async () => (await run('select endpoint from push_subscriptions order by 1')).map(({ endpoint }) => endpoint as string)
const title = (): PushMessage => ({ title: 'Something is yours now' })

function sender(more: Partial<PushSenderOptions> = {}) {
  const query = (sql: string, params: string[]) => world.owner.query(sql, params)
  return createPushSender({ query, vapid, message: title, fetch: service.fetch, isPushService: service.isPushService, ...more })
}

/** A browser of a person's, known to the database as the package makes it known. */
async function subscribe(person: string, name: string): Promise<Browser> {
  const browser = service.subscribe(name)
  await world.as(person).sql('select save_push_subscription($1, $2, $3)', [browser.endpoint, browser.p256dh, browser.auth])
  return browser
}

async function tell(recipient: string, count = 1): Promise<void> {
  await run(`insert into rota.outbox (kind, recipient, payload) select 'assigned', $1, jsonb_build_object('n', i) from generate_series(1, $2::int) i`, [recipient, count])
}

const dueNow = () => run(`update rota.outbox set due_at = now() - interval '1 second' where done_at is null`)
/** What an answer of the service's makes of one entry and one browser. */
async function answered(status: number, more: { headers?: Record<string, string>; body?: string } = {}, options: Partial<PushSenderOptions> = {}) {
  const browser = await subscribe(JONAS, 'jonas')
  service.answers.set(browser.endpoint, [{ status, ...more }])
  await tell(JONAS)
  const figures = await sender(options).drain()
  return { figures, entry: (await outbox())[0]! }
}

describe('a sender', () => {
  test('tells the new owner in each of their browsers what the message says, and nothing of the entry', async () => {
    await world.company('c-8801')
    await subscribe(AIKO, 'aiko-phone')
    await subscribe(AIKO, 'aiko-desk')
    await subscribe(MAYA, 'maya')
    await world.as(MAYA).apply(assign('c-8801', null, AIKO))
    const seen: OutboxEntry[] = []
    const message = (entry: OutboxEntry): PushMessage => {
      seen.push(entry)
      return { id: 'company/c-8801/1', title: 'A company is yours', body: 'Open it', url: '/companies/c-8801', kind: 'turn' }
    }
    expect(await sender({ message }).drain()).toEqual({ sent: 2, done: 1, retried: 0, givenUp: 0, removed: 0 })
    expect(seen).toEqual([{ id: expect.stringMatching(/^\d+$/), kind: 'assigned', recipient: AIKO, payload: expect.objectContaining({ table: 'companies', key: 'c-8801', to: AIKO, by: MAYA }), createdAtMs: expect.any(Number), attempts: 1 }])
    expect(Math.abs(seen[0]!.createdAtMs - Date.now())).toBeLessThan(60_000)
    const notice = { rota: 1, id: 'company/c-8801/1', title: 'A company is yours', body: 'Open it', url: '/companies/c-8801', kind: 'turn' }
    expect(service.arrived.map(({ notice: told }) => told)).toEqual([notice, notice])
    expect([service.taken('aiko-phone').length, service.taken('aiko-desk').length, service.taken('maya').length]).toEqual([1, 1, 0])
    expect(await outbox()).toMatchObject([{ done: true, last_error: null }])
  })

  test('says who it is, for how long a push is worth anything, how urgent it is, and what a later one replaces', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS, 2)
    await run(`update rota.outbox set created_at = now() - interval '100 seconds'`)
    await sender({ message: ({ payload }) => ({ title: 't', ...((payload as Json)['n'] === 2 ? { urgency: 'high', ttlSeconds: 600, topic: 'queue' } : {}) }) , concurrency: 1 }).drain()
    const [plain, urgent] = service.taken('jonas').map(({ headers }) => headers)
    expect(vouched(plain?.authorization)).toMatchObject({ publicKey: keys.publicKey, claims: { aud: PushService.origin, sub: vapid.subject } })
    expect(plain).toMatchObject({ 'content-encoding': 'aes128gcm', urgency: 'normal', topic: expect.stringMatching(/^[\w-]{32}$/) })
    expect(urgent).toMatchObject({ urgency: 'high', topic: 'queue' })
    expect([Number(plain?.['ttl']), Number(urgent?.['ttl'])].map((left) => Math.round(left / 10))).toEqual([8_630, 50])
  })

  test('is done with whoever has no browser, and with what is not to be told', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(AIKO)
    await tell(JONAS)
    expect(await sender({ message: ({ recipient }) => (recipient === JONAS ? null : title()) }).drain()).toEqual({ sent: 0, done: 2, retried: 0, givenUp: 0, removed: 0 })
    expect([service.calls, (await outbox()).every(({ done }) => done)]).toEqual([[], true])
  })

  test.each([404, 410])('forgets a browser whose endpoint answers %i, and reaches the others', async (status) => {
    const gone = await subscribe(JONAS, 'gone')
    const there = await subscribe(JONAS, 'there')
    service.answers.set(gone.endpoint, [{ status }])
    await tell(JONAS)
    expect(await sender().drain()).toEqual({ sent: 1, done: 1, retried: 0, givenUp: 0, removed: 1 })
    expect(await endpoints()).toEqual([there.endpoint])
  })

  test('leaves a browser alone that has subscribed again meanwhile', async () => {
    const { endpoint } = await subscribe(JONAS, 'jonas')
    await tell(JONAS)
    service.answers.set(endpoint, [{ status: 410 }])
    const renewing: typeof fetch = async (...given) => {
      const answer = await service.fetch(...given)
      await subscribe(JONAS, 'jonas')
      return answer
    }
    expect(await sender({ fetch: renewing }).drain()).toMatchObject({ sent: 0, done: 1, removed: 0 })
    expect(await endpoints()).toEqual([endpoint])
  })

  test('waits as long as a service asks for that has too much to do', async () => {
    const { figures, entry } = await answered(429, { headers: { 'retry-after': '120' }, body: 'slow down' })
    expect(figures).toMatchObject({ sent: 0, retried: 1 })
    expect(entry).toMatchObject({ done: false, attempts: 1, last_error: 'push.test answered 429: slow down' })
    expect(entry['due_s']).toBeGreaterThan(115)
    expect(entry['due_s']).toBeLessThan(181)
  })

  test('takes a date for an answer to how long', async () => {
    const { entry } = await answered(503, { headers: { 'retry-after': new Date(Date.now() + 300_000).toUTCString() } })
    expect(entry['due_s']).toBeGreaterThan(290)
  })

  test('asks nothing more of a service that has asked to wait', async () => {
    const { endpoint } = await subscribe(JONAS, 'jonas')
    service.answers.set(endpoint, [{ status: 429, headers: { 'retry-after': '60' } }, { status: 201 }])
    await subscribe(AIKO, 'aiko')
    await tell(JONAS)
    await tell(AIKO, 3)
    expect(await sender({ concurrency: 1 }).drain()).toMatchObject({ sent: 0, retried: 4 })
    expect(service.calls).toEqual([endpoint])
    expect((await outbox()).map(({ due_s: dueS }) => dueS > 55)).toEqual([true, true, true, true])
  })

  test.each([500, 502, 408])('tries again later after %i, longer each time', async (status) => {
    const { entry: first } = await answered(status, {}, { retryDelayMs: 20_000 })
    expect(first['due_s']).toBeGreaterThan(15)
    expect(first['due_s']).toBeLessThan(31)
    for (let attempt = 0; attempt < 2; attempt++) {
      await dueNow()
      await sender({ retryDelayMs: 20_000 }).drain()
    }
    const [third] = await outbox()
    expect(third).toMatchObject({ attempts: 3, done: false })
    expect(third!['due_s']).toBeGreaterThan(75)
    service.answers.clear()
    await dueNow()
    expect(await sender().drain()).toMatchObject({ sent: 1, done: 1 })
    expect(await outbox()).toMatchObject([{ done: true, last_error: null }])
  })

  test('tries again where a service can’t be reached, or does not answer in time', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS)
    const broken: typeof fetch = () => Promise.reject(Object.assign(new TypeError('fetch failed'), { cause: new Error('connect ECONNREFUSED') }))
    expect(await sender({ fetch: broken }).drain()).toMatchObject({ retried: 1 })
    expect((await outbox())[0]).toMatchObject({ last_error: 'push.test could not be reached: fetch failed (connect ECONNREFUSED)' })
    await dueNow()
    service.delayMs = 2_000
    expect(await sender({ timeoutMs: 50 }).drain()).toMatchObject({ retried: 1 })
    expect((await outbox())[0]!['last_error']).toMatch(/could not be reached: .*timeout/)
  })

  test.each([400, 401, 403, 413, 302])('gives an entry up that is answered with %i, with the reason, and keeps the browser', async (status) => {
    const { figures, entry } = await answered(status, { body: 'bad\u0000 token', headers: { location: 'http://127.0.0.1:1/' } })
    expect(figures).toEqual({ sent: 0, done: 0, retried: 0, givenUp: 1, removed: 0 })
    expect(entry).toMatchObject({ done: true, last_error: `push.test answered ${status}: bad token` })
    expect([service.calls.length, (await endpoints()).length]).toEqual([1, 1])
  })

  test('gives up after so many attempts', async () => {
    await answered(500, {}, { attemptsMax: 2 })
    await dueNow()
    expect(await sender({ attemptsMax: 2 }).drain()).toMatchObject({ retried: 0, givenUp: 1 })
    expect(await outbox()).toMatchObject([{ done: true, attempts: 2, last_error: 'after 2 attempts: push.test answered 500' }])
  })

  test('does not tell a browser again that it has reached, when another has to wait', async () => {
    await subscribe(JONAS, 'one')
    const busy = await subscribe(JONAS, 'busy')
    service.answers.set(busy.endpoint, [{ status: 500 }, { status: 201 }])
    await tell(JONAS)
    expect(await sender().drain()).toMatchObject({ sent: 1, retried: 1 })
    await dueNow()
    expect(await sender().drain()).toMatchObject({ sent: 1, done: 1 })
    expect([service.taken('one').length, service.taken('busy').length]).toEqual([1, 1])
  })

  test('gives up what came too late, what has no words, and what is too long, and goes on', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS, 5)
    const made: unknown[] = [{ title: 't', ttlSeconds: 0 }, { title: '' }, { title: 't', body: 'é'.repeat(2_000) }, { title: 't', urgency: 'now' }, { title: 'fine' }]
    await run(`update rota.outbox set created_at = now() - interval '5 seconds'`)
    expect(await sender({ message: ({ payload }) => made[(payload as Json)['n'] - 1] as PushMessage }).drain()).toMatchObject({ sent: 1, done: 1, givenUp: 4 })
    expect((await outbox()).map(({ last_error: error }) => error)).toEqual([
      'its time was over before it could be sent',
      "the message can't be sent: it has no title",
      expect.stringMatching(/^the message has 40\d\d bytes, and 3900 can be sent$/),
      `the message can't be sent: "urgency" is none of very-low, low, normal and high`,
      null,
    ])
  })

  test('tries an entry again for which no message could be made', async () => {
    await tell(JONAS)
    const message = () => Promise.reject(new Error('no words \0 \ud800'))
    expect(await sender({ message }).drain()).toMatchObject({ retried: 1 })
    expect((await outbox())[0]!['last_error']).toBe('no message was made: Error: no words    ')
  })

  test('calls no address that is no push service’s, whatever a person has stored', async () => {
    await world.as(JONAS).sql(`select save_push_subscription('https://10.0.0.1/admin', $1, $2)`, [service.subscribe('x').p256dh, 'AAAAAAAAAAAAAAAAAAAAAA'])
    await tell(JONAS)
    const called: unknown[] = []
    const fetch: typeof globalThis.fetch = (url) => Promise.reject(new Error(String(called.push(url))))
    const { query, message } = { query: (sql: string, params: string[]) => world.owner.query(sql, params), message: title }
    expect(await createPushSender({ query, vapid, message, fetch }).drain()).toMatchObject({ givenUp: 1 })
    expect([called, (await outbox())[0]!['last_error']]).toEqual([[], '10.0.0.1 is no push service that is known'])
  })

  test('gives up what can’t be encrypted for a browser', async () => {
    await world.as(JONAS).sql(`select save_push_subscription('https://push.test/odd', 'p', 'a')`)
    await tell(JONAS)
    expect(await sender().drain()).toMatchObject({ givenUp: 1 })
    expect((await outbox())[0]!['last_error']).toMatch(/^the subscription can't be used: .*65 bytes/)
  })

  test('sends one entry to twenty browsers of a person at most, the latest', async () => {
    for (let n = 0; n < 22; n++) await subscribe(JONAS, `n${n}`)
    await run(`update push_subscriptions set created_at = now() - interval '1 day' where endpoint in ('https://push.test/n3', 'https://push.test/n7')`)
    await tell(JONAS)
    expect(await sender().drain()).toMatchObject({ sent: 20 })
    expect([service.taken('n3').length, service.taken('n7').length]).toEqual([0, 0])
  })

  test('has no more on their way at once than it was told', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS, 40)
    service.delayMs = 15
    expect(await sender({ concurrency: 3, batch: 7 }).drain()).toMatchObject({ sent: 40, done: 40 })
    expect(service.most).toBe(3)
  })

  test('shares an outbox with others: each entry is sent once', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS, 120)
    service.delayMs = 5
    const figures = await Promise.all(Array.from({ length: 4 }, () => sender({ batch: 10 }).drain()))
    expect(figures.reduce((sum, { sent }) => sum + sent, 0)).toBe(120)
    expect(figures.filter(({ sent }) => sent > 0).length).toBeGreaterThan(1)
    expect(new Set(service.arrived.map(({ notice }) => notice['id'])).size).toBe(120)
    expect(service.arrived).toHaveLength(120)
  })

  test('that dies loses nothing: what it held is sent by another when the lease is over', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS, 3)
    let isDead = false
    const query = (sql: string, params: string[]) => (isDead ? new Promise<never>(() => undefined) : world.owner.query(sql, params))
    const dies: typeof fetch = () => {
      isDead = true
      return new Promise(() => undefined)
    }
    void sender({ query, fetch: dies, leaseMs: 1_000, timeoutMs: 400, concurrency: 1 }).drain()
    await expect.poll(() => isDead).toBe(true)
    expect(await sender().drain()).toMatchObject({ sent: 0 })
    await expect.poll(async () => (await sender().drain()).sent, { timeout: 5_000, interval: 200 }).toBe(3)
    expect(await outbox()).toMatchObject([{ done: true, attempts: 2 }, { done: true, attempts: 2 }, { done: true, attempts: 2 }])
  })

  test('begins nothing that its lease may not last for', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS, 8)
    service.delayMs = 300
    await sender({ leaseMs: 1_000, timeoutMs: 400, concurrency: 1, batch: 4 }).drain()
    expect(new Set(service.arrived.map(({ notice }) => notice['id'])).size).toBe(service.arrived.length)
    const entries = await outbox()
    expect(entries.filter(({ done }) => done)).toHaveLength(service.arrived.length)
    expect(entries.some(({ done, attempts }) => !done || attempts > 1)).toBe(true)
  })

  test('that is stopped ends what it has begun, and gives the rest back at once', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS, 6)
    service.delayMs = 100
    const stopping = new AbortController()
    const running = sender({ concurrency: 2 }).run({ signal: stopping.signal })
    await expect.poll(() => service.calls.length).toBe(2)
    stopping.abort()
    await running
    expect(service.arrived).toHaveLength(2)
    expect(await sender().drain()).toMatchObject({ sent: 4 })
    expect(service.arrived).toHaveLength(6)
  })

  test('that runs tells of a database that is away, and goes on when it is back', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS)
    let isAway = true
    const query = (sql: string, params: string[]) => (isAway ? Promise.reject(new Error('the database is away')) : world.owner.query(sql, params))
    const stopping = new AbortController()
    const problems: unknown[] = []
    const running = sender({ query }).run({ signal: stopping.signal, everyMs: 10, onProblem: (problem) => problems.push(problem) })
    await expect.poll(() => problems.length).toBeGreaterThan(1)
    expect(String(problems[0])).toContain('the database is away')
    isAway = false
    await expect.poll(() => service.arrived.length).toBe(1)
    stopping.abort()
    await running
  })

  test('runs on drivers that answer with rows alone', async () => {
    await subscribe(JONAS, 'jonas')
    await tell(JONAS)
    const query = async (sql: string, params: string[]) => (await world.owner.query(sql, params)).rows as unknown[]
    expect(await sender({ query }).drain()).toMatchObject({ sent: 1, done: 1 })
  })
})

test.each([
  ['no function', { message: 'x' }],
  ['a subject that is no address', { vapid: { ...vapid, subject: 'ops' } }],
  ['keys that are none', { vapid: { ...vapid, privateKey: 'short' } }],
  ['no concurrency', { concurrency: 0 }],
  ['a lease that is shorter than two pushes', { leaseMs: 1_000, timeoutMs: 600 }],
])('%s is refused before anything is sent', (_what, wrong) => {
  expect(() => sender(wrong as Partial<PushSenderOptions>)).toThrow(expect.objectContaining({ code: 'invalid-configuration' }))
})

test('who has given up says why, and only the database’s owner may', async () => {
  await tell(JONAS)
  await expect(world.as(MAYA).sql(`select rota.outbox_gave_up(1, 'x')`)).rejects.toMatchObject({ code: '42501' })
  await expect(world.as(MAYA).sql(`select rota.outbox_failed(1, 'x')`)).rejects.toMatchObject({ code: '42501' })
})
