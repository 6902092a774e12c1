// What a client says of chats that it sees is what the server says of the same rows: who waits and how long, what is stuck, and which
// operators have been silent for too long.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ANNA, BORIS, CHLOE, type ChatWorld, createChatWorld, SARA } from './chatting.js'
import { type Predictor, startPredictor } from './predict.js'
import { Chance } from './scenes.js'
import type { Json } from './world.js'

const MINUTE = 60_000
let world: ChatWorld
let predictor: Predictor
beforeAll(async () => {
  predictor = await startPredictor()
  world = await createChatWorld()
  await world.owner.query(`select rota.sync_table('public.operator_activity', '{operator_id,chat_id}', '{}')`)
}, 600_000)
afterAll(async () => {
  predictor.close()
  await world.close()
})

/** Some time ago, a while off every bound that is asked about. */
const ago = (chance: Chance, minutes: number) => new Date(Date.now() - (chance.below(minutes) + 0.5) * MINUTE)

async function scatter(chance: Chance): Promise<void> {
  await world.owner.query('delete from operator_activity')
  await world.clear()
  const client = await world.owner.connect()
  await client.query('begin; set local session_replication_role = replica')
  for (let n = 10; n < 40; n += 1) {
    const state = chance.pick(['waiting_assignment', 'waiting_assignment', 'assigned', 'assigned', 'waiting_real_user_reply', 'completed'])
    const operator = chance.pick([ANNA, BORIS, CHLOE])
    const id = `00000000-0000-4000-8000-0000000000${n}`
    const times = state === 'assigned' || chance.percent(60) ? [ago(chance, 12)] : [null]
    // Only of chats whose state has changed since the kit came is it certain since when; of others where nothing was released.
    const isKnown = chance.percent(80)
    await client.query(
      `insert into chats (id, chat_state, assigned_operator_id, last_operator_id, operator_replied_at, is_active, created_at, last_message_at, assigned_at, state_changed_at, rota_version)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, nextval('rota.version'))`,
      [
        id, state, state === 'assigned' ? operator : null, operator, state === 'waiting_real_user_reply' ? ago(chance, 600) : null, chance.percent(80), ago(chance, 600),
        chance.percent(70) ? ago(chance, 600) : null, isKnown || state === 'assigned' ? times[0] : null, isKnown ? ago(chance, 600) : null,
      ],
    )
    if (state === 'assigned') for (const who of new Set([operator, chance.pick([ANNA, BORIS, CHLOE])]))
      if (chance.percent(70)) await client.query('insert into operator_activity (operator_id, chat_id, started_at, last_activity_at, rota_version) values ($1, $2, $3, $3, nextval($4))', [who, id, ago(chance, 12), 'rota.version'])
  }
  await client.query('commit')
  client.release()
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])('waits, stuck and idle chats are the same on both sides, seed %i', async (seed) => {
  const chance = new Chance(seed)
  await scatter(chance)
  const { records } = await world.as(SARA).pull({ tables: ['chats', 'operator_activity'] })
  const [chats, activity] = [records.chats as Json[], records.operator_activity as Json[]]
  const hours = 1 + chance.below(8)
  const client = await world.owner.connect()
  await client.query('begin')
  const ask = async (text: string, values: unknown[] = []): Promise<Json[]> => (await client.query(text, values)).rows as Json[]
  const nowMs = ((await ask('select now()'))[0]!['now'] as Date).getTime()
  const said = await predictor.ask({ figures: { chats, activity, nowMs, hours } })
  const [status] = await ask('select waiting::int, longest_wait_minutes::float8 longest, average_wait_minutes::float8 average from get_assignment_queue_status()')
  const inMinutes = (ms: number) => Math.round(ms / 6_000) / 10
  expect({ waiting: said['waits'].count, longest: inMinutes(said['waits'].longestMs), average: expect.closeTo(status!['average'], 0) }).toEqual({ waiting: status!['waiting'], longest: expect.closeTo(status!['longest'], 0), average: inMinutes(said['waits'].averageMs) })
  const ids = (rows: Json[]) => rows.map((row) => row['chat_id'] as string).sort()
  expect([...said['stuck']].sort()).toEqual(ids(await ask('select chat_id from detect_stuck_chats($1)', [hours])))
  const since = new Map((await ask('select id, floor(extract(epoch from rota.in_state_since(c)) * 1000)::float8 at from chats c')).map((row) => [row['id'], row['at']]))
  expect(said['sinceMs']).toEqual(chats.map(({ id }) => since.get(id)))
  const idle = ids(await ask('select chat_id from release_idle_chats()'))
  expect([...said['idle']].sort()).toEqual(idle)
  expect(idle.length).toBeGreaterThan(0)
  await client.query('rollback')
  client.release()
})
