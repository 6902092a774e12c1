// Chats by operations: the items of the assignment document's testing checklist, each legal and illegal transition, and
// who may do what.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ANNA, BORIS, CHLOE, type ChatWorld, createChatWorld, LEFT, OWN, SARA, STRANGER } from './chatting.js'
import { assign, fixture, hlc, type Json, ledgerSize, operation, operationId, patch, shapeOf } from './world.js'

let world: ChatWorld
beforeAll(async () => void (world = await createChatWorld()))
afterAll(() => world.close())
beforeEach(() => world.clear())

const request = (person: string, chat = '00000000-0000-4000-8000-000000000000', more: Json = {}) =>
  world.act(person, 'request_next', chat, { operator: person }, more)
const state = async (chat: string) => (await world.row(chat))['chat_state']

describe('Test 1: Normal Flow', () => {
  test('Real user sends message → Chat state is waiting_assignment', async () => {
    expect(await world.row(await world.chat())).toMatchObject({ chat_state: 'waiting_assignment', assigned_operator_id: null, is_active: true })
  })
  test('Operator requests assignment → Gets chat, state becomes assigned', async () => {
    const chat = await world.chat()
    expect(await request(ANNA, chat)).toMatchObject({ outcome: 'confirmed', chosen: chat, record: { chat_state: 'assigned', assigned_operator_id: ANNA } })
    expect(await world.row(chat)).toMatchObject({ last_operator_id: ANNA, assigned_at: expect.any(Date) })
    expect(await world.history(chat)).toMatchObject([{ operator_id: ANNA, open: true, assigned_by: ANNA, operation: expect.any(String) }])
    expect((await world.owner.query('select operator_id from operator_activity where chat_id = $1', [chat])).rows).toEqual([{ operator_id: ANNA }])
  })
  test('Operator sends reply → Chat state becomes waiting_real_user_reply', async () => {
    const chat = await world.chat()
    await request(ANNA, chat)
    const answer = await world.act(ANNA, 'reply', chat)
    expect(answer).toMatchObject({ outcome: 'confirmed', record: { chat_state: 'waiting_real_user_reply', assigned_operator_id: null, last_operator_id: ANNA } })
    expect(answer['record'].operator_replied_at).toBe(answer['record'].last_message_at)
    expect(await world.history(chat)).toMatchObject([{ release_reason: 'replied', open: false }])
    expect((await world.owner.query('select * from operator_activity')).rows).toEqual([])
  })
  test('Operator requests new assignment → Gets DIFFERENT chat (not the same one)', async () => {
    const [first, second] = [await world.chat(9), await world.chat(1)]
    await request(ANNA, first)
    await world.act(ANNA, 'reply', first)
    await world.act(ANNA, 'user_message', first)
    expect(await request(ANNA, second)).toMatchObject({ chosen: second })
  })
  test('Real user sends reply → Chat state becomes waiting_assignment again', async () => {
    const chat = await world.chat()
    await request(ANNA, chat)
    await world.act(ANNA, 'reply', chat)
    expect(await world.act(BORIS, 'user_message', chat)).toMatchObject({ outcome: 'confirmed', record: { chat_state: 'waiting_assignment', last_operator_id: ANNA } })
  })
})

describe('Test 2: Same Operator Prevention', () => {
  test('Operator A requests assignment → Should NOT get the same chat (if other chats available)', async () => {
    const mine = await world.chat(99)
    await request(ANNA, mine)
    await world.act(ANNA, 'reply', mine)
    await world.act(BORIS, 'user_message', mine)
    const other = await world.chat(1)
    expect(await request(ANNA, mine)).toMatchObject({ chosen: other, code: 'assigned-other' })
  })
  test('Operator A gets the own last chat where no other waits', async () => {
    const mine = await world.chat(99, { last_operator_id: ANNA })
    expect(await request(ANNA, mine)).toMatchObject({ outcome: 'confirmed', chosen: mine })
  })
  test('Operator B requests assignment → Can get the chat', async () => {
    const [theirs] = [await world.chat(99, { last_operator_id: ANNA }), await world.chat(1)]
    expect(await request(BORIS, theirs)).toMatchObject({ chosen: theirs })
  })
})

