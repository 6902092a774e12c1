// Chats by hand, by a scheduler and by many at once: the same history and feed as by operations, idle release, the views
// that watch, and what row locks hold.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { migrate, migrateDown } from '../../www/server/migrate.js'
import { ANNA, BORIS, CHLOE, type ChatWorld, createChatWorld, OWN, SARA } from './chatting.js'
import { createWorld, type Json, KIT, operation } from './world.js'

let world: ChatWorld
beforeAll(async () => void (world = await createChatWorld()))
afterAll(() => world.close())
beforeEach(() => world.clear())

const run = async (text: string, values: unknown[] = []): Promise<Json[]> => (await world.owner.query(text, values)).rows as Json[]
const feed = async (chat: string) => (await run('select version::text, deleted from rota.feed where key = $1', [chat]))[0]
const minutes = (chat: string, ago: number) =>
  run(`update operator_activity set last_activity_at = now() - $2 * interval '1 minute' where chat_id = $1`, [chat, ago]).then(() =>
    run(`alter table chats disable trigger zz_rota_keep_chat; update chats set assigned_at = now() - ${ago} * interval '1 minute', state_changed_at = now() - ${ago} * interval '1 minute' where id = '${chat}'; alter table chats enable trigger zz_rota_keep_chat`),
  )
const idle = async () => (await run('select * from release_idle_chats()')).map((row) => row['chat_id'])

describe('Test 3: Idle Detection', () => {
  test("Operator doesn't respond for 5+ minutes, idle detection runs → Chat is reassigned", async () => {
    const chat = await world.chat()
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    await minutes(chat, 4)
    expect(await idle()).toEqual([])
    await minutes(chat, 6)
    expect(await idle()).toEqual([chat])
    expect(await world.row(chat)).toMatchObject({ chat_state: 'waiting_assignment', assigned_operator_id: null, last_operator_id: ANNA })
    expect(await world.history(chat)).toMatchObject([{ operator_id: ANNA, release_reason: 'idle' }])
    expect(await world.act(BORIS, 'request_next', chat, { operator: BORIS })).toMatchObject({ chosen: chat })
  })
  test('Operator sends reply, idle detection runs → Chat is NOT reassigned (correct behavior)', async () => {
    const chat = await world.chat()
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    await world.act(ANNA, 'reply', chat)
    await run(`update chats set operator_replied_at = now() - interval '9 hours', assigned_at = now() - interval '9 hours' where id = $1`, [chat])
    expect(await idle()).toEqual([])
    expect(await world.row(chat)).toMatchObject({ chat_state: 'waiting_real_user_reply' })
  })
  test('an operator who is at work in the chat is not silent, and nobody else can say so', async () => {
    const chat = await world.chat()
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    await minutes(chat, 30)
    expect(await world.as(BORIS).sql('select record_operator_activity($1) a', [chat])).toEqual([{ a: false }])
    expect(await world.as(ANNA).sql('select record_operator_activity($1) a', [chat])).toEqual([{ a: true }])
    expect(await idle()).toEqual([])
  })
  test('two schedulers at once release each chat once, and one whose row is locked is left alone', async () => {
    const chats = []
    for (let at = 0; at < 3; at += 1) {
      chats.push(await world.chat())
      await world.act(CHLOE, 'claim', chats[at]!, { operator: CHLOE })
      await minutes(chats[at]!, 10)
    }
    const busy = await world.open()
    await busy.query('select from chats where id = $1 for update', [chats[0]])
    const released = (await Promise.all([idle(), idle()])).flat()
    expect(released.sort()).toEqual(chats.slice(1).sort())
    await busy.query('rollback')
    busy.release()
    expect(await idle()).toEqual([chats[0]])
  })
  test('pg_cron is told where it exists, and told to forget on the way back', async () => {
    const own = await createWorld({ kit: false })
    await own.owner.query(`create schema cron; create table cron.job (name text, schedule text, command text);
      create function cron.schedule(a text, b text, c text) returns bigint language sql as 'insert into cron.job values (a, b, c); select 1::bigint';
      create function cron.unschedule(a text) returns boolean language sql as 'delete from cron.job where name = a; select true'`)
    const client = await own.owner.connect()
    await migrate(client, [KIT])
    const { rows } = await client.query('select * from cron.job')
    expect(rows).toEqual([{ name: 'rota-release-idle-chats', schedule: '* * * * *', command: 'select public.release_idle_chats()' }])
    await client.query(rows[0].command)
    await migrateDown(client, [KIT])
    expect((await client.query('select * from cron.job')).rows).toEqual([])
    client.release()
    await own.close()
  })
  test('the way back works where the job was removed, or pg_cron came after the kit', async () => {
    const own = await createWorld({ demo: false })
    await own.owner.query(`create schema cron; create function cron.schedule(a text, b text, c text) returns bigint language sql as 'select 1::bigint';
      create function cron.unschedule(a text) returns boolean language plpgsql as $$ begin raise exception 'could not find valid entry for job ''%''', a; end $$`)
    const client = await own.owner.connect()
    expect(await migrateDown(client, [KIT])).toContain('0007_rota_chat_monitoring.sql')
    client.release()
    await own.close()
  })
})

