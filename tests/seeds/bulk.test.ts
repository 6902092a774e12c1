// Many assignments at once, their history and their figures, on the real backend.
import { assignmentHistory, RotaError, type Bulk, type BulkProgress, type BulkResult } from 'rota-engine'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { openBackend, until, type Backend, type Person, type Session } from './backend.js'
import { calls } from './requests.js'

/** How many operations the server kit takes in a call. */
const BATCH = 100

let backend: Backend
let [maya, jonas] = [] as unknown as [Person, Person]
let [M, J] = [] as unknown as [Session, Session]
let asked: string[]

beforeAll(async () => {
  backend = await openBackend(inject('serverUrl'))
  maya = await backend.person('Maya')
  jonas = await backend.person('Jonas')
  await backend.sql(`
    create function public.no_closed_ones(op jsonb, seen jsonb, actor text) returns jsonb language sql stable as $$
      select jsonb_build_object('code', 'forbidden', 'message', 'it is closed') where seen ->> 'name' = 'closed'
    $$`)
  await backend.sql(`select rota.sync_table('public.companies', '{id}', '{name,owner_id}', 'owner_id', 'public.no_closed_ones(jsonb,jsonb,text)')`)
})
afterAll(() => backend.close())
beforeEach(async () => {
  await backend.start()
  await backend.sql('delete from companies; delete from assignment_history; delete from rota.ledger')
  await backend.sql(`insert into companies select 'c-' || n, 'Company ' || n from generate_series(1, 250) n`)
  M = await backend.session(maya)
  J = await backend.session(jonas)
  asked = calls(M.client)
})
afterEach(async () => {
  Object.assign(backend.gateway().faults, { dropNextRest: 0, dropNextRestAnswer: 0, dropFrames: 0 })
  await backend.closeSessions()
})

const keys = (count: number) => Array.from({ length: count }, (_, at) => `c-${at + 1}`)
const sent = () => asked.filter((name) => name.startsWith('apply_'))
const ends = (results: readonly BulkResult[]) => results.map((result) => ('error' in result ? result.error.code : result.settlement.outcome))
const owned = async (by: string) => (await backend.sql('select count(*)::int as n from companies where owner_id = $1', [by]))[0]!['n']
/** How many records have changed hands, and how often the one did that did so most often. */
const changes = async () => (await backend.sql('select count(*)::int as records, coalesce(max(n), 0)::int as most from (select count(*) as n from assignment_history group by record_key) h'))[0]

const deadlocks = async () => {
  await backend.sql('select pg_stat_clear_snapshot()')
  return Number((await backend.sql('select deadlocks from pg_stat_database where datname = current_database()'))[0]!['deadlocks'])
}

const assertAllOnce = async (bulk: Bulk, count: number) => {
  expect(ends(await bulk.settled)).toEqual(Array.from({ length: count }, () => 'confirmed'))
  expect(bulk.progress()).toEqual({ total: count, done: count, failed: 0 })
  expect([await owned(jonas.id), await changes()]).toEqual([count, { records: count, most: 1 }])
}