describe('Test 4: Manual Unassignment', () => {
  test('Admin unassigns chat → Chat state becomes waiting_assignment, and it can be assigned to another operator', async () => {
    const chat = await world.chat()
    await request(ANNA, chat)
    expect(await world.act(BORIS, 'unassign_chat', chat)).toMatchObject({ outcome: 'refused', code: 'forbidden' })
    expect(await world.act(SARA, 'unassign_chat', chat)).toMatchObject({ outcome: 'confirmed', record: { chat_state: 'waiting_assignment', assigned_operator_id: null } })
    expect(await world.history(chat)).toMatchObject([{ release_reason: 'supervisor' }])
    expect(await request(BORIS, chat)).toMatchObject({ chosen: chat })
  })
})

describe('Test 5: Edge Cases', () => {
  test('Real user sends message while operator is assigned → Chat becomes waiting_assignment', async () => {
    const chat = await world.chat()
    await request(ANNA, chat)
    expect(await world.act(BORIS, 'user_message', chat)).toMatchObject({ outcome: 'confirmed', record: { chat_state: 'waiting_assignment', assigned_operator_id: null } })
    expect(await world.history(chat)).toMatchObject([{ release_reason: 'user message' }])
  })
  test('Operator with active assignment tries to get another → Rejected with error', async () => {
    const [first, second] = [await world.chat(2), await world.chat(1)]
    await request(ANNA, first)
    expect(await request(ANNA, second)).toMatchObject({ outcome: 'refused', code: 'capacity-exceeded', message: 'Anna has 1 of at most 1 chats' })
    expect(await world.act(ANNA, 'claim', second, { operator: ANNA })).toMatchObject({ code: 'capacity-exceeded' })
    expect(await state(second)).toBe('waiting_assignment')
  })
})

test('the oldest waiting active chat is handed out, ties by id, unknown ages last', async () => {
  const at = new Date(Date.now() - 5_000_000)
  const never = await world.chat(0, { created_at: null })
  await world.chat(500, { is_active: false })
  const later = await world.chat(0, { id: 'ffffffff-0000-4000-8000-000000000000', created_at: at })
  const first = await world.chat(0, { id: '0fffffff-0000-4000-8000-000000000000', created_at: at })
  const got: string[] = []
  for (let turn = 0; turn < 3; turn += 1) got.push((await request(CHLOE))['chosen'])
  expect(got).toEqual([first, later, never])
  expect(await request(BORIS)).toMatchObject({ outcome: 'refused', code: 'queue-empty' })
})

test('a request that the client predicted wrongly is confirmed with both records, and the row of the chosen one has its id', async () => {
  const [oldest, predicted] = [await world.chat(9), await world.chat(1)]
  const id = operationId()
  const answer = await request(ANNA, predicted, { id })
  expect(answer).toMatchObject({ outcome: 'confirmed', code: 'assigned-other', key: predicted, chosen: oldest, record: { id: predicted, chat_state: 'waiting_assignment' } })
  expect(answer['records']).toMatchObject([
    { table: 'chats', key: oldest, record: { chat_state: 'assigned', rota_op: id } },
    { table: 'chats', key: predicted, record: { chat_state: 'waiting_assignment', rota_op: null } },
  ])
  const shape = ({ records, ...rest }: Json): unknown => [shapeOf(rest), Object.keys(records[0]).sort()]
  expect(shape(answer)).toEqual(shape(fixture('answer.confirmed-other')))
  expect(answer['records'][0].version).toBe(answer['records'][0].record.rota_version)
  expect(await request(ANNA, predicted, { id })).toMatchObject({ outcome: 'refused', code: 'operation-mismatch' }) // another hlc: another operation
})

test('a reason of white space alone is none, whatever white space of Unicode it is', async () => {
  const chat = await world.chat()
  await world.act(ANNA, 'claim', chat, { operator: ANNA })
  for (const reason of [' ', '\t\r\n', '\u0085', '\u00a0', '\u2003\u202f', '\u3000']) {
    expect(await world.act(ANNA, 'release', chat, { reason })).toMatchObject({ outcome: 'refused', code: 'invalid' })
  }
  expect(await world.act(ANNA, 'release', chat, { reason: '\u00a0tea\u3000' })).toMatchObject({ outcome: 'confirmed' })
})

