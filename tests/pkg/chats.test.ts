import { BackendError, createStore, lostByMs, type Backend } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import { chat, DomainBackend, domainsSeeded, openDomains, openDomainsLive } from './domains.js'
import { pause, refusal, until } from './world.js'

let store: Awaited<ReturnType<typeof openDomainsLive>>['store']
let backend: DomainBackend

beforeEach(async () => {
  ;({ store, backend } = await openDomainsLive())
})

const state = (key: string) => store.get('chats', key)?.chat_state
const operator = (key: string) => store.get('chats', key)?.assigned_operator_id

describe('asking for work', () => {
  test('shows the chat that has waited longest as assigned at once, and settles with the one that the server chose', async () => {
    backend.hold()
    const { settled } = store.chats.requestNext()
    expect([state('old'), operator('old'), state('new')]).toEqual(['assigned', 'maya', 'waiting_assignment'])
    backend.release()
    expect(await settled).toMatchObject({ outcome: 'confirmed', chosen: 'old' })
  })

  test('corrects a wrong prediction in one step, and says why', async () => {
    backend.handsOut = 'new'
    const seen: string[] = []
    const { settled } = store.chats.requestNext()
    store.subscribe('chats', () => seen.push(`${operator('old')} ${operator('new')}`))
    expect(await settled).toMatchObject({ outcome: 'confirmed', chosen: 'new', code: 'assigned-other', message: 'the chat that has waited longest is new' })
    expect([operator('old'), operator('new')]).toEqual([null, 'maya'])
    await pause(5)
    expect(new Set(seen)).toEqual(new Set(['null maya']))
  })

  test('is refused without anybody waiting, and above what the operator may have', async () => {
    await store.chats.requestNext().settled
    expect(refusal(() => store.chats.requestNext()).code).toBe('capacity-exceeded')
    await store.chats.release('old', 'lunch').settled
    for (const key of ['old', 'new']) await store.chats.complete(key).settled
    expect(refusal(() => store.chats.requestNext()).code).toBe('queue-empty')
  })
})

describe('a chat goes from hand to hand', () => {
  test('claimed, replied to, back in the queue, claimed, released, ended', async () => {
    const states = [state('old')]
    for (const step of [
      () => store.chats.claim('old'),
      () => store.chats.reply('old'),
      () => store.chats.userMessage('old'),
      () => store.chats.claim('old'),
      () => store.chats.release('old', 'the wrong language'),
      () => store.chats.complete('old'),
    ]) {
      const { settled } = step()
      states.push(state('old'))
      expect((await settled).outcome).toBe('confirmed')
    }
    expect(states).toEqual(['waiting_assignment', 'assigned', 'waiting_real_user_reply', 'waiting_assignment', 'assigned', 'waiting_assignment', 'completed'])
    expect(backend.pushes.map(({ name, args }) => [name, args])).toEqual([
      ['claim', { operator: 'maya' }],
      ['reply', {}],
      ['user_message', {}],
      ['claim', { operator: 'maya' }],
      ['release', { reason: 'the wrong language' }],
      ['complete', {}],
    ])
  })

  test('transferred to a colleague, and taken away by a supervisor', async () => {
    await store.chats.claim('old').settled
    await store.chats.transfer('old', 'jonas').settled
    expect(operator('old')).toBe('jonas')
    const lena = await openDomainsLive(backend, { user: 'lena' })
    await lena.store.chats.unassign('old').settled
    expect(lena.store.get('chats', 'old')).toMatchObject({ chat_state: 'waiting_assignment', assigned_operator_id: null })
  })

  test('whoever loses the race for one hears who won it', async () => {
    backend.judge = ({ name }) => {
      if (name !== 'claim') return undefined
      backend.put('chats', chat('old', { chat_state: 'assigned', assigned_operator_id: 'jonas' }))
      const winner = { user: 'jonas', at: '2026-11-01T09:00:01Z' }
      return { outcome: 'conflicted', code: 'taken', message: 'jonas was first', fields: ['chat_state', 'assigned_operator_id'], winner } as never
    }
    expect(await store.chats.claim('old').settled).toMatchObject({ outcome: 'conflicted', code: 'taken', winner: { user: 'jonas', at: '2026-11-01T09:00:01Z' } })
    await until(() => expect(operator('old')).toBe('jonas'))
  })
})

