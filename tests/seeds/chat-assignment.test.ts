// The testing checklist of the chat assignment document, item by item: operators with stores of their own, on the real backend.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { openBackend, until, type Backend, type Person, type Session } from './backend.js'

let backend: Backend
let [anna, boris, sara] = [] as unknown as [Person, Person, Person]
let [A, B, S] = [] as unknown as [Session, Session, Session]
beforeAll(async () => {
  backend = await openBackend(inject('serverUrl'))
  anna = await backend.person('Anna', 'operator')
  boris = await backend.person('Boris', 'operator')
  sara = await backend.person('Sara', 'supervisor')
})
afterAll(() => backend.close())
beforeEach(async () => {
  await backend.sql('delete from chats')
  A = await backend.session(anna)
  B = await backend.session(boris)
  S = await backend.session(sara)
})
afterEach(() => backend.closeSessions())

/** A real user's first message, so many minutes ago; it is there for all three when this resolves. */
async function firstMessage(minutesAgo: number): Promise<string> {
  const [row] = await backend.sql(`insert into chats (created_at) values (now() - make_interval(mins => $1)) returning id`, [minutesAgo])
  const id = row!['id'] as string
  await seen(id, 'waiting_assignment')
  return id
}
const state = ({ store }: Session, chat: string) => store.get('chats', chat)?.chat_state
const holder = ({ store }: Session, chat: string) => store.get('chats', chat)?.assigned_operator_id
/** Everybody sees the chat in this state, and the database has it so. */
async function seen(chat: string, wanted: string): Promise<void> {
  await until(() => [A, B, S].every((session) => state(session, chat) === wanted), `everybody sees ${wanted}`)
  expect(await backend.sql('select chat_state from chats where id = $1', [chat])).toEqual([{ chat_state: wanted }])
}
async function request({ store }: Session): Promise<string> {
  const settled = await store.chats.requestNext().settled
  expect(settled).toMatchObject({ outcome: 'confirmed' })
  return settled.chosen!
}
const done = async (mutated: { settled: Promise<{ outcome: string }> }) => expect(await mutated.settled).toMatchObject({ outcome: 'confirmed' })
const userWrites = (chat: string) => backend.sql('select record_user_message($1)', [chat])

describe('Test 1: Normal Flow', () => {
  test('Real user sends message → Chat state is waiting_assignment', async () => {
    await firstMessage(1)
  })
  test('Operator requests assignment → Gets chat, state becomes assigned', async () => {
    const chat = await firstMessage(1)
    expect(await request(A)).toBe(chat)
    await seen(chat, 'assigned')
    expect(holder(B, chat)).toBe(anna.id)
  })
  test('Operator sends reply → Chat state becomes waiting_real_user_reply', async () => {
    const chat = await firstMessage(1)
    await request(A)
    await done(A.store.chats.reply(chat))
    await seen(chat, 'waiting_real_user_reply')
  })
  test('Operator requests new assignment → Gets DIFFERENT chat (not the same one)', async () => {
    const [first, second] = [await firstMessage(9), await firstMessage(1)]
    expect(await request(A)).toBe(first)
    await done(A.store.chats.reply(first))
    await userWrites(first)
    await seen(first, 'waiting_assignment')
    expect(await request(A)).toBe(second)
  })
  test('Real user sends reply → Chat state becomes waiting_assignment again', async () => {
    const chat = await firstMessage(1)
    await request(A)
    await done(A.store.chats.reply(chat))
    await userWrites(chat)
    await seen(chat, 'waiting_assignment')
  })
})