test('an operator takes a chat, releases it with a reason, passes it on, and ends it', async () => {
  const chat = await world.chat()
  await world.act(ANNA, 'claim', chat, { operator: ANNA })
  expect(await world.act(ANNA, 'release', chat, { reason: 'lunch' })).toMatchObject({ outcome: 'confirmed', record: { chat_state: 'waiting_assignment' } })
  await world.act(BORIS, 'claim', chat, { operator: BORIS })
  expect(await world.act(BORIS, 'transfer', chat, { to: CHLOE })).toMatchObject({
    outcome: 'confirmed', record: { chat_state: 'assigned', assigned_operator_id: CHLOE, last_operator_id: CHLOE },
  })
  expect(await world.act(CHLOE, 'complete', chat)).toMatchObject({ outcome: 'confirmed', record: { chat_state: 'completed', assigned_operator_id: null } })
  expect((await world.history(chat)).map((entry) => [entry['operator_id'], entry['release_reason']])).toEqual([
    [ANNA, 'lunch'], [BORIS, 'transferred'], [CHLOE, 'completed'],
  ])
})

/** A chat in each state, with Anna where there is an operator. */
async function chatIn(wanted: string): Promise<string> {
  const chat = await world.chat()
  if (wanted !== 'waiting_assignment') await world.act(ANNA, 'claim', chat, { operator: ANNA })
  if (wanted === 'waiting_real_user_reply') await world.act(ANNA, 'reply', chat)
  if (wanted === 'completed') await world.act(ANNA, 'complete', chat)
  expect(await state(chat)).toBe(wanted)
  return chat
}
const ARGS: Json = { claim: { operator: BORIS }, release: { reason: 'x' }, transfer: { to: BORIS } }
const WHO: Json = { claim: BORIS, unassign_chat: SARA, reply: ANNA, release: ANNA, transfer: ANNA, user_message: BORIS, complete: BORIS }

describe('only these transitions exist', () => {
  const LEGAL: Json = {
    waiting_assignment: { claim: 'assigned', user_message: 'waiting_assignment', complete: 'completed' },
    assigned: {
      reply: 'waiting_real_user_reply', user_message: 'waiting_assignment', release: 'waiting_assignment',
      unassign_chat: 'waiting_assignment', transfer: 'assigned', complete: 'completed',
    },
    waiting_real_user_reply: { user_message: 'waiting_assignment', complete: 'completed' },
    completed: {},
  }
  for (const from of Object.keys(LEGAL))
    for (const name of Object.keys(WHO)) {
      const to = LEGAL[from][name]
      test(`${name} of a chat that is ${from} ${to === undefined ? 'is refused as an illegal transition' : `makes it ${to}`}`, async () => {
        const chat = await chatIn(from)
        const answer = await world.act(WHO[name], name, chat, ARGS[name])
        expect(await state(chat)).toBe(to ?? from)
        if (to === undefined) expect(answer).toMatchObject({ outcome: 'refused', code: 'illegal-transition', message: expect.stringContaining(from) })
        else expect(answer).toMatchObject({ outcome: 'confirmed', record: { chat_state: to } })
      })
    }
})

