// What runs beside the people: schedulers, monitoring, senders, restored copies, and what grows.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ANNA, BORIS, CHLOE, type ChatWorld, createChatWorld } from './chatting.js'
import { migrateDown } from '../../www/server/migrate.js'
import { createWorld, type Json, KIT } from './world.js'

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

describe('idle release, where the application’s own trigger fails for one chat,', () => {
  beforeAll(() =>
    run(`create function fragile() returns trigger language plpgsql as $$ begin
        if old.last_message_at = '2020-02-02' then raise exception 'this one can not be written'; end if; return new; end $$;
      create trigger fragile before update on chats for each row execute function fragile()`),
  )
  afterAll(() => run('drop function fragile cascade'))
  test('releases the others, by whatever number at a time, and says which it could not', async () => {
    const chats: string[] = []
    for (let n = 0; n < 3; n += 1) {
      const chat = await world.chat(1, { last_message_at: n === 0 ? '2020-02-02' : null })
      await run(`set session_replication_role = replica; update chats set chat_state = 'assigned', assigned_operator_id = '${CHLOE}', assigned_at = now() - ${9 - n} * interval '1 hour' where id = '${chat}'; set session_replication_role = origin`)
      chats.push(chat)
    }
    const client = await world.owner.connect()
    const heard: string[] = []
    client.on('notice', ({ message }) => heard.push(message ?? ''))
    const release = async (limit: number) => (await client.query(`select chat_id from release_idle_chats('5 minutes', $1)`, [limit])).rows
    expect(await release(1)).toEqual([{ chat_id: chats[1] }])
    expect(await release(1000)).toEqual([{ chat_id: chats[2] }])
    client.release(true)
    expect(heard).toEqual([0, 1].map(() => expect.stringMatching(new RegExp(`${chats[0]}.*this one can not be written`))))
    expect(await world.row(chats[0]!)).toMatchObject({ chat_state: 'assigned', assigned_operator_id: CHLOE })
  })
})