describe('what can not be', () => {
  test('is refused by name, and can says so before', async () => {
    expect(store.chats.can('reply', 'old')?.code).toBe('illegal-transition')
    expect(refusal(() => store.chats.reply('old')).code).toBe('illegal-transition')
    expect(store.chats.can('request_next')).toBeUndefined()
    expect(store.chats.can('claim', 'old')).toBeUndefined()
    await store.chats.claim('old').settled
    expect(store.chats.can('claim', 'new')?.code).toBe('capacity-exceeded')
    expect(store.chats.can('unassign_chat', 'old')).toMatchObject({ code: 'forbidden', message: expect.stringContaining('supervisor') })
    expect([store.chats.can('release', 'old'), store.chats.can('transfer', 'old', 'jonas')]).toEqual([undefined, undefined])
    expect(store.chats.can('complete', 'nope')?.code).toBe('unknown-record')
    expect(refusal(() => store.chats.release('old', '  ')).code).toBe('invalid-operation')
    expect(refusal(() => store.mutate({ name: 'patch', table: 'chats', key: 'old', set: { chat_state: 'completed' } as never })).code).toBe('invalid-operation')
    expect(backend.pushes).toHaveLength(1)
  })

  test('an operation of chats needs a table of chats', () => {
    expect(refusal(() => store.mutate({ name: 'complete', table: 'leads', key: 'l1' } as never)).code).toBe('invalid-operation')
    const plain = createStore({ app: 'plain', user: 'maya', tables: { operators: store.tables.operators }, backend, storage: 'memory' })
    expect(refusal(() => plain.chats.requestNext()).message).toContain('no table is declared')
    plain.close()
    const { chats } = openDomains().store.tables
    const two = createStore({ app: 'two', user: 'maya', tables: { one: chats, other: chats, operators: store.tables.operators }, backend: new DomainBackend(), storage: 'memory' })
    expect(refusal(() => two.chats.waits()).message).toContain('one, other')
    expect(two.chats.in('other').waits().count).toBe(0)
    expect(refusal(() => two.chats.in('operators' as never)).code).toBe('invalid-operation')
    two.close()
  })
})

test('how chats stand and wait is told from what shows', async () => {
  const at = Date.parse('2026-11-01T09:10:00Z')
  expect(store.chats.standing('old')).toEqual({ state: 'waiting_assignment', sinceMs: Date.parse('2026-11-01T08:00:00Z') })
  expect(store.chats.waits(at)).toEqual({ count: 2, longestMs: 70 * 60_000, averageMs: 40 * 60_000 })
  store.chats.claim('old')
  const { sinceMs, idleAtMs } = store.chats.standing('old')!
  expect(idleAtMs! - sinceMs!).toBe(5 * 60_000)
  expect(store.chats.standing('old', sinceMs! + 1_000)!.idleAtMs! - sinceMs!).toBe(5 * 60_000 + 1_000)
  expect(store.chats.waits(at).count).toBe(1)
  expect(store.chats.standing('nope')).toBeUndefined()
})

test('how many chats are in each state, and who waits, the longest first, are live lists', () => {
  const [summary, queue] = [store.chats.summary(), store.chats.queue()]
  const states = () => Object.fromEntries(summary.groups().map(({ group, figures }) => [String(group?.['chat_state']), figures.count]))
  const waiting = queue.rows().map(({ id }) => id)
  expect([states()['waiting_assignment'], waiting[0], queue.total]).toEqual([waiting.length, 'old', waiting.length])
  let heard = 0
  queue.subscribe(() => heard++)
  store.chats.claim('old')
  expect([states()['assigned'], queue.rows().map(({ id }) => id), heard]).toEqual([1, waiting.slice(1), 1])
  expect(store.chats.queue(1).rows()).toHaveLength(1)
  const { store: two } = openDomains()
  expect(refusal(() => two.chats.in('slots' as never).summary()).code).toBe('invalid-operation')
  two.close()
})

test('history and repetition are counted from the rows of assignments', () => {
  const row = (chat_id: string, operator_id: string, hour: string, released_at: string | null) => ({ chat_id, operator_id, assigned_at: `2026-11-01T${hour}:00:00Z`, released_at })
  const rows = [row('a', 'maya', '08', '2026-11-01T08:30:00Z'), row('a', 'maya', '09', '2026-11-01T09:30:00Z'), row('a', 'jonas', '10', null)]
  expect(store.chats.repeated(rows, 1)).toEqual([{ chat: 'a', operator: 'maya', count: 2 }])
  expect(store.chats.repeated(rows)).toEqual([])
  expect(store.chats.history(rows, Date.parse('2026-11-01T12:00:00Z'))).toEqual({ maya: { total: 2, completed: 2, active: 0 }, jonas: { total: 1, completed: 0, active: 1 } })
})

test('operators may have any name, drivers may make dates of times, and a day is less than 24 hours ago', () => {
  const row = (operator_id: string, assigned_at: unknown) => ({ chat_id: 'a', operator_id, assigned_at, released_at: null })
  const now = Date.parse('2026-11-02T12:00:00Z')
  const history = store.chats.history([row('__proto__', '2026-11-02T11:00:00Z'), row('maya', new Date('2026-11-01T12:00:00.001Z')), row('jonas', '2026-11-01T12:00:00Z')], now)
  expect(Object.keys(history).sort()).toEqual(['__proto__', 'maya'])
  expect(Object.getPrototypeOf(history)).toBe(Object.prototype)
  expect(history['maya']).toEqual({ total: 1, completed: 0, active: 1 })
})