describe('Test 2: Same Operator Prevention', () => {
  let [mine, other] = ['', '']
  beforeEach(async () => {
    mine = await firstMessage(9)
    await request(A)
    await done(A.store.chats.reply(mine))
    await userWrites(mine)
    await seen(mine, 'waiting_assignment')
    other = await firstMessage(1)
  })
  test('Operator A handles chat and replies; Real user responds', () => {
    expect(A.store.get('chats', mine)).toMatchObject({ last_operator_id: anna.id, assigned_operator_id: null })
  })
  test('Operator A requests assignment → Should NOT get the same chat (if other chats available)', async () => {
    expect(await request(A)).toBe(other)
  })
  test('Operator B requests assignment → Can get the chat', async () => {
    expect(await request(B)).toBe(mine)
  })
})

describe('Test 3: Idle Detection', () => {
  test("Operator doesn't respond for 5+ minutes, idle detection runs → Chat is reassigned", async () => {
    const chat = await firstMessage(1)
    await request(A)
    await backend.sql(`select * from release_idle_chats()`)
    await seen(chat, 'assigned')
    await backend.sql(`update chats set assigned_at = now() - interval '5 minutes 1 second' where id = $1`, [chat])
    await backend.sql(`update operator_activity set last_activity_at = now() - interval '5 minutes 1 second' where chat_id = $1`, [chat])
    await backend.sql(`select * from release_idle_chats()`)
    await seen(chat, 'waiting_assignment')
    expect(await request(B)).toBe(chat)
  })
  test('Operator sends reply, idle detection runs → Chat is NOT reassigned (correct behavior)', async () => {
    const chat = await firstMessage(1)
    await request(A)
    await done(A.store.chats.reply(chat))
    await backend.sql(`update chats set operator_replied_at = now() - interval '1 hour', assigned_at = now() - interval '2 hours' where id = $1`, [chat])
    await backend.sql(`select * from release_idle_chats()`)
    await seen(chat, 'waiting_real_user_reply')
  })
})

describe('at work in a chat', () => {
  const backdate = async (chat: string) => {
    await backend.sql(`update chats set assigned_at = now() - interval '6 minutes' where id = $1`, [chat])
    await backend.sql(`update operator_activity set last_activity_at = now() - interval '6 minutes' where chat_id = $1`, [chat])
    await until(() => S.store.chats.idle().length === 1, 'the supervisor sees that it is idle')
  }
  test('who says so keeps it, is told to the server as often as it needs to know, and can say it of no other', async () => {
    const chat = await firstMessage(1)
    await request(A)
    await seen(chat, 'assigned')
    await backdate(chat)
    expect(await Promise.all(Array.from({ length: 50 }, () => A.store.chats.active(chat)))).toEqual(Array.from({ length: 50 }, () => true))
    const [first] = await backend.sql('select last_activity_at from operator_activity where chat_id = $1', [chat])
    expect(await A.store.chats.active(chat)).toBe(true)
    expect(await backend.sql('select last_activity_at from operator_activity where chat_id = $1', [chat])).toEqual([first])
    expect(await backend.sql('select * from release_idle_chats()')).toEqual([])
    await until(() => S.store.chats.idle().length === 0, 'the supervisor sees that it is idle no more')
    expect(() => B.store.chats.active(chat)).toThrow(expect.objectContaining({ code: 'forbidden' }))
    await done(A.store.chats.reply(chat))
    expect(() => A.store.chats.active(chat)).toThrow(expect.objectContaining({ code: 'illegal-transition' }))
  })
  test('what waits, is stuck or idle is the same for the server and for a client', async () => {
    const [long, back] = [await firstMessage(540), await firstMessage(480)]
    expect(await request(A)).toBe(long)
    await done(A.store.chats.release(long, 'lunch'))
    await backend.sql(`set session_replication_role = replica; update chats set last_message_at = now() - interval '3 minutes', state_changed_at = now() - interval '5 hours' where id = '${long}'; set session_replication_role = origin`)
    await backend.sql(`update chats set last_message_at = now() - interval '8 hours', is_active = true where id = $1`, [back])
    await backend.sql('update chats set is_active = is_active where id = $1', [long])
    const stuck = async () => (await backend.sql('select chat_id from detect_stuck_chats(6)')).map((row) => row['chat_id'])
    const here = () => S.store.chats.stuck(6).map(({ id }) => id)
    expect(await stuck()).toEqual([back])
    const seenAt = () => Date.parse(S.store.get('chats', long)?.state_changed_at ?? '')
    await until(() => state(S, long) === 'waiting_assignment' && Date.now() - seenAt() > 4 * 3_600_000, 'the times are seen')
    expect(here()).toEqual([back])
    const [status] = await backend.sql('select waiting::int, longest_wait_minutes::float8 as longest from get_assignment_queue_status()')
    const { count, longestMs } = S.store.chats.waits()
    expect([count, Math.round(longestMs / 60_000)]).toEqual([status!['waiting'], Math.round(status!['longest'] as number)])
  })
})

