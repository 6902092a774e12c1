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

describe('names that the kit was told', () => {
  const job = { table: 'errands', key: '1' }
  beforeEach(() =>
    run(`drop table if exists errands; create table errands (id int primary key, title text, owner_id text); grant select, insert, update on errands to authenticated;
      insert into errands values (1, 'Fetch tea', null); select rota.sync_table('errands', '{id}', '{title,owner_id}', 'owner_id')`),
  )
  const renamed = { code: '55000', message: expect.stringMatching(/renamed or dropped/), hint: expect.stringMatching(/rota\.sync_table\('public\.errands'/) }

  test('an owner column that was renamed fails by name until sync_table is called again, and nothing is confirmed that was not done', async () => {
    await run('alter table errands rename owner_id to holder')
    const op = assign('1', null, ANNA, { table: 'errands' })
    await expect(world.as(ANNA).apply(op)).rejects.toMatchObject(renamed)
    await expect(run(`update errands set holder = '${ANNA}'`)).rejects.toMatchObject(renamed)
    await run(`select rota.sync_table('errands', '{id}', '{title,holder}', 'holder')`)
    expect(await world.as(ANNA).apply(op)).toMatchObject({ outcome: 'refused', code: 'invalid' }) // as it names the old one
    expect(await world.as(ANNA).apply({ ...assign('1', null, ANNA, job), set: { holder: ANNA }, base: { holder: null } })).toMatchObject({ outcome: 'confirmed', record: { holder: ANNA } })
    expect(await run(`select to_owner from assignment_history where table_name = 'errands' order by id desc limit 1`)).toEqual([{ to_owner: ANNA }])
  })
  test('a key column that was renamed fails by name, and goes on under its new name with the versions that it had', async () => {
    const version = async () => (await run(`select version::text from rota.feed where table_name = 'errands' and key = '1'`))[0]!['version']
    const before = await version()
    await run('alter table errands rename id to number')
    await expect(run(`insert into errands values (2, 'Post', null)`)).rejects.toMatchObject(renamed)
    await expect(run('delete from errands')).rejects.toMatchObject(renamed)
    await expect(world.as(ANNA).apply(patch('1', { title: 'Fetch tea' }, { title: 'x' }, job))).rejects.toMatchObject(renamed)
    await expect(world.as(ANNA).pull({ tables: ['errands'] })).rejects.toMatchObject(renamed)
    const { cursor } = await world.as(ANNA).pull({ tables: ['chats'] })
    await run(`select rota.sync_table('errands', '{number}', '{title}', 'owner_id')`)
    expect(await version()).toBe(before)
    expect(await world.as(ANNA).pull({ tables: ['errands'], cursor })).toMatchObject({ whole: true, records: { errands: [{ number: 1 }] } })
    expect(await world.as(ANNA).apply(patch('1', { title: 'Fetch tea' }, { title: 'x' }, job))).toMatchObject({ outcome: 'confirmed' })
  })
  test('another column is still no new name of the key', async () => {
    await run(`alter table errands add column other int unique; update errands set other = 7; alter table errands alter column other set not null`)
    await expect(run(`select rota.sync_table('errands', '{other}', '{}')`)).rejects.toMatchObject({ code: '55000', message: expect.stringMatching(/can't change while it is synced/) })
    await run('alter table errands drop column id cascade')
    await expect(run(`select rota.sync_table('errands', '{other}', '{}')`)).rejects.toMatchObject({ code: '55000', message: expect.stringMatching(/can't change while it is synced/) })
  })
})

describe('keys that equal what is spelt differently', () => {
  test('are refused where the table is to be synced, in words', async () => {
    await run(`create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      create domain any_case_text as text collate any_case; create table people_a (email text collate any_case primary key); create table people_b (email any_case_text primary key);
      create table spans (lasts interval primary key); create table documents (a int, body jsonb, primary key (a, body))`)
    for (const [table, key] of [['people_a', 'email'], ['people_b', 'email'], ['spans', 'lasts'], ['documents', 'a,body']])
      await expect(run(`select rota.sync_table('${table}', '{${key}}', '{}')`)).rejects.toMatchObject({ code: '42P16', message: expect.stringMatching(/spelt differently/) })
  })
  test('a key that is padded is spelt with its blanks, and every other spelling is invalid', async () => {
    await run(`create table codes (code char(5) primary key, words text); grant select, update on codes to authenticated; insert into codes values ('ab', 'x');
      select rota.sync_table('codes', '{code}', '{words}')`)
    const change = (key: string) => world.as(ANNA).apply(patch(key, { words: 'x' }, { words: 'y' }, { table: 'codes' }))
    expect(await change('ab')).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect(await change('ab   ')).toMatchObject({ outcome: 'confirmed', record: { words: 'y' } })
  })
})

describe('the fields that operations on chats set', () => {
  beforeAll(async () => {
    await run(`grant insert on chats to authenticated; grant update on chats to authenticated; create policy anybody on chats for insert to authenticated with check (true)`)
    await run(`select rota.sync_table('public.chats', '{id}', '{is_active,chat_state,assigned_operator_id,last_operator_id,operator_replied_at,assigned_at}', 'assigned_operator_id')`)
  })
  afterAll(async () => {
    await run(`drop policy anybody on chats; revoke insert, update on chats from authenticated; grant update (is_active) on chats to authenticated`)
    await syncChats('null')
  })
  test('are set by no patch and no assign, whatever sync_table was told', async () => {
    const chat = await world.chat()
    for (const set of [{ chat_state: 'completed' }, { assigned_operator_id: ANNA }, { last_operator_id: ANNA }, { operator_replied_at: '2026-01-01T00:00:00Z' }, { assigned_at: null }])
      expect(await world.as(ANNA).apply(patch(chat, { ...OWN, ...Object.fromEntries(Object.keys(set).map((name) => [name, null])) }, set, { table: 'chats' }))).toMatchObject({ outcome: 'refused', code: 'invalid' })
    const op = operation({ name: 'assign', table: 'chats', key: chat, args: { to: ANNA }, set: { assigned_operator_id: ANNA }, base: OWN })
    expect(await world.as(ANNA).apply(op)).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect(await world.row(chat)).toMatchObject(OWN)
    expect(await world.as(ANNA).apply(patch(chat, { is_active: true }, { is_active: false }, { table: 'chats' }))).toMatchObject({ outcome: 'confirmed' })
  })
  test('begin as those of a chat that waits for anybody', async () => {
    const begin = (n: number, fields: Json) => world.as(ANNA).apply(insert(`cccccccc-0000-4000-8000-00000000000${n}`, fields, { table: 'chats' }))
    expect(await begin(1, { chat_state: 'assigned', assigned_operator_id: ANNA })).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect(await begin(2, { chat_state: 'completed' })).toMatchObject({ outcome: 'refused', code: 'invalid' })
    expect(await begin(3, OWN)).toMatchObject({ outcome: 'confirmed', record: OWN })
  })
})