test('questions that make no sense are refused by name', () => {
  const bad = [
    () => store.chats.repeated(null as never),
    () => store.chats.repeated([], -1),
    () => store.chats.repeated([], 'x' as never),
    () => store.chats.history(null as never),
    () => store.chats.history([null] as never),
    // oxlint-disable-next-line no-sparse-arrays
    () => store.chats.history([, {}] as never),
    () => store.chats.history([{ assigned_at: new Date('x') }]),
    () => store.chats.history([], Number.NaN),
    () => store.chats.waits('x' as never),
    () => store.chats.standing('old', Number.NaN),
    () => store.chats.stuck(0.5),
    () => store.chats.stuck(1, Number.NaN),
    () => store.chats.idle('x' as never),
    () => lostByMs(undefined as never),
    () => lostByMs({ user: 'maya', at: '2026-11-01T12:00:00Z' }, Number.NaN),
  ]
  expect(bad.map((call) => refusal(call).code)).toEqual(bad.map(() => 'invalid-value'))
})

test('chats that are idle, and those that are stuck, are found by the rules', async () => {
  backend.put('chats', chat('silent', { chat_state: 'assigned', assigned_operator_id: 'jonas', assigned_at: '2026-11-01T09:00:00Z' }))
  backend.put('chats', chat('ended', { chat_state: 'completed' }))
  const at = (time: string) => Date.parse(`2026-11-01T${time}Z`)
  const ids = (chats: readonly { readonly id: string }[]) => chats.map(({ id }) => id).sort()
  expect([ids(store.chats.idle(at('09:04:59'))), ids(store.chats.idle(at('09:05:00')))]).toEqual([[], ['silent']])
  expect([ids(store.chats.stuck(1, at('09:00:01'))), ids(store.chats.stuck(1, at('10:00:01')))]).toEqual([['old'], ['new', 'old', 'silent']])
})

describe('at work in a chat', () => {
  let told: string[]
  let knows: () => Promise<boolean>
  beforeEach(() => {
    told = []
    knows = () => Promise.resolve(true)
    ;(backend as Backend).active = (table, key) => (told.push(`${table}/${key}`), knows())
  })
  test('the server is told once, however often it is said', async () => {
    await store.chats.claim('old').settled
    expect(await Promise.all([store.chats.active('old'), store.chats.in('chats').active('old'), store.chats.active('old')])).toEqual([true, true, true])
    expect(told).toEqual(['chats/old'])
  })
  test('whether it knows is said, and nothing rejects', async () => {
    await store.chats.claim('old').settled
    knows = () => Promise.reject(new BackendError('network', 'away'))
    expect(await store.chats.active('old')).toBe(false)
    expect([await store.chats.active('old'), told.length]).toEqual([false, 1])
  })
  test('of somebody else’s chat, of one that nobody has, and of none it can’t be said', () => {
    backend.put('chats', chat('other', { chat_state: 'assigned', assigned_operator_id: 'jonas' }))
    expect(['other', 'old', 'nope'].map((key) => refusal(() => store.chats.active(key)).code)).toEqual(['forbidden', 'illegal-transition', 'unknown-record'])
    expect(told).toEqual([])
  })
  test('a backend that can not tell it is named', () => {
    delete (backend as Backend).active
    expect(refusal(() => store.chats.active('old'))).toMatchObject({ code: 'invalid-operation', message: expect.stringContaining('active()') })
    expect(refusal(() => createStore({ app: 'x', user: 'maya', tables: store.tables, backend: Object.assign(Object.create(backend) as Backend, { active: 1 as never }), storage: 'memory' })).code).toBe('invalid-configuration')
  })
})

test('a table of operators that is not declared is refused, naming it', () => {
  const tables = { ...store.tables, chats: { ...store.tables.chats, domain: { kind: 'chat', operators: 'operatrs' } as const } }
  const error = refusal(() => createStore({ app: 'misspelt', user: 'maya', tables, backend, storage: 'memory' }))
  expect(error).toMatchObject({ code: 'invalid-configuration', message: expect.stringContaining('"operatrs"') })
})

describe('the server’s clock', () => {
  test('is what times are judged by, however wrong this device’s is', async () => {
    const [ahead, hour] = [domainsSeeded(), 3_600_000]
    ahead.spoilResponse = (response) => ({ ...response, atMs: Date.now() + hour })
    const { store: late } = await openDomainsLive(ahead)
    const isHour = (ms: number) => Math.abs(ms - hour) < 5_000
    expect(isHour(late.status().link.serverAheadMs!)).toBe(true)
    expect(isHour(late.now() - Date.now())).toBe(true)
    expect(isHour(late.chats.waits().longestMs - store.chats.waits().longestMs)).toBe(true)
    ahead.hold()
    late.chats.requestNext()
    const shown = late.get('chats', 'old')!.assigned_at!
    expect(isHour(Date.parse(shown) - Date.now())).toBe(true)
    ahead.release()
  })

  test('is taken for this device’s where the server does not say', () => {
    expect(store.status().link.serverAheadMs).toBeUndefined()
    expect(Math.abs(store.now() - Date.now())).toBeLessThan(1_000)
  })
})