describe('Test 4: Manual Unassignment', () => {
  test('Admin unassigns chat → Chat state becomes waiting_assignment', async () => {
    const chat = await firstMessage(1)
    await request(A)
    await seen(chat, 'assigned')
    await done(S.store.chats.unassign(chat))
    await seen(chat, 'waiting_assignment')
  })
  test('Chat can be assigned to another operator', async () => {
    const chat = await firstMessage(1)
    await request(A)
    await seen(chat, 'assigned')
    await done(S.store.chats.unassign(chat))
    await seen(chat, 'waiting_assignment')
    expect(await request(B)).toBe(chat)
    await seen(chat, 'assigned')
    expect(holder(A, chat)).toBe(boris.id)
  })
})

describe('Test 5: Edge Cases', () => {
  test('Real user sends message while operator is assigned → Chat becomes waiting_assignment', async () => {
    const chat = await firstMessage(1)
    await request(A)
    await userWrites(chat)
    await seen(chat, 'waiting_assignment')
  })
  test('Multiple operators request assignment simultaneously → Only one gets the chat (row locking)', async () => {
    const chat = await firstMessage(1)
    const settled = await Promise.all([A, B, S].map(({ store }) => store.chats.requestNext().settled))
    expect(settled.filter(({ outcome }) => outcome === 'confirmed')).toHaveLength(1)
    expect(settled.filter(({ code }) => code === 'queue-empty')).toHaveLength(2)
    const winner = [anna, boris, sara][settled.findIndex(({ outcome }) => outcome === 'confirmed')]!.id
    await seen(chat, 'assigned')
    await until(() => [A, B, S].every((session) => holder(session, chat) === winner), 'everybody sees who won')
  })
  test('Operator with active assignment tries to get another → Rejected with error', async () => {
    await firstMessage(2)
    const second = await firstMessage(1)
    await request(A)
    await expect(async () => A.store.chats.requestNext()).rejects.toMatchObject({ code: 'capacity-exceeded' })
    await expect(async () => A.store.chats.claim(second)).rejects.toMatchObject({ code: 'capacity-exceeded' })
    // Nor does the server let through what a client that knows no rules would send.
    const { error } = await A.client.rpc('assign_chat_to_operator', { p_operator_id: anna.id })
    expect(error).not.toBeNull()
    await seen(second, 'waiting_assignment')
  })
})

test('A chat that an operator begins waits for anybody, by the server’s clock', async () => {
  const id = crypto.randomUUID()
  const { settled } = A.store.mutate({
    name: 'insert', table: 'chats',
    record: { id, chat_state: 'waiting_assignment', assigned_operator_id: null, last_operator_id: null, operator_replied_at: null, is_active: true, created_at: '2020-01-01T00:00:00Z', last_message_at: null, assigned_at: null },
  })
  expect(state(A, id)).toBe('waiting_assignment')
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  await seen(id, 'waiting_assignment')
  expect(Date.parse(B.store.get('chats', id)!.created_at!)).toBeGreaterThan(Date.now() - 60_000)
  expect(await B.store.chats.requestNext().settled).toMatchObject({ outcome: 'confirmed', chosen: id })
})
