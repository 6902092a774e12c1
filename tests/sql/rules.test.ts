// What is answered where an application's own rights, guards, keys and names meet the kit's.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ANNA, BORIS, type ChatWorld, createChatWorld, OWN, SARA, STRANGER } from './chatting.js'
import { assign, insert, type Json, operation, patch } from './world.js'

let world: ChatWorld
beforeAll(async () => void (world = await createChatWorld()))
afterAll(() => world.close())
beforeEach(() => world.clear())

const NOBODY = '00000000-0000-4000-8000-000000000000'
const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const request = (person: string) => world.act(person, 'request_next', NOBODY, { operator: person })
/** While somebody else has this open. */
const beside = async (text: string, values: unknown[], work: () => Promise<void>) => {
  const busy = await world.open()
  try {
    await busy.query(text, values)
    await work()
  } finally {
    await busy.query('rollback')
    busy.release()
  }
}
const syncChats = (rest: string) => run(`select rota.sync_table('public.chats', '{id}', '{is_active}', ${rest})`)

describe('who may see chats and change none', () => {
  beforeAll(() => run(`alter policy change_as_operator on chats using (rota.actor() = '${BORIS}')`))
  afterAll(() => run(`alter policy change_as_operator on chats using ((select rota.is_operator()))`))

  test('hears that the queue is empty, and is not told to come again', async () => {
    const chat = await world.chat()
    expect(await request(ANNA)).toMatchObject({ outcome: 'refused', code: 'queue-empty' })
    expect(await request(BORIS)).toMatchObject({ outcome: 'confirmed', chosen: chat })
  })
  test('while who could have the last chat, which is locked for a change or a deletion, comes again', async () => {
    const chat = await world.chat()
    for (const lock of ['select from chats where id = $1 for no key update', 'select from chats where id = $1 for update', 'delete from chats where id = $1'])
      await beside(lock, [chat], async () => {
        expect(await request(BORIS)).toMatchObject({ outcome: 'retry', code: 'busy' })
        expect(await request(ANNA)).toMatchObject({ outcome: 'refused', code: 'queue-empty' })
      })
  })
})

describe('a guard on chats', () => {
  beforeAll(async () => {
    await run(`create function chat_guard(op jsonb, current_row jsonb, actor text) returns jsonb language sql as $$
      select case when current_row ->> 'created_at' like '2020%' then '{"code": "forbidden", "message": "not this old one"}'::jsonb end $$`)
    await syncChats(`null, 'chat_guard(jsonb, jsonb, text)'`)
  })
  afterAll(() => syncChats('null'))
  const old = (day: number) => world.chat(0, { created_at: `2020-01-0${day}T00:00:00Z` })

  test('passes over the chats that it refuses, and does not stop the queue', async () => {
    await old(1)
    await old(2)
    const allowed = await world.chat()
    expect(await request(ANNA)).toMatchObject({ outcome: 'confirmed', chosen: allowed })
  })
  test('that refuses all that wait says why, and an empty queue is empty', async () => {
    expect(await request(ANNA)).toMatchObject({ outcome: 'refused', code: 'queue-empty' })
    await old(1)
    expect(await request(ANNA)).toMatchObject({ outcome: 'refused', code: 'forbidden', message: 'not this old one' })
  })
  test('leaves those that it refuses to nobody’s lock, and waits for those that somebody has', async () => {
    const [refused, allowed] = [await old(1), await world.chat()]
    await beside('select from chats where id = any ($1) for no key update', [[refused, allowed]], async () => {
      expect(await request(ANNA)).toMatchObject({ outcome: 'retry', code: 'busy' })
    })
    expect(await request(ANNA)).toMatchObject({ chosen: allowed })
  })
})

describe('the order of refusals', () => {
  test('a chat that is not there comes before an operator who is not, and tells nobody who is one', async () => {
    for (const [person, name, args] of [[ANNA, 'claim', { operator: STRANGER }], [STRANGER, 'claim', { operator: ANNA }], [STRANGER, 'transfer', { to: STRANGER }]] as const)
      expect(await world.act(person, name, NOBODY, args)).toMatchObject({ outcome: 'refused', code: 'not-found' })
    expect(await world.act(ANNA, 'claim', await world.chat(), { operator: STRANGER })).toMatchObject({ outcome: 'refused', code: 'unknown-operator' })
    expect(await world.act(SARA, 'request_next', NOBODY, { operator: STRANGER })).toMatchObject({ outcome: 'refused', code: 'unknown-operator' })
  })
  test('a name that only a helper of the kit has is no operation', async () => {
    const chat = await world.chat()
    expect(await world.act(ANNA, 'chat', chat)).toMatchObject({ outcome: 'refused', code: 'invalid', message: 'there is no operation named chat' })
  })
  test('a count that is written with a fraction of nothing is the whole number', async () => {
    const slot = { user_id: ANNA, starts_at: '2026-11-02T09:00', ends_at: '2026-11-02T10:00', time_zone: 'UTC', is_active: true }
    const op = JSON.stringify(insert('s-1', { ...slot, recurrence: { freq: 'weekly', byDay: ['MO'], count: 2 } }, { table: 'availability' }))
    const [answer] = await world.as(ANNA).sql('select public.apply_operation($1::jsonb) a', [op.replace('"count":2', '"count":2.0')])
    expect(answer!['a']).toMatchObject({ outcome: 'confirmed' })
    expect(await run(`select starts_at from free_slots($1, '2026-11-01', '2027-01-01')`, [ANNA])).toHaveLength(2)
    await run('delete from availability')
  })
  test('a reason given by hand may be no white space either', async () => {
    const chat = await world.chat()
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    for (const reason of ['', ' ', '\u00a0', '\u3000\t', 'x'.repeat(501)])
      await expect(run('select release_and_reassign_chat($1, $2)', [chat, reason])).rejects.toMatchObject({ code: 'RT001', detail: 'invalid' })
    await run('select release_and_reassign_chat($1, null)', [chat])
    expect(await world.history(chat)).toMatchObject([{ release_reason: 'released' }])
  })
})