describe('by hand from psql', () => {
  test('the whole life of a chat leaves the same chat, history and feed as operations do', async () => {
    const [byHand, byOperation] = [await world.chat(5), await world.chat(4)]
    const steps: [string, string, Json, string][] = [
      ['assign_chat_to_operator($2)', 'request_next', { operator: ANNA }, ANNA],
      ["release_and_reassign_chat($1, 'manual_fix')", 'release', { reason: 'manual_fix' }, ANNA],
      ['assign_chat_to_operator($2)', 'request_next', { operator: BORIS }, BORIS],
      ['transfer_chat($1, $2)', 'transfer', { to: CHLOE }, BORIS],
      ['record_operator_reply($1)', 'reply', {}, CHLOE],
      ['record_user_message($1)', 'user_message', {}, CHLOE],
      ['complete_chat($1)', 'complete', {}, CHLOE],
    ]
    const seen: Json[][] = [[], []]
    for (const [at, chat] of [byHand, byOperation].entries())
      for (const [call, name, args, person] of steps) {
        const before = BigInt((await feed(chat))!['version'])
        const values = [...(call.includes('$1') ? [chat] : []), ...(call.includes('$2') ? [args['operator'] ?? args['to']] : [])]
        if (at === 0) await run(`select ${call.includes('$1') ? call : call.replace('$2', '$1')}`, values)
        else expect(await world.act(person, name, chat, args)).toMatchObject({ outcome: 'confirmed' })
        expect(BigInt((await feed(chat))!['version'])).toBeGreaterThan(before)
        const { chat_state, assigned_operator_id, last_operator_id, operator_replied_at } = await world.row(chat)
        seen[at]!.push({ chat_state, assigned_operator_id, last_operator_id, replied: operator_replied_at !== null })
      }
    expect(seen[0]).toEqual(seen[1])
    const plain = (entries: Json[]) => entries.map(({ operator_id, release_reason, open }) => ({ operator_id, release_reason, open }))
    expect(plain(await world.history(byHand))).toEqual(plain(await world.history(byOperation)))
    expect((await world.history(byHand)).map((entry) => entry['release_reason'])).toEqual(['manual_fix', 'transferred', 'replied'])
  })
  test('a first message makes the chat, waiting, and each later one brings it back', async () => {
    const [{ a: first }] = (await run('select start_chat() a')) as [Json]
    expect(await world.row(first)).toMatchObject({ chat_state: 'waiting_assignment', assigned_operator_id: null, is_active: true, last_message_at: expect.any(Date), created_at: expect.any(Date) })
    expect(await feed(first)).toMatchObject({ deleted: false })
    expect((await run('select assign_chat_to_operator($1) a', [ANNA]))[0]).toEqual({ a: first })
    await run('select record_operator_reply($1)', [first])
    expect(await run('select start_chat($1) a', [{ id: first }])).toEqual([{ a: first }])
    expect(await world.row(first)).toMatchObject({ chat_state: 'waiting_assignment', last_operator_id: ANNA })
    const id = 'dddddddd-0000-4000-8000-000000000001'
    const told = { id, created_at: '2026-01-02T03:04:05Z' }
    expect(await run('select start_chat($1) a', [told])).toEqual([{ a: id }])
    expect((await world.row(id))['created_at']).toEqual(new Date(told.created_at))
    for (const wrong of [{ chat_state: 'assigned' }, { assigned_operator_id: ANNA }, { subject: 'none such' }, [], 'x', null])
      await expect(run('select start_chat($1::jsonb)', [JSON.stringify(wrong)]), JSON.stringify(wrong)).rejects.toMatchObject({ code: 'RT001', detail: 'invalid' })
    await run('select complete_chat($1)', [id])
    await expect(run('select start_chat($1)', [{ id }])).rejects.toMatchObject({ detail: 'illegal-transition' })
    await expect(world.as(SARA).sql('select start_chat()')).rejects.toMatchObject({ code: '42501' })
  })
  test('two first messages of one chat at once make one chat', async () => {
    const id = 'dddddddd-0000-4000-8000-000000000002'
    const ids = await Promise.all(Array.from({ length: 10 }, () => run('select start_chat($1) a', [{ id }])))
    expect(new Set(ids.map(([row]) => row!['a']))).toEqual(new Set([id]))
    expect(await run('select count(*)::int n from chats')).toEqual([{ n: 1 }])
  })
  test('a client hears through its cursor of what was done by hand', async () => {
    const chat = await world.chat()
    const { cursor } = await world.as(BORIS).pull({ tables: ['chats'] })
    await run('select assign_chat_to_operator($1)', [ANNA])
    expect((await world.as(BORIS).pull({ tables: ['chats'], cursor }))['records'].chats).toMatchObject([{ id: chat, chat_state: 'assigned', rota_op: null }])
  })
  test('illegal steps, unknown chats and operators, and full hands raise, and change nothing', async () => {
    const [chat, other] = [await world.chat(5), await world.chat(4)]
    const raises = (call: string, detail: string) => expect(run(`select ${call}`), call).rejects.toMatchObject({ code: 'RT001', detail })
    await raises(`record_operator_reply('${chat}')`, 'illegal-transition')
    await raises(`release_and_reassign_chat('${chat}', 'x')`, 'illegal-transition')
    await raises(`release_and_reassign_chat(gen_random_uuid(), 'x')`, 'not-found')
    await raises(`assign_chat_to_operator(gen_random_uuid())`, 'unknown-operator')
    expect((await run('select assign_chat_to_operator($1) a', [ANNA]))[0]).toEqual({ a: chat })
    await raises(`assign_chat_to_operator('${ANNA}')`, 'capacity-exceeded')
    await raises(`release_and_reassign_chat('${chat}', '')`, 'invalid')
    await run('select complete_chat($1)', [other])
    await raises(`record_user_message('${other}')`, 'illegal-transition')
    expect((await run('select assign_chat_to_operator($1) a', [BORIS]))[0]).toEqual({ a: null })
  })
  test('a transfer by hand to nobody is refused, and one to who has the chat changes nothing, as an operation would', async () => {
    const [full, roomy] = [await world.chat(5), await world.chat(4)]
    await world.act(ANNA, 'claim', full, { operator: ANNA })
    await world.act(CHLOE, 'claim', roomy, { operator: CHLOE })
    for (const [chat, operator] of [[full, ANNA], [roomy, CHLOE]] as const) {
      const before = await world.row(chat)
      await expect(run('select transfer_chat($1, null)', [chat])).rejects.toMatchObject({ code: 'RT001', detail: 'invalid' })
      await run('select transfer_chat($1, $2)', [chat, operator])
      expect(await world.row(chat)).toEqual(before)
      expect(await world.history(chat)).toMatchObject([{ operator_id: operator, open: true }])
    }
  })
  test('plain SQL can break no rule: states in order, an operator with an assignment, no more than capacity', async () => {
    const chat = await world.chat()
    const raises = (set: string, error: Json) => expect(run(`update chats set ${set} where id = $1`, [chat]), set).rejects.toMatchObject(error)
    await raises(`chat_state = 'waiting_real_user_reply'`, { detail: 'illegal-transition' })
    await raises(`chat_state = 'assigned'`, { code: '23514', constraint: 'chats_assigned_has_operator' })
    await raises(`chat_state = 'paused'`, { detail: 'illegal-transition' })
    await run('select complete_chat($1)', [chat])
    await raises(`chat_state = 'waiting_assignment'`, { detail: 'illegal-transition' })
    await raises(`assigned_operator_id = '${ANNA}'`, { detail: 'illegal-transition' })
    await expect(run(`insert into chats (chat_state) values ('waiting_real_user_reply')`)).rejects.toMatchObject({ constraint: 'chats_waiting_reply_has_replied_at' })
    await expect(run(`insert into chats (chat_state) values ('paused')`)).rejects.toMatchObject({ constraint: 'chats_state_known' })
    await expect(run(`insert into chats (assigned_operator_id) select '${ANNA}' from generate_series(1, 2)`)).rejects.toMatchObject({ detail: 'capacity-exceeded' })
  })
})

