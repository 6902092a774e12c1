// A database with operators and chats, and short words for what is done to them.
import { createWorld, operation, type Json, type World } from './world.js'

export const ANNA = 'aaaaaaaa-0000-4000-8000-000000000001'
export const BORIS = 'aaaaaaaa-0000-4000-8000-000000000002'
export const CHLOE = 'aaaaaaaa-0000-4000-8000-000000000003' // has room for three
export const SARA = 'aaaaaaaa-0000-4000-8000-000000000009' // supervisor
export const LEFT = 'aaaaaaaa-0000-4000-8000-000000000008' // no longer active
export const STRANGER = 'aaaaaaaa-0000-4000-8000-000000000007' // no operator at all

export interface ChatWorld extends World {
  /** A waiting chat, begun so many minutes ago; answers its id. */
  chat(minutesAgo?: number, more?: Json): Promise<string>
  row(chat: string): Promise<Json>
  /** Sends an operation on a chat, with the base that the person sees now, unless another is given. */
  act(person: string, name: string, chat: string, args?: Json, more?: Json): Promise<Json>
  history(chat: string): Promise<Json[]>
  /** No chat is left: what a test needs, it makes. */
  clear(): Promise<void>
}

export const OWN = { chat_state: 'waiting_assignment', assigned_operator_id: null }

export async function createChatWorld(): Promise<ChatWorld> {
  const world = await createWorld({ demo: false })
  for (const [id, name, capacity, role, active] of [
    [ANNA, 'Anna', 1, 'operator', true],
    [BORIS, 'Boris', 1, 'operator', true],
    [CHLOE, 'Chloe', 3, 'operator', true],
    [SARA, 'Sara', 1, 'supervisor', true],
    [LEFT, 'Left', 1, 'operator', false],
  ])
    await world.owner.query('insert into operators (id, name, capacity, role, is_active) values ($1, $2, $3, $4, $5)', [id, name, capacity, role, active])
  const row = async (chat: string): Promise<Json> => (await world.owner.query('select * from chats where id = $1', [chat])).rows[0]
  return {
    ...world,
    row,
    chat: async (minutesAgo = 1, more = {}) => {
      const columns = { created_at: new Date(Date.now() - minutesAgo * 60_000), ...more }
      const names = Object.keys(columns)
      const { rows } = await world.owner.query(
        `insert into chats (${names.join(', ')}) values (${names.map((_, at) => `$${at + 1}`).join(', ')}) returning id`,
        Object.values(columns),
      )
      return rows[0].id
    },
    act: async (person, name, chat, args = {}, more = {}) => {
      const seen = (await row(chat)) ?? OWN
      const base = { chat_state: seen['chat_state'], assigned_operator_id: seen['assigned_operator_id'] }
      return world.as(person).apply(operation({ name, table: 'chats', key: chat, args, set: {}, base, ...more }))
    },
    history: async (chat) =>
      (await world.owner.query('select operator_id, release_reason, released_at is null as open, operation, assigned_by from chat_assignments where chat_id = $1 order by assigned_at', [chat]))
        .rows,
    clear: async () => void (await world.owner.query('delete from chats; delete from chat_assignments')),
  }
}