test('who lost a race hears that it is taken, by whom and since when; who missed a change of state, that it changed', async () => {
  const chat = await world.chat()
  await world.act(ANNA, 'claim', chat, { operator: ANNA })
  const lost = await world.act(BORIS, 'claim', chat, { operator: BORIS }, { base: OWN })
  expect(lost).toMatchObject({
    outcome: 'conflicted', code: 'taken', fields: ['assigned_operator_id', 'chat_state'], winner: { user: ANNA, at: expect.any(String) },
    record: { assigned_operator_id: ANNA },
  })
  expect(lost['winner'].at).toBe(lost['record'].assigned_at)
  const mine = { chat_state: 'assigned', assigned_operator_id: ANNA }
  await world.act(SARA, 'transfer', chat, { to: BORIS })
  expect(await world.act(ANNA, 'reply', chat, {}, { base: mine })).toMatchObject({ outcome: 'conflicted', code: 'taken', fields: ['assigned_operator_id'] })
  await world.act(SARA, 'unassign_chat', chat)
  for (const [name, args] of [['reply', {}], ['release', { reason: 'x' }], ['transfer', { to: CHLOE }]] as const)
    expect(await world.act(ANNA, name, chat, args, { base: mine })).toMatchObject({ outcome: 'conflicted', code: 'changed', record: { chat_state: 'waiting_assignment' } })
  await world.act(SARA, 'complete', chat)
  expect(await world.act(BORIS, 'claim', chat, { operator: BORIS }, { base: OWN })).toMatchObject({ outcome: 'conflicted', code: 'changed', fields: ['chat_state'] })
})

test('what is so already is confirmed, and gives no new version', async () => {
  const chat = await world.chat()
  const claimed = await world.act(ANNA, 'claim', chat, { operator: ANNA })
  expect(await world.act(ANNA, 'claim', chat, { operator: ANNA }, { base: OWN })).toMatchObject({ outcome: 'confirmed', version: claimed['version'] })
  expect(await world.act(ANNA, 'transfer', chat, { to: ANNA })).toMatchObject({ outcome: 'confirmed', version: claimed['version'] })
})

describe('who may do what', () => {
  test('nobody takes a chat for somebody else, but a supervisor does', async () => {
    const chat = await world.chat()
    expect(await world.act(BORIS, 'claim', chat, { operator: ANNA })).toMatchObject({ outcome: 'refused', code: 'forbidden' })
    expect(await world.act(BORIS, 'request_next', chat, { operator: ANNA })).toMatchObject({ outcome: 'refused', code: 'forbidden' })
    expect(await world.act(SARA, 'claim', chat, { operator: ANNA })).toMatchObject({ outcome: 'confirmed', record: { assigned_operator_id: ANNA } })
    expect(await world.history(chat)).toMatchObject([{ operator_id: ANNA, assigned_by: SARA }])
  })
  test("nobody replies in, releases or passes on another operator's chat", async () => {
    const chat = await chatIn('assigned')
    for (const [name, args] of [['reply', {}], ['release', { reason: 'x' }], ['transfer', { to: BORIS }]] as const)
      expect(await world.act(BORIS, name, chat, args)).toMatchObject({ outcome: 'refused', code: 'forbidden' })
    expect(await world.row(chat)).toMatchObject({ assigned_operator_id: ANNA })
  })
  test('who is no operator finds no chat, and gets none', async () => {
    const chat = await world.chat()
    for (const person of [STRANGER, LEFT]) {
      expect(await world.act(person, 'user_message', chat)).toMatchObject({ outcome: 'refused', code: 'not-found' })
      expect((await world.as(person).pull({ tables: ['chats'] }))['records'].chats).toEqual([])
    }
    expect(await request(STRANGER, chat)).toMatchObject({ outcome: 'refused', code: 'unknown-operator' })
    expect(await request(LEFT, chat)).toMatchObject({ outcome: 'refused', code: 'inactive' })
  })
  test('an operation on a chat that was never seen is not found, and on a deleted one conflicts', async () => {
    const chat = await world.chat()
    expect(await world.act(ANNA, 'complete', '00000000-0000-4000-8000-00000000abcd')).toMatchObject({ outcome: 'refused', code: 'not-found' })
    await world.owner.query('delete from chats where id = $1', [chat])
    expect(await world.act(ANNA, 'complete', chat)).toMatchObject({ outcome: 'conflicted', code: 'changed', record: null })
  })
  test('a colleague who is unknown, has left, or has no room is not passed a chat', async () => {
    const [chat, theirs] = [await chatIn('assigned'), await world.chat()]
    await world.act(BORIS, 'claim', theirs, { operator: BORIS })
    for (const [to, code] of [[STRANGER, 'unknown-operator'], ['nobody', 'unknown-operator'], [LEFT, 'inactive'], [BORIS, 'capacity-exceeded']])
      expect(await world.act(ANNA, 'transfer', chat, { to })).toMatchObject({ outcome: 'refused', code })
    expect(await world.row(chat)).toMatchObject({ assigned_operator_id: ANNA })
  })
  test('an inactive chat is neither claimed nor handed out', async () => {
    const chat = await world.chat(5, { is_active: false })
    expect(await world.act(ANNA, 'claim', chat, { operator: ANNA })).toMatchObject({ outcome: 'refused', code: 'inactive' })
    expect(await request(ANNA, chat)).toMatchObject({ outcome: 'refused', code: 'queue-empty' })
  })
  test('the fields that operations set are set by nothing else, and plain SQL of an operator reaches none of them', async () => {
    const chat = await world.chat()
    const set = { chat_state: 'assigned', assigned_operator_id: BORIS }
    expect(await world.as(BORIS).apply(patch(chat, OWN, set, { table: 'chats' }))).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect(await world.as(BORIS).apply(assign(chat, null, BORIS, { table: 'chats' }))).toMatchObject({ outcome: 'refused', code: 'invalid' })
    for (const column of ['chat_state', 'assigned_operator_id', 'last_operator_id'])
      await expect(world.as(BORIS).sql(`update chats set ${column} = default`)).rejects.toMatchObject({ code: '42501' })
    for (const call of [`assign_chat_to_operator('${BORIS}')`, `release_and_reassign_chat('${chat}', 'x')`, `release_idle_chats('1 second')`, `complete_chat('${chat}')`])
      await expect(world.as(SARA).sql(`select ${call}`)).rejects.toMatchObject({ code: '42501' })
  })
})