describe('monitoring', () => {
  test('the views say what the seed asks of them', async () => {
    const [often, stuck] = [await world.chat(600), await world.chat(300)]
    for (let turn = 0; turn < 4; turn += 1) {
      await world.act(ANNA, 'claim', often, { operator: ANNA })
      await world.act(ANNA, 'reply', often)
      await world.act(ANNA, 'user_message', often)
    }
    await world.act(BORIS, 'claim', stuck, { operator: BORIS })
    await minutes(stuck, 6)
    await idle()
    await world.act(CHLOE, 'claim', stuck, { operator: CHLOE })
    await minutes(stuck, 130)
    const summary = Object.fromEntries((await run('select chat_state, chats::int from chat_state_summary')).map((row) => [row['chat_state'], row['chats']]))
    expect(summary).toEqual({ waiting_assignment: 1, assigned: 1, waiting_real_user_reply: 0, completed: 0 })
    expect(await run('select id, round(wait_minutes)::int as minutes from chats_waiting')).toEqual([{ id: often, minutes: 600 }])
    expect(await run('select waiting::int, assigned::int, waiting_for_user::int, round(longest_wait_minutes)::int longest, operators_active::int, operators_free::int from get_assignment_queue_status()')).toEqual([
      { waiting: 1, assigned: 1, waiting_for_user: 0, longest: 600, operators_active: 4, operators_free: 4 },
    ])
    expect(await run('select chat_id, chat_state, round(hours_in_state)::int h from detect_stuck_chats(1)')).toEqual([{ chat_id: stuck, chat_state: 'assigned', h: 2 }])
    expect(await run('select * from detect_stuck_chats(3)')).toEqual([])
    expect(await run('select operator_name, total_assignments::int t, completed::int c, active::int a from operator_assignment_history order by 1')).toEqual([
      { operator_name: 'Anna', t: 4, c: 4, a: 0 }, { operator_name: 'Boris', t: 1, c: 1, a: 0 }, { operator_name: 'Chloe', t: 1, c: 0, a: 1 },
    ])
    expect(await run('select id, operator_name, assignment_count::int n from chats_often_reassigned')).toEqual([{ id: often, operator_name: 'Anna', n: 4 }])
    expect(await run(`select operator_name, messages::int m, idle_incidents::int i, average_response_seconds is not null as timed from operator_performance where operator_name in ('Anna', 'Boris') order by 1`)).toEqual([
      { operator_name: 'Anna', m: 4, i: 0, timed: true }, { operator_name: 'Boris', m: 0, i: 1, timed: false },
    ])
    expect(await run('select operator_id, chat_id from idle_incidents')).toEqual([{ operator_id: BORIS, chat_id: stuck }])
  })
  test('operators see through the views what their rights let them, and nobody else anything', async () => {
    const chat = await world.chat()
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    const seen = async (person: string) => (await world.as(person).sql('select count(*)::int n from operator_assignment_history'))[0]!['n']
    expect([await seen(ANNA), await seen(BORIS), await seen(SARA)]).toEqual([1, 0, 1])
    expect(await world.as('nobody').sql('select sum(chats)::int n from chat_state_summary')).toEqual([{ n: 0 }])
    await expect(world.as(null, 'anon').sql('select * from chat_state_summary')).rejects.toMatchObject({ code: '42501' })
  })
  test("the document's own monitoring queries run as they are", async () => {
    for (const query of [
      `SELECT id, chat_state, EXTRACT(EPOCH FROM (NOW() - created_at)) / 60 as wait_minutes, last_message_at FROM chats WHERE chat_state = 'waiting_assignment' AND is_active = true ORDER BY created_at ASC LIMIT 10`,
      `SELECT o.name as operator_name, COUNT(*) as total_assignments, COUNT(CASE WHEN ca.released_at IS NOT NULL THEN 1 END) as completed FROM chat_assignments ca JOIN operators o ON ca.operator_id = o.id WHERE ca.assigned_at > NOW() - INTERVAL '24 hours' GROUP BY o.id, o.name`,
      `SELECT c.id, c.chat_state, c.last_operator_id, o.name, COUNT(ca.id) FROM chats c LEFT JOIN operators o ON c.last_operator_id = o.id LEFT JOIN chat_assignments ca ON c.id = ca.chat_id WHERE c.is_active = true GROUP BY c.id, c.chat_state, c.last_operator_id, o.name HAVING COUNT(ca.id) > 3`,
      'SELECT * FROM chat_state_summary', 'SELECT * FROM get_assignment_queue_status()', 'SELECT * FROM detect_stuck_chats(1)',
    ])
      expect(await run(query)).toBeInstanceOf(Array)
  })
  test('the queue is read from its index', async () => {
    await run(`insert into chats (created_at) select now() from generate_series(1, 3000); analyze chats`)
    const plan = await run(`explain select * from chats c where c.chat_state = 'waiting_assignment' and c.is_active and c.last_operator_id is distinct from $1 order by c.created_at, (c.id::text) collate "C" limit 1 for no key update skip locked`.replace('$1', `'${ANNA}'`))
    expect(JSON.stringify(plan)).toContain('idx_chats_waiting_assignment')
  })
})