describe('many records, each for itself', () => {
  test('go in one round trip a batch, with a result each and the progress while it runs', async () => {
    const seen: (BulkProgress & { unsent: number })[] = []
    const bulk = M.store.assignments.assignAll('companies', keys(250), jonas.id, { onProgress: (progress) => seen.push({ ...progress, unsent: M.store.status().unsent }) })
    expect(M.store.get('companies', 'c-250')?.owner_id).toBe(jonas.id)
    await assertAllOnce(bulk, 250)
    expect(sent()).toEqual(Array.from({ length: Math.ceil(250 / BATCH) }, () => 'apply_operations'))
    expect(seen.map(({ done }) => done)).toEqual(Array.from({ length: 250 }, (_, at) => at + 1))
    expect(seen.some(({ unsent }) => unsent > 0)).toBe(true)
    await until(() => J.store.get('companies', 'c-250')?.owner_id === jonas.id, 'the others see it')
  })

  test('end each in its own way: done, refused with the reason, and lost to somebody who was first', async () => {
    await backend.sql(`update companies set name = 'closed' where id in ('c-2', 'c-5')`)
    await until(() => M.store.get('companies', 'c-5')?.name === 'closed', 'it is seen to be closed')
    backend.gateway().faults.dropFrames = 100
    await J.store.assignments.assign('companies', 'c-3', jonas.id).settled
    const bulk = M.store.assignments.assignAll('companies', keys(6), maya.id)
    const results = await bulk.settled
    expect(ends(results)).toEqual(['confirmed', 'refused', 'conflicted', 'confirmed', 'refused', 'confirmed'])
    expect(results[1]).toMatchObject({ key: 'c-2', settlement: { code: 'forbidden', message: 'it is closed' } })
    expect(results[2]).toMatchObject({ key: 'c-3', settlement: { code: 'taken', winner: { user: jonas.id, at: expect.any(String) } } })
    expect([bulk.progress(), sent(), await owned(maya.id)]).toEqual([{ total: 6, done: 3, failed: 3 }, ['apply_operations'], 3])
    expect(keys(6).map((key) => M.store.get('companies', key)?.owner_id)).toEqual([maya.id, null, jonas.id, maya.id, null, maya.id])
  })

  test('go on where one in the middle is unknown, and assign what is named twice once', async () => {
    const bulk = M.store.assignments.assignAll('companies', ['c-1', 'nobody-knows', 'c-2', 'c-1', null as never], jonas.id)
    expect(ends(await bulk.settled)).toEqual(['confirmed', 'unknown-record', 'confirmed', 'confirmed', 'missing-key'])
    expect([bulk.operations.length, bulk.progress(), await changes()]).toEqual([2, { total: 5, done: 3, failed: 2 }, { records: 2, most: 1 }])
  })

  test('are done once each when answers are lost, requests are cut, and the server dies in the middle', async () => {
    Object.assign(backend.gateway().faults, { dropNextRestAnswer: 1, dropNextRest: 1 })
    await assertAllOnce(M.store.assignments.assignAll('companies', keys(250), jonas.id), 250)
    await backend.sql('update companies set owner_id = null; delete from assignment_history')
    await until(() => keys(250).every((key) => M.store.get('companies', key)?.owner_id === null), 'nobody has them again')
    const bulk = M.store.assignments.assignAll('companies', keys(250), jonas.id)
    await until(async () => ((await owned(jonas.id)) as number) > 0 || bulk.progress().done > 0, 'some are done')
    await backend.stop()
    await backend.start()
    M.store.reconnect()
    await assertAllOnce(bulk, 250)
  }, 60_000)

  test('are not held back by one at which the whole call fails', async () => {
    await backend.sql(`
      create function public.poison() returns trigger language plpgsql as $$
      begin
        raise exception 'cancelled' using errcode = '57014'; -- what no handler of the kit catches
      end $$;
      create trigger poison before update on companies for each row when (new.id = 'c-13') execute function public.poison()`)
    try {
      const bulk = M.store.assignments.assignAll('companies', keys(100), jonas.id)
      const results = await bulk.settled
      expect(ends(results).filter((end) => end !== 'confirmed')).toEqual(['dead'])
      expect(results[12]).toMatchObject({ key: 'c-13', settlement: { outcome: 'dead' } })
      // It may be tried again, so it is neither done nor failed.
      expect(bulk.progress()).toEqual({ total: 100, done: 99, failed: 0 })
      expect([await owned(jonas.id), await changes()]).toEqual([99, { records: 99, most: 1 }])
      await backend.sql('drop trigger poison on companies')
      M.store.retry(bulk.operations[12]!.id)
      await until(() => bulk.progress().done === 100, 'it is done after all')
    } finally {
      await backend.sql('drop trigger if exists poison on companies; drop function public.poison()')
    }
  }, 60_000)

  test('of two people who assign the same ones in opposite order, each goes to one, and neither waits for the other for ever', async () => {
    const [mine, theirs] = [M.store.assignments.assignAll('companies', keys(100), maya.id), J.store.assignments.assignAll('companies', keys(100).reverse(), jonas.id)]
    const [won, lost] = [ends(await mine.settled), ends(await theirs.settled).reverse()]
    expect(won.every((end, at) => [end, lost[at]].sort().join() === 'confirmed,conflicted')).toBe(true)
    expect([mine.progress().done + theirs.progress().done, await changes(), await deadlocks()]).toEqual([100, { records: 100, most: 1 }, 0])
  }, 60_000)

  test('operations that a server decides with more in its hands go alone, so that none waits for another for ever', async () => {
    const boss = await backend.person('Sara', 'supervisor')
    const operators = await Promise.all(Array.from({ length: 5 }, (_, n) => backend.person(`Operator ${n}`, 'operator', 50)))
    await backend.sql('insert into chats (created_at) select now() - make_interval(mins => n) from generate_series(1, 60) n')
    const { store, client } = await backend.session(boss)
    const names = calls(client)
    const chats = store.all('chats').map(({ id }) => id)
    const claims = store.batch(() => chats.map((chat, n) => store.chats.claim(chat, operators[n < 30 ? n % 5 : 4 - (n % 5)]!.id)))
    for (const { settled } of claims) expect(await settled).toMatchObject({ outcome: 'confirmed' })
    expect([names.filter((name) => name.startsWith('apply_')), await deadlocks()]).toEqual([chats.map(() => 'apply_operation'), 0])
  }, 60_000)

  test('go one by one to a database of a kit that knows no batches, which is asked once', async () => {
    await backend.sql('alter function public.apply_operations(jsonb) rename to apply_operations_not_yet')
    try {
      await backend.stop()
      await backend.start()
      M.store.reconnect()
      await until(() => M.store.status().link.state === 'live', 'the session is live again')
      await assertAllOnce(M.store.assignments.assignAll('companies', keys(12), jonas.id), 12)
      expect(sent()).toEqual(['apply_operations', ...Array.from({ length: 12 }, () => 'apply_operation')])
      expect(ends(await M.store.assignments.unassignAll('companies', keys(2)).settled)).toEqual(['confirmed', 'confirmed'])
      expect(sent().filter((name) => name === 'apply_operations')).toHaveLength(1)
    } finally {
      await backend.sql('alter function public.apply_operations_not_yet(jsonb) rename to apply_operations')
    }
  }, 60_000)

  test('of none are done at once, and of more than may wait refused', async () => {
    expect(await M.store.assignments.assignAll('companies', [], jonas.id).settled).toEqual([])
    const many = Array.from({ length: 10_001 }, (_, n) => `x-${n}`)
    expect(refusal(() => M.store.assignments.assignAll('companies', many, jonas.id))).toMatchObject({ code: 'outbox-full', message: expect.stringContaining('10001') })
    expect(refusal(() => M.store.assignments.assignAll('nope' as never, ['c-1'], null)).code).toBe('unknown-table')
    expect([sent(), M.store.status().unsent]).toEqual([[], 0])
  })
})

