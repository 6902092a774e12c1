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

describe('a chat is stuck', () => {
  const stuck = async (hours: number) => (await run('select chat_id from detect_stuck_chats($1)', [hours])).map((row) => row['chat_id'])
  test('from when it came into its state, however often its user has written since', async () => {
    const chat = await world.chat(3 * 1440)
    expect(await stuck(24)).toEqual([chat])
    await run('select record_user_message($1)', [chat])
    expect(await stuck(24)).toEqual([chat])
    expect(await run('select round(hours_in_state)::int h from detect_stuck_chats(24)')).toEqual([{ h: 72 }])
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    expect(await stuck(0.1)).toEqual([])
  })
  test('also while it is passed on from one operator to the next', async () => {
    const chat = await world.chat()
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    await backdate(chat, 'state_changed_at', '2 days')
    await world.act(ANNA, 'transfer', chat, { to: BORIS })
    expect(await stuck(24)).toEqual([chat])
  })
  test('anew when its user’s message brought it back, and not by the messages after that', async () => {
    const chat = await world.chat(9000)
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    await world.act(ANNA, 'reply', chat)
    await backdate(chat, 'state_changed_at', '2 days')
    expect(await stuck(24)).toEqual([chat])
    await run('select record_user_message($1)', [chat])
    expect(await stuck(24)).toEqual([])
    await backdate(chat, 'state_changed_at', '2 days')
    await run('select record_user_message($1)', [chat])
    expect(await stuck(24)).toEqual([chat])
  })
  test('that has no times at all from when the kit came', async () => {
    const chat = await world.chat(0, { created_at: null })
    await run(`set session_replication_role = replica; update chats set state_changed_at = null; set session_replication_role = origin`)
    expect(await stuck(24)).toEqual([])
    await run(`update rota.adopted set since = now() - interval '2 days' where name = 'chats'`)
    expect(await stuck(24)).toEqual([chat])
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
