// The operator of a chat is its owner: who is given one, and who loses one, is told, and the history of owners has it.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { ANNA, BORIS, CHLOE, type ChatWorld, createChatWorld, SARA } from './chatting.js'
import type { Json } from './world.js'

let world: ChatWorld
beforeAll(async () => void (world = await createChatWorld()))
afterAll(() => world.close())
beforeEach(async () => {
  await world.clear()
  await run('truncate rota.outbox; truncate assignment_history')
})

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const told = (chat: string) =>
  run(`select kind, recipient, payload ->> 'by' as by from rota.outbox where payload ->> 'key' = $1 and payload ->> 'table' = 'chats' order by id`, [chat])
const lines = (chat: string) => run(`select from_owner, to_owner, changed_by from assignment_history where table_name = 'chats' and record_key = $1 order by id`, [chat])

test('an operator who is given a chat is told, and so is the one who loses it, by whichever way', async () => {
  const chat = await world.chat()
  await world.act(SARA, 'claim', chat, { operator: BORIS })
  expect(await told(chat)).toEqual([{ kind: 'assigned', recipient: BORIS, by: SARA }])
  await run('select transfer_chat($1, $2)', [chat, ANNA])
  expect((await told(chat)).slice(1)).toEqual([{ kind: 'assigned', recipient: ANNA, by: null }, { kind: 'unassigned', recipient: BORIS, by: null }])
  await world.act(SARA, 'unassign_chat', chat)
  expect((await told(chat)).slice(3)).toEqual([{ kind: 'unassigned', recipient: ANNA, by: SARA }])
  expect(await lines(chat)).toEqual([
    { from_owner: null, to_owner: BORIS, changed_by: SARA }, { from_owner: BORIS, to_owner: ANNA, changed_by: null }, { from_owner: ANNA, to_owner: null, changed_by: SARA },
  ])
  expect((await run(`select tab, operation is not null as by_operation from assignment_history where record_key = $1 order by id limit 1`, [chat]))[0]).toEqual({ tab: 'k3v9x2m1q7w4', by_operation: true })
})

test('nobody is told what they did themselves: of chats they took, answered and passed on', async () => {
  const chat = await world.chat()
  await world.act(ANNA, 'request_next', chat, { operator: ANNA })
  await world.act(ANNA, 'transfer', chat, { to: CHLOE })
  await world.act(CHLOE, 'reply', chat)
  expect(await told(chat)).toEqual([{ kind: 'assigned', recipient: CHLOE, by: ANNA }])
  expect(await lines(chat)).toHaveLength(3)
})

test('an application’s own UPDATE tells them, and silence does', async () => {
  const chat = await world.chat()
  await run('update chats set assigned_operator_id = $2 where id = $1', [chat, BORIS])
  await run(`set session_replication_role = replica; update chats set assigned_at = now() - interval '1 hour'; update operator_activity set last_activity_at = now() - interval '1 hour'; set session_replication_role = origin`)
  expect(await run('select chat_id from release_idle_chats()')).toEqual([{ chat_id: chat }])
  expect(await told(chat)).toEqual([{ kind: 'assigned', recipient: BORIS, by: null }, { kind: 'unassigned', recipient: BORIS, by: null }])
})

test('so it is however the table of chats was synced, and assign is none of its operations', async () => {
  await run(`select rota.sync_table('public.chats', '{id}', '{is_active}')`)
  const chat = await world.chat()
  expect(await world.act(SARA, 'assign', chat, { to: BORIS })).toMatchObject({ outcome: 'refused', code: 'invalid' })
  await world.act(SARA, 'claim', chat, { operator: BORIS })
  expect(await told(chat)).toEqual([{ kind: 'assigned', recipient: BORIS, by: SARA }])
  expect(await run(`select user_id, owned::int from user_assignment_stats() where table_name = 'chats'`)).toEqual([{ user_id: BORIS, owned: 1 }])
})