test('an operator begins a chat with an insert, which waits; nobody else does, and nobody begins it in another state', async () => {
  const begin = (person: string, id: string, more: Json = {}) => world.as(person).apply(operation({ name: 'insert', table: 'chats', key: id, set: { id, ...more }, base: {} }))
  const id = 'dddddddd-0000-4000-8000-000000000001'
  expect(await begin(ANNA, id)).toMatchObject({ outcome: 'confirmed', record: { id, chat_state: 'waiting_assignment', assigned_operator_id: null, is_active: true, created_at: expect.any(String) } })
  expect(await begin(BORIS, id)).toMatchObject({ outcome: 'refused', code: 'exists' })
  // A client says all of it, as it begins; the times are the server's all the same.
  const whole = { chat_state: 'waiting_assignment', assigned_operator_id: null, last_operator_id: null, operator_replied_at: null, assigned_at: null, is_active: true, created_at: '2020-01-01T00:00:00Z', last_message_at: null }
  const answer = await begin(ANNA, 'dddddddd-0000-4000-8000-000000000004', whole)
  expect(answer).toMatchObject({ outcome: 'confirmed', record: { chat_state: 'waiting_assignment', is_active: true } })
  expect(Date.parse(answer['record'].created_at)).toBeGreaterThan(Date.parse('2026-01-01'))
  expect(await request(BORIS, id)).toMatchObject({ chosen: id })
  expect(await begin(STRANGER, 'dddddddd-0000-4000-8000-000000000002')).toMatchObject({ outcome: 'refused', code: 'forbidden' })
  for (const more of [{ chat_state: 'assigned', assigned_operator_id: ANNA }, { last_operator_id: BORIS }])
    expect(await begin(ANNA, 'dddddddd-0000-4000-8000-000000000003', more)).toMatchObject({ outcome: 'refused', code: 'invalid' })
})