describe('many records, all or nothing', () => {
  test('are one operation, which all of them end with', async () => {
    await assertAllOnce(M.store.assignments.assignAll('companies', keys(100), jonas.id, { atomic: true }), 100)
    expect(sent()).toEqual(['apply_operation'])
    const back = M.store.assignments.unassignAll('companies', ['c-1', 'c-1', 'c-2'], { atomic: true })
    expect([ends(await back.settled), back.operations.length]).toEqual([['confirmed', 'confirmed', 'confirmed'], 1])
    expect(await owned(jonas.id)).toBe(98)
  })

  test('change nothing where one of them is refused, or was lost to somebody', async () => {
    await backend.sql(`update companies set name = 'closed' where id = 'c-20'`)
    await until(() => M.store.get('companies', 'c-20')?.name === 'closed', 'it is seen to be closed')
    const refused = M.store.assignments.assignAll('companies', keys(30), maya.id, { atomic: true })
    expect(new Set(ends(await refused.settled))).toEqual(new Set(['refused']))
    backend.gateway().faults.dropFrames = 100
    await J.store.assignments.assign('companies', 'c-9', jonas.id).settled
    const lost = M.store.assignments.assignAll('companies', keys(10), maya.id, { atomic: true })
    expect(new Set(ends(await lost.settled))).toEqual(new Set(['conflicted']))
    expect([refused.progress(), lost.progress(), await owned(maya.id)]).toEqual([{ total: 30, done: 0, failed: 30 }, { total: 10, done: 0, failed: 10 }, 0])
    expect(M.store.get('companies', 'c-1')?.owner_id).toBe(null)
  })

  test('are refused by name, and none is taken, where one is unknown, there are none, or too many', () => {
    const assign = (named: string[]) => refusal(() => M.store.assignments.assignAll('companies', named, maya.id, { atomic: true })).code
    expect([assign(['c-1', 'nobody-knows', 'c-2']), assign([]), assign(keys(101))]).toEqual(['unknown-record', 'transaction-length', 'transaction-length'])
    expect([M.store.get('companies', 'c-1')?.owner_id, M.store.status().unsent]).toEqual([null, 0])
  })
})