describe('the summary of states', () => {
  test('knows no time of a state in which there is no chat, however long ago the kit came', async () => {
    await run(`update rota.adopted set at = at - interval '10 days' where name = 'chats'`)
    await world.chat(30)
    expect(await run('select chat_state, chats::int, round(longest_minutes)::int as longest from chat_state_summary')).toEqual([
      { chat_state: 'waiting_assignment', chats: 1, longest: 30 }, { chat_state: 'assigned', chats: 0, longest: null },
      { chat_state: 'waiting_real_user_reply', chats: 0, longest: null }, { chat_state: 'completed', chats: 0, longest: null },
    ])
    await run(`update rota.adopted set at = at + interval '10 days' where name = 'chats'`)
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
    await run(`update rota.adopted set at = now() - interval '2 days' where name = 'chats'`)
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

describe('a role that bypasses row-level security, as Supabase’s service_role', () => {
  const role = 'service_role'
  const as = (text: string, values: unknown[] = []) => world.as(null, role).sql(text, values)
  beforeAll(() => run(`do $$ begin create role ${role} nologin bypassrls; exception when duplicate_object or unique_violation then null; end $$`))

  test('may use monitoring and free times, also where the role came after the kit', async () => {
    expect(await run(`select rota.grant_service_role('nobody of this name') a, rota.grant_service_role() b`)).toEqual([{ a: false, b: true }])
    const chat = await world.chat(90)
    await world.act(ANNA, 'claim', chat, { operator: ANNA })
    expect(await as(`select chats::int n from chat_state_summary where chat_state = 'assigned'`)).toEqual([{ n: 1 }])
    for (const view of ['chats_waiting', 'operator_assignment_history', 'chats_often_reassigned', 'operator_performance', 'idle_incidents', 'push_subscriptions']) await as(`select * from ${view}`)
    for (const call of [`get_assignment_queue_status()`, `detect_stuck_chats(1)`, `user_assignment_stats()`, `who_is_free('2026-11-02', '2026-11-03')`, `free_slots('x', '2026-11-02', '2026-11-03')`])
      await as(`select * from ${call}`)
    await as(`select release_and_reassign_chat($1, 'by a job')`, [chat])
  })
  test('drains the outbox, by the functions that a gateway reaches too, and nobody signed in does', async () => {
    await run(`truncate rota.outbox; insert into rota.outbox (kind, recipient, payload) select 'assigned', 'p' || i, '{}' from generate_series(1, 3) i`)
    const taken = [...(await as('select id from rota.claim_outbox(1)')), ...(await as('select id from rota_claim_outbox(5)'))].map((entry) => entry['id'])
    expect(taken).toHaveLength(3)
    await as(`select rota_outbox_failed($1, 'no route')`, [taken[0]])
    expect(await as('select rota_outbox_done($1)::int n', [taken.slice(1)])).toEqual([{ n: 2 }])
    expect(await as('select rota.outbox_done($1)::int n', [taken])).toEqual([{ n: 1 }])
    for (const call of ['rota_claim_outbox(1)', 'rota_outbox_done(array[1])', `rota_outbox_failed(1, 'x')`, 'rota.claim_outbox(1)'])
      await expect(world.as(ANNA).sql(`select ${call}`)).rejects.toMatchObject({ code: '42501' })
  })
  test('gets nothing of the application’s own, though it has a name of the kit’s', async () => {
    await run(`create function public.complete_chat(a text, b text) returns void language sql as ''; revoke all on function public.complete_chat(text, text) from public; select rota.grant_service_role()`)
    await expect(as(`select complete_chat('a'::text, 'b'::text)`)).rejects.toMatchObject({ code: '42501' })
    await run('drop function public.complete_chat(text, text)')
  })
  test('gets none of the kit’s tools', async () => {
    for (const call of [`rota.unsync_table('chats')`, 'rota.after_restore()', 'rota.prune_history()', 'rota.grant_service_role()'])
      await expect(as(`select ${call}`)).rejects.toMatchObject({ code: '42501' })
  })
  test('is granted it by the migrations where it is there, and keeps nothing on the way back', async () => {
    const own = await createWorld({ demo: false })
    expect(await own.as(null, role).sql('select waiting::int from get_assignment_queue_status()')).toEqual([{ waiting: 0 }])
    const client = await own.owner.connect()
    await migrateDown(client, [KIT], 1)
    client.release()
    await expect(own.as(null, role).sql('select * from rota.tables')).rejects.toMatchObject({ code: '42501' })
    await own.close()
  })
})

describe('a copy restored into a cluster whose transactions are younger', () => {
  const changed = async (cursor: string) => {
    const { whole, records } = await world.as(ANNA).pull({ tables: ['operators'], cursor })
    return { whole, ids: ((records.operators ?? []) as Json[]).map((row) => row['id']) }
  }
  test('is told as changes again, and not as a whole each time', async () => {
    await run(`update rota.feed set xid = '1000000000000'`)
    const { cursor } = await world.as(ANNA).pull({ tables: ['operators'] })
    expect(await changed(cursor)).toEqual({ whole: false, ids: [] })
    await run('update operators set name = name where id = $1', [BORIS])
    expect(await changed(cursor)).toEqual({ whole: false, ids: [BORIS] })
    // What a transaction has changed itself it sees before it commits, too.
    const open = await world.open(ANNA)
    await open.query(`reset role; update operators set name = name where id = '${CHLOE}'; set local role authenticated`)
    const { rows } = await open.query('select public.rota_pull($1) a', [JSON.stringify({ protocol: 1, tables: ['operators'], cursor })])
    await open.query('rollback')
    open.release()
    expect((rows[0].a.records.operators as Json[]).map((row) => row['id']).sort()).toEqual([BORIS, CHLOE].sort())
  })
  test('and after_restore makes every cursor start anew, and the feed one of this cluster', async () => {
    await run(`update rota.feed set xid = '1000000000000'`)
    const { cursor } = await world.as(ANNA).pull({ tables: ['operators'] })
    await run(`select setval('rota.version', 1)`)
    const before = (await run('select max(version)::text v, count(*)::int n from rota.feed'))[0]!
    expect(await run('select rota.after_restore()::int n')).toEqual([{ n: before['n'] }])
    expect((await changed(cursor)).whole).toBe(true)
    const { cursor: after } = await world.as(ANNA).pull({ tables: ['operators'] })
    await run('update operators set name = name where id = $1', [BORIS])
    expect(await changed(after)).toEqual({ whole: false, ids: [BORIS] })
    expect(await run(`select count(*)::int n from rota.feed where xid > pg_current_xact_id()`)).toEqual([{ n: 0 }])
    expect(await run('select bool_and(version > $1) newer from rota.feed where key = $2', [before['v'], BORIS])).toEqual([{ newer: true }])
  })
})

describe('a long history of owners', () => {
  beforeAll(() =>
    run(`create table crates (area text, no int, owner_id text, secret boolean, primary key (area, no)); grant select on crates to authenticated; alter table crates enable row level security;
      create policy open_ones on crates for select using (not secret); insert into crates select 'n', i, 'o' || i, i % 10 = 0 from generate_series(1, 300) i;
      create table boxes (id bigint primary key, owner_id text); grant select on boxes to authenticated; create table hidden_boxes (id int primary key, owner_id text);
      select rota.sync_table('crates', '{area,no}', '{}', 'owner_id'), rota.sync_table('boxes', '{id}', '{}', 'owner_id'), rota.sync_table('hidden_boxes', '{id}', '{}', 'owner_id');
      insert into boxes select i, 'o' || i from generate_series(1, 1000) i; insert into hidden_boxes values (1, 'x'), (2, '${ANNA}'); update crates set owner_id = 'x' where no <= 20; update crates set owner_id = '${BORIS}' where no <= 20; delete from boxes where id <= 5`),
  )
  const pulled = async (person: string) => ((await world.as(person).pull({ tables: ['assignment_history'] }))['records'].assignment_history as Json[]).map((line) => Number(line['id'])).sort((a, b) => a - b)

  test('is pulled by one look at each table, and shows to each what a look at each record would', async () => {
    for (const person of [ANNA, BORIS, 'somebody']) {
      const plain = (await world.as(person).sql('select id::int from assignment_history order by id')).map((line) => line['id'])
      expect(await pulled(person)).toEqual(plain)
      expect(plain.length).toBeGreaterThan(990)
    }
    // Within a transaction in which to look at a single record fails.
    const open = await world.open('somebody')
    await open.query(`reset role; create or replace function rota.may_see(of_table text, of_key text) returns boolean language plpgsql as $$ begin raise exception 'asked once a line'; end $$; set local role authenticated`)
    const { rows } = await open.query('select public.rota_pull($1) a', [JSON.stringify({ protocol: 1, tables: ['assignment_history'], cursor: null })])
    expect(rows[0].a.records.assignment_history.length).toBeGreaterThan(990)
    await expect(open.query('select count(*) from assignment_history')).rejects.toThrow('asked once a line')
    await open.query('rollback')
    open.release()
  })
  test('is pruned of what is old, but for who has each record now', async () => {
    await run(`update assignment_history set changed_at = now() - interval '2 years' where table_name in ('crates', 'boxes')`)
    const crates = () => run(`select count(*)::int n, count(distinct record_key)::int keys from assignment_history where table_name = 'crates'`)
    const before = (await run('select count(*)::int n from assignment_history'))[0]!['n']
    const [{ n }] = (await run('select rota.prune_history()::int n')) as [Json]
    expect(n).toBe(20 + 2 * 5) // the former owners of twenty crates, and both lines of each box that is gone
    expect((await run('select count(*)::int n from assignment_history'))[0]!['n']).toBe(before - n)
    expect((await crates())[0]!['keys']).toBe((await crates())[0]!['n'])
    for (const keep of [null, '1 hour', '-1 day']) await expect(run('select rota.prune_history($1)', [keep])).rejects.toMatchObject({ code: '22023' })
  })
  test('leaves tombstones for a week or more, and who was away for longer is told everything', async () => {
    const tombstones = async () => (await run(`select count(*)::int n from rota.feed where table_name = 'assignment_history' and deleted`))[0]!['n']
    const { cursor: old } = await world.as(ANNA).pull({ tables: ['boxes'] })
    await run(`delete from boxes where id between 11 and 15; update assignment_history set changed_at = now() - interval '2 years' where table_name = 'boxes'`)
    expect((await run('select rota.prune_history()::int n'))[0]).toEqual({ n: 10 })
    expect(await tombstones()).toBe(40)
    const fresh = async () => (await world.as(ANNA).pull({ tables: ['boxes'] }))['cursor'] as string
    const whole = async (cursor: string) => (await world.as(ANNA).pull({ tables: ['boxes'], cursor }))['whole']
    expect(await whole(old)).toBe(false)
    await run(`update rota.server set marked_at = now() - interval '8 days'`)
    await run('select rota.prune_history()') // drops those of the first pruning, marks those of the second
    const between = await fresh()
    expect(await tombstones()).toBe(10)
    await run(`update rota.server set marked_at = now() - interval '8 days'`)
    await run('select rota.prune_history()')
    expect(await tombstones()).toBe(0)
    expect([await whole(old), await whole(between), await whole(await fresh())]).toEqual([true, false, false])
  })
})

describe('an operation id that claims to be of a far future', () => {
  const FORGED = 'ffffffff-ffff-7000-8000-000000000000'
  const keptFor = async (interval: string) => {
    await run(`update rota.ledger set created_at = now() - interval '${interval}' where id = $1`, [FORGED])
    await run('select rota.prune_ledger()')
    return (await run('select id from rota.ledger where id = $1', [FORGED])).length > 0
  }
  test('is taken, as a clock may be wrong, known for a year and a month after it came, and not kept for ever', async () => {
    const chat = await world.chat()
    const claim = () => world.act(ANNA, 'claim', chat, { operator: ANNA }, { id: FORGED, base: { chat_state: 'waiting_assignment', assigned_operator_id: null }, hlc: 'ffffffffffff-0000' })
    expect(await claim()).toMatchObject({ outcome: 'confirmed', replayed: false })
    expect(await claim()).toMatchObject({ outcome: 'confirmed', replayed: true })
    expect(await keptFor('31 days')).toBe(true)
    expect(await keptFor('1 year 25 days')).toBe(true)
    expect(await keptFor('1 year 31 days')).toBe(false)
  })
})