describe('bad input', () => {
  const chatless = (name: string, args: Json, more: Json = {}) => operation({ name, table: 'chats', args, base: OWN, ...more })
  test('arguments that are missing, of another kind, oversized or not known are invalid', async () => {
    const chat = await world.chat()
    for (const [name, args] of [
      ['claim', {}], ['claim', { operator: 5 }], ['claim', { operator: null }], ['claim', { operator: '' }], ['claim', { operator: 'x'.repeat(257) }],
      ['claim', { operator: ANNA, now: '2020-01-01' }], ['release', {}], ['release', { reason: '' }], ['release', { reason: ' \n\t' }],
      ['release', { reason: 'x'.repeat(501) }], ['release', { reason: ['x'] }], ['transfer', { operator: ANNA }], ['reply', { text: 'hello' }], ['complete', { to: ANNA }],
      ['request_next', {}], ['unassign_chat', { reason: 'x' }], ['user_message', { operator: ANNA }],
    ] as const)
      expect(await world.as(ANNA).apply(chatless(name, args, { key: chat })), `${name} ${JSON.stringify(args).slice(0, 60)}`).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect(await world.as(ANNA).apply(chatless('claim', { operator: ANNA }, { key: chat, base: {} }))).toMatchObject({ code: 'invalid' })
    expect(await world.row(chat)).toMatchObject({ chat_state: 'waiting_assignment' })
  })
  test('an operation of chats on another table, or with a key that is none, is invalid', async () => {
    expect(await world.as(ANNA).apply(chatless('claim', { operator: ANNA }, { table: 'operators', key: ANNA }))).toMatchObject({ code: 'invalid', message: 'claim is an operation of chats, not of operators' })
    expect(await world.as(ANNA).apply(chatless('request_next', { operator: ANNA }, { table: 'operators', key: ANNA }))).toMatchObject({ code: 'invalid' })
    expect(await world.as(ANNA).apply(chatless('claim', { operator: ANNA }, { key: 'no uuid' }))).toMatchObject({ code: 'invalid' })
  })
  test('SQL in every string does nothing but be refused or kept as text', async () => {
    const evil = `'); drop table chats; select set_config('request.jwt.claims', '{"sub":"${SARA}"}', true); --`
    const chat = await chatIn('assigned')
    expect(await world.act(ANNA, 'release', chat, { reason: evil })).toMatchObject({ outcome: 'confirmed' })
    expect((await world.history(chat))[0]).toMatchObject({ release_reason: evil })
    for (const more of [{ name: evil }, { table: evil }, { key: evil }, { args: { operator: evil } }, { args: { [evil]: ANNA } }, { base: { ...OWN, [evil]: evil }, tab: evil, set: { [evil]: evil } }])
      expect(['invalid', 'unknown-operator', 'confirmed']).toContain(
        await world.as(ANNA).apply(chatless('claim', { operator: ANNA }, { key: chat, ...more })).then((answer) => answer['code'] ?? answer['outcome']),
      )
    expect(await world.act(ANNA, 'transfer', chat, { to: evil })).toMatchObject({ code: 'unknown-operator' })
    await world.owner.query('select 1 from chats, operators, chat_assignments')
  })
  test("ids that are forged, somebody else's, or expired change nothing", async () => {
    const chat = await world.chat()
    const op = chatless('claim', { operator: ANNA }, { key: chat })
    await world.as(ANNA).apply(op)
    const before = [await ledgerSize(world), await world.row(chat)]
    expect(await world.as(BORIS).apply(op)).toMatchObject({ code: 'operation-mismatch' })
    expect(await world.as(ANNA).apply({ ...op, name: 'complete', args: {} })).toMatchObject({ code: 'operation-mismatch' })
    for (const id of ['1', `${op['id']}`.toUpperCase(), '019aa5e3-f1c0-4a3b-9c1d-2e4f60718293', "x' or '1'='1"])
      expect(await world.as(ANNA).apply({ ...op, id })).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect([await ledgerSize(world), await world.row(chat)]).toEqual(before)
    const old = Date.now() - 31 * 86_400_000
    expect(await world.as(ANNA).apply({ ...op, id: operationId(old), hlc: hlc(old) })).toMatchObject({ code: 'expired' })
  })
})

test('the same operation once more is the same answer, and no second line of history', async () => {
  const chat = await world.chat()
  const op = operation({ name: 'request_next', table: 'chats', key: chat, args: { operator: ANNA }, base: OWN })
  const first = await world.as(ANNA).apply(op)
  expect(await world.as(ANNA).apply(op)).toEqual({ ...first, replayed: true })
  expect(await world.history(chat)).toHaveLength(1)
})
