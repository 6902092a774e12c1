// What runs beside the people: schedulers, monitoring, senders, restored copies, and what grows.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ANNA, BORIS, CHLOE, type ChatWorld, createChatWorld } from './chatting.js'
import { type Json } from './world.js'

let world: ChatWorld
beforeAll(async () => void (world = await createChatWorld()))
afterAll(() => world.close())
beforeEach(() => world.clear())

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const backdate = (chat: string, column: string, ago: string) =>
  run(`set session_replication_role = replica; update chats set ${column} = now() - interval '${ago}' where id = '${chat}'; set session_replication_role = origin`)

describe('idle release', () => {
  test('is not kept from the silent by those who are at work, however few it takes at once', async () => {
    const chats: string[] = []
    for (const [operator, hours] of [[ANNA, 3], [CHLOE, 2], [BORIS, 1]] as const) {
      const chat = await world.chat()
      await world.act(operator, 'claim', chat, { operator })
      await backdate(chat, 'assigned_at', `${hours} hours`)
      chats.push(chat)
    }
    await run(`update operator_activity set last_activity_at = now() - interval '1 hour' where operator_id = $1`, [BORIS])
    expect(await run(`select chat_id from release_idle_chats('5 minutes', 1)`)).toEqual([{ chat_id: chats[2] }])
    expect(await run(`select chat_id from release_idle_chats('5 minutes', 1)`)).toEqual([])
  })
})

describe('the history of owners', () => {
  beforeAll(() =>
    run(`create table parcels (id int primary key, weight int, owner_id text); grant select, update on parcels to authenticated;
      create function hand_on() returns trigger language plpgsql as $$ begin if new.weight > 10 then new.owner_id := '${BORIS}'; end if; return new; end $$;
      create trigger hand_on before insert or update on parcels for each row execute function hand_on();
      select rota.sync_table('parcels', '{id}', '{weight}', 'owner_id')`),
  )
  const lines = () => run(`select from_owner, to_owner from assignment_history where table_name = 'parcels' order by id`)

  test('holds what the table’s own trigger made of a row, and says nothing of what has changed no owner', async () => {
    await run(`insert into parcels values (1, 1, null), (2, 20, '${ANNA}'), (3, 1, '${ANNA}')`)
    await run('update parcels set weight = 2 where id = 3; update parcels set weight = 11; delete from parcels where id = 1')
    expect(await lines()).toEqual([
      { from_owner: null, to_owner: BORIS }, { from_owner: null, to_owner: ANNA }, // as they came
      { from_owner: null, to_owner: BORIS }, { from_owner: ANNA, to_owner: BORIS },
      { from_owner: BORIS, to_owner: null },
    ])
    expect(await run(`select recipient from rota.outbox where payload ->> 'table' = 'parcels' and kind = 'unassigned' order by id`)).toEqual([{ recipient: ANNA }, { recipient: BORIS }])
  })
})