describe('history and figures', () => {
  test('who had a record, and what concerns a person, are live lists, the newest first', async () => {
    const { history, historyOf } = { history: J.store.assignments.history('companies', 'c-1'), historyOf: J.store.assignments.historyOf(jonas.id, { limit: 2 }) }
    expect([history.rows(), historyOf.rows()]).toEqual([[], []])
    const { id } = M.store.assignments.assign('companies', 'c-1', jonas.id)
    await until(() => history.total === 1, 'the first change is seen')
    const tab = (await backend.sql('select tab from assignment_history'))[0]!['tab']
    expect(history.rows()[0]).toMatchObject({ table_name: 'companies', record_key: 'c-1', from_owner: null, to_owner: jonas.id, changed_by: maya.id, operation: id, tab })
    expect(typeof tab).toBe('string')
    await M.store.assignments.assign('companies', 'c-1', maya.id).settled
    await M.store.assignments.assign('companies', 'c-2', jonas.id).settled
    await M.store.assignments.assign('companies', 'c-3', maya.id).settled
    await until(() => history.total === 2 && historyOf.total === 3, 'all of them are seen')
    expect(history.rows().map(({ from_owner, to_owner }) => [from_owner, to_owner])).toEqual([[jonas.id, maya.id], [null, jonas.id]])
    expect(historyOf.rows().map(({ record_key, to_owner }) => [record_key, to_owner])).toEqual([['c-2', jonas.id], ['c-1', maya.id]])
  })

  test('how many each person has, and what nobody has, are kept live', async () => {
    const [statistics, unassigned] = [J.store.assignments.statistics('companies'), J.store.assignments.unassigned('companies', 3)]
    const counts = () => Object.fromEntries(statistics.groups().map(({ group, figures }) => [String(group?.['owner_id']), figures.count]))
    expect([counts(), unassigned.total, unassigned.rows().length]).toEqual([{ null: 250 }, 250, 3])
    await M.store.assignments.assignAll('companies', keys(40), jonas.id).settled
    await M.store.assignments.assign('companies', 'c-1', maya.id).settled
    await until(() => counts()[jonas.id] === 39 && counts()[maya.id] === 1, 'the figures follow')
    expect([counts(), unassigned.total, unassigned.rows().some(({ id }) => id === 'c-1')]).toEqual([{ [jonas.id]: 39, [maya.id]: 1, null: 210 }, 210, false])
    const inDatabase = await backend.sql('select owner_id, count(*)::int as n from companies where owner_id is not null group by 1')
    expect(Object.fromEntries(inDatabase.map(({ owner_id, n }) => [owner_id, n]))).toEqual({ [jonas.id]: 39, [maya.id]: 1 })
  })

  test('what can not be read is refused by name', () => {
    expect(refusal(() => M.store.assignments.history('companies', 'c-1', { in: 'elsewhere' }))).toMatchObject({ code: 'unknown-table', message: expect.stringContaining('assignmentHistory') })
    expect(refusal(() => M.store.assignments.history('companies', 'c-1', { limit: -1 })).code).toBe('invalid-view')
    expect(refusal(() => M.store.assignments.historyOf(5 as never)).code).toBe('invalid-operation')
    expect(refusal(() => M.store.assignments.statistics('patients' as never)).code).toBe('invalid-operation')
    expect(refusal(() => M.store.assignments.unassigned('nope' as never)).code).toBe('unknown-table')
    expect(assignmentHistory.fields).toContain('tab')
  })
})

function refusal(run: () => unknown): RotaError {
  try {
    run()
  } catch (error) {
    if (error instanceof RotaError) return error
    throw error
  }
  throw new Error('it was not refused')
}