describe('at the same instant', () => {
  const many = Array.from({ length: 20 }, (_, at) => `bbbbbbbb-0000-4000-8000-${String(at).padStart(12, '0')}`)
  beforeAll(async () => {
    for (const id of many) await run('insert into operators (id, name) values ($1, $2)', [id, `Many ${id.slice(-2)}`])
  })
  const ask = async (person: string): Promise<Json> => {
    const op = operation({ name: 'request_next', table: 'chats', key: '00000000-0000-4000-8000-000000000000', args: { operator: person }, base: OWN })
    for (;;) {
      const answer = await world.as(person).apply(op)
      if (answer['outcome'] !== 'retry') return answer
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  test('Multiple operators request assignment simultaneously → Only one gets the chat (row locking)', async () => {
    const chat = await world.chat()
    const answers = await Promise.all(many.map(ask))
    expect(answers.filter((answer) => answer['chosen'] === chat)).toHaveLength(1)
    expect(answers.filter((answer) => answer['code'] === 'queue-empty')).toHaveLength(19)
    expect(await world.history(chat)).toHaveLength(1)
  })
  test('twenty operators and twenty chats: each gets one, and no two the same', async () => {
    for (let at = 0; at < 20; at += 1) await world.chat(at)
    const answers = await Promise.all(many.map(ask))
    expect(new Set(answers.map((answer) => answer['chosen'])).size).toBe(20)
  })
  test('one operator who asks twenty times at once gets as many as they may, by every way in', async () => {
    for (let at = 0; at < 20; at += 1) await world.chat(at)
    const chats = (await run('select id from chats')).map((row) => row['id'] as string)
    await Promise.allSettled([
      ...many.slice(0, 6).map(() => ask(CHLOE)),
      ...chats.slice(0, 6).map((chat) => world.act(CHLOE, 'claim', chat, { operator: CHLOE }, { base: OWN })),
      ...chats.slice(6, 10).map(() => run('select assign_chat_to_operator($1)', [CHLOE])),
      ...chats.slice(10, 14).map((chat) => run('update chats set assigned_operator_id = $2 where id = $1', [chat, CHLOE])),
    ])
    expect(await run('select count(*)::int n from chats where assigned_operator_id = $1', [CHLOE])).toEqual([{ n: 3 }])
  })
  test('a transaction of higher isolation can not exceed capacity on an old snapshot', async () => {
    const [first, second] = [await world.chat(2), await world.chat(1)]
    const old = await world.owner.connect()
    await old.query('begin isolation level repeatable read; select count(*) from chats')
    await world.act(ANNA, 'claim', first, { operator: ANNA })
    await expect(old.query('update chats set assigned_operator_id = $2 where id = $1', [second, ANNA])).rejects.toMatchObject({ code: expect.stringMatching(/40001|RT001/) })
    await old.query('rollback')
    old.release()
    expect(await run('select count(*)::int n from chats where assigned_operator_id = $1', [ANNA])).toEqual([{ n: 1 }])
  })
  test('one operation sent from twenty connections at once has one effect', async () => {
    const chat = await world.chat()
    const op = operation({ name: 'claim', table: 'chats', key: chat, args: { operator: ANNA }, base: OWN })
    const answers = await Promise.all(many.map(() => world.as(ANNA).apply(op)))
    expect(answers.filter((answer) => !answer['replayed'])).toHaveLength(1)
    expect(new Set(answers.map((answer) => JSON.stringify({ ...answer, replayed: null }))).size).toBe(1)
    expect(await world.history(chat)).toHaveLength(1)
  })
  test('operations repeated and in any order have each one effect, however often and late they come again', async () => {
    const mine = { chat_state: 'assigned', assigned_operator_id: ANNA }
    for (let turn = 0; turn < 5; turn += 1) {
      await world.clear()
      const chat = await world.chat()
      const at = (name: string, args: Json, base: Json) => operation({ name, table: 'chats', key: chat, args, base })
      const five = [at('claim', { operator: ANNA }, OWN), at('reply', {}, mine), at('user_message', {}, OWN), at('release', { reason: 'x' }, mine), at('unassign_chat', {}, mine)]
      const order = [...five.slice(turn), ...five.slice(0, turn)]
      const answers = new Map<string, string>()
      let confirmed = 0
      for (const op of [...order, ...[...order].reverse(), ...order]) {
        const answer = await world.as(ANNA).apply(op)
        const plain = JSON.stringify({ ...answer, replayed: null })
        expect(answers.get(op['id']) ?? plain).toBe(plain)
        if (!answers.has(op['id']) && answer['outcome'] === 'confirmed') confirmed += 1
        answers.set(op['id'], plain)
      }
      expect(confirmed).toBeGreaterThan(1)
      expect(await world.history(chat)).toHaveLength(1) // one claim
      expect(await run('select count(*)::int n from rota.ledger where op ->> $1 = $2', ['key', chat])).toEqual([{ n: 5 }])
    }
  })
})
