/** What the README promises, in a real browser, through unmodified supabase-js, against a real PostgreSQL. */
import pg from 'pg'
import { expect, inject, test } from 'vitest'
import { gateway, people, useDemo, type DemoPage } from './harness.js'

const world = useDemo()
const { maya, jonas, aiko } = people

/** Notes in the page when a company's owner first became this person, on the clock that all tabs share. */
async function watchOwner(tab: DemoPage, key: string, personId: string | null): Promise<() => Promise<number>> {
  await tab.page.evaluate(
    (id, owner) => {
      const rota = window.rota
      const seen = new Promise<number>((resolve) => {
        rota?.subscribe('companies', id, () => {
          if (rota.get('companies', id)?.owner_id === owner) resolve(performance.timeOrigin + performance.now())
        })
      })
      Object.assign(window, { seenOwner: seen })
    },
    key,
    personId,
  )
  return () => tab.page.evaluate(() => (window as unknown as { seenOwner: Promise<number> }).seenOwner)
}

/** Assigns in the page, and tells what was visible when `assign` returned, and when that was. */
function assignInPage(tab: DemoPage, key: string, personId: string | null) {
  return tab.page.evaluate(
    async (id, owner) => {
      const rota = window.rota
      if (!rota) throw new Error('there is no store')
      const startedAt = performance.timeOrigin + performance.now()
      const mutated = rota.assignments.assign('companies', id, owner)
      const visible = rota.get('companies', id)?.owner_id
      return { startedAt, visible, durable: await mutated.durable, settled: await mutated.settled }
    },
    key,
    personId,
  )
}

test('an assignment is visible before mutate returns, within 500 ms in a second tab and for another person, and in the database', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const other = await world.newPerson(jonas)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  const [seenInTwo, seenByOther] = [await watchOwner(two, key, aiko.id), await watchOwner(other, key, aiko.id)]

  const { startedAt, visible, durable, settled } = await assignInPage(one, key, aiko.id)
  expect(visible, 'when mutate returned').toBe(aiko.id)
  expect(durable).toBe('full')
  expect(settled).toMatchObject({ outcome: 'confirmed' })

  const [inTwoMs, byOtherMs] = [(await seenInTwo()) - startedAt, (await seenByOther()) - startedAt]
  console.log(`own tab: before mutate returned; second tab: ${inTwoMs.toFixed(1)} ms; second profile: ${byOtherMs.toFixed(1)} ms`)
  expect(inTwoMs).toBeLessThan(500)
  expect(byOtherMs).toBeLessThan(500)
  expect(await world.db.ownerOf('companies', key)).toBe(aiko.id)
  for (const tab of [one, two, other]) await tab.waitForOwner(key, aiko.name)
})

test('a refusal by the server rolls back in both tabs and says why', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const key = await world.db.recordOf('companies', 'Operations', [null, maya])
  const before = await one.ownerOf(key)
  // Slow enough for the change to be seen before it is refused.
  await gateway.faults({ delayRestMs: 400 })
  const [seenInTwo] = [await watchOwner(two, key, maya.id)]

  const looked = await one.assignAndLook('companies', key, maya.id)
  expect(looked.storeOwner).toBe(maya.id)
  await seenInTwo()

  expect(await one.waitForRowError(key)).toContain('Operations')
  for (const tab of [one, two]) {
    await tab.waitForOwner(key, before ?? '')
    const notice = await tab.waitForNotice()
    expect(notice).toMatchObject({ state: 'refused', isMine: tab === one })
    expect(notice.message).toContain('Operations')
    await tab.waitForUnsent(0)
  }
  expect(await world.db.ownerOf('companies', key)).not.toBe(maya.id)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'refused' }])
})

test('a row changed by plain SQL from elsewhere appears in both tabs', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const key = await world.db.recordOf('companies', 'Support', [null])

  await world.db.setOwner('companies', key, null)
  for (const tab of [one, two]) await tab.waitForOwner(key, 'Unassigned', 2_000)

  await world.db.client.query(`delete from companies where id = $1`, [key])
  for (const tab of [one, two]) await expect.poll(() => tab.row('companies', key), { timeout: 5_000 }).toBeUndefined()
})

test('offline, a change shows, counts as unsent, survives a reload, and goes out once when the link is back', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  await gateway.stop()
  for (const tab of [one, two]) await tab.waitForLink('offline')

  const looked = await one.assignAndLook('companies', key, aiko.id)
  expect(looked.screenOwner).toBe(aiko.name)
  for (const tab of [one, two]) {
    await tab.waitForOwner(key, aiko.name)
    await tab.waitForUnsent(1)
  }

  await one.reload()
  await one.loaded(maya)
  await one.waitForOwner(key, aiko.name)
  await one.waitForUnsent(1)
  expect(await world.db.decisionsOn('companies', key)).toEqual([])

  await gateway.start()
  for (const tab of [one, two]) {
    await tab.waitForUnsent(0, 70_000)
    await tab.waitForOwner(key, aiko.name)
  }
  expect(await world.db.ownerOf('companies', key)).toBe(aiko.id)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
})

test('a change made offline in the only tab survives its reload, and even the tab, and goes out once', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  await gateway.stop()
  await one.waitForLink('offline')
  await one.assignCompany(key, aiko.id)
  await one.waitForUnsent(1)

  await one.reload()
  await one.loaded(maya)
  await one.waitForOwner(key, aiko.name)
  await one.waitForUnsent(1)
  expect((await one.status()).link).not.toBe('live')
  await one.page.close()

  await gateway.start()
  const next = await world.newTab(maya, context)
  await next.waitForUnsent(0)
  await next.waitForOwner(key, aiko.name)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
})

test('the browser goes offline and comes back: nothing is lost, and the link is live again', async () => {
  const one = await world.newPerson(maya)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  await one.goOffline()
  await one.assignCompany(key, aiko.id)
  await one.waitForOwner(key, aiko.name)
  await one.waitForUnsent(1)
  await one.waitForLink('offline')
  await one.goOnline()
  await one.waitForLink('live', 20_000)
  await one.waitForUnsent(0)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
})

test('the gateway is killed and restarted with a change in the gap: both tabs end equal to the database', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const [changed, deleted] = [await world.db.recordOf('companies', 'Support', [null]), await world.db.recordOf('leads', 'Support')]
  await gateway.stop('kill')
  for (const tab of [one, two]) await tab.waitForLink('offline')
  await world.db.setOwner('companies', changed, null)
  await world.db.client.query(`delete from leads where id = $1`, [deleted])
  await world.db.client.query(
    `insert into companies (id, name, city, industry, employees, department) values ('c-9001', 'Gap & Sons', 'Ghent', 'Logistics', 12, 'Sales')`,
  )
  await gateway.start()
  for (const tab of [one, two]) await tab.waitForLink('live', 70_000)

  for (const table of ['companies', 'leads'] as const) {
    const { rows } = await world.db.client.query<{ id: string; owner_id: string | null; version: string }>(
      `select id, owner_id, rota_version::text as version from ${table} order by id`,
    )
    for (const tab of [one, two]) {
      await expect
        .poll(
          () =>
            tab.page.evaluate(
              (name) =>
                (window.rota?.all(name as 'companies') ?? [])
                  .map((record) => ({
                    id: record.id,
                    owner_id: record.owner_id,
                    version: String((record as unknown as { rota_version: string }).rota_version),
                  }))
                  .sort((a, b) => (a.id < b.id ? -1 : 1)),
              table,
            ),
          { timeout: 10_000 },
        )
        .toEqual(rows)
    }
  }
})

test('an answer that is lost on the way is found again in the ledger, and the change is made once', async () => {
  const one = await world.newPerson(maya)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  await gateway.faults({ dropNextRestAnswer: 1 })
  await one.assignCompany(key, aiko.id)
  await one.waitForUnsent(0, 30_000)
  await one.waitForOwner(key, aiko.name)
  expect(await one.notices()).toEqual([])
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
})

test('a database that is away for a while, behind a gateway that is there, costs no change', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  const elsewhereUrl = new URL(inject('databaseUrl'))
  const name = elsewhereUrl.pathname.slice(1)
  elsewhereUrl.pathname = name === 'postgres' ? '/template1' : '/postgres'
  const elsewhere = new pg.Client({ connectionString: elsewhereUrl.href })
  await elsewhere.connect()
  try {
    await elsewhere.query(`alter database ${pg.escapeIdentifier(name)} allow_connections false`)
    const { processID: own } = world.db.client as unknown as { processID: number }
    await elsewhere.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> $2`, [name, own])
    await two.assignCompany(key, aiko.id)
    await new Promise((resolve) => setTimeout(resolve, 8_000))
    for (const tab of [one, two]) {
      expect(await tab.ownerOf(key)).toBe(aiko.name)
      expect((await tab.store((rota) => rota.status())).dead).toBe(0)
    }
  } finally {
    await elsewhere.query(`alter database ${pg.escapeIdentifier(name)} allow_connections true`)
    await elsewhere.end()
  }
  for (const tab of [one, two]) await tab.waitForUnsent(0, 70_000)
  await one.waitForLink('live', 70_000)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
  expect(await two.notices()).toEqual([])
})

test('when the leading tab closes, the next one leads, and sends what was left', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const two = await world.newTab(maya, context)
  const leader = (await one.status()).role === 'leader' ? one : two
  const follower = leader === one ? two : one
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  await gateway.stop()
  await leader.waitForLink('offline')
  await follower.assignCompany(key, aiko.id)
  await leader.waitForUnsent(1)
  await leader.page.close()

  await expect.poll(async () => (await follower.status()).role).toBe('leader')
  await gateway.start()
  await follower.waitForUnsent(0, 70_000)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
})

test('losing a race is told as such, with the winner shown', async () => {
  const [one, other] = [await world.newPerson(maya), await world.newPerson(people.priya)]
  const key = await world.db.recordOf('companies', 'Sales', [maya, aiko])
  await gateway.stop()
  for (const tab of [one, other]) await tab.waitForLink('offline')
  await one.assignCompany(key, maya.id)
  await world.db.setOwner('companies', key, aiko.id)
  await gateway.start()
  const notice = await one.waitForNotice(70_000)
  expect(notice).toMatchObject({ state: 'conflicted', isMine: true })
  await one.waitForOwner(key, aiko.name)
  await other.waitForOwner(key, aiko.name)
})

test('corrupt and foreign entries in localStorage are reported, moved away or left, and harm nothing', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const prefix = `rota:1:rota-demo:${maya.id}:op:`
  const foreign = `rota:1:rota-demo:${jonas.id}:op:x`
  await one.page.evaluate(
    (start, other) => {
      localStorage.setItem(`${start}broken`, '{"v":1,"op":')
      localStorage.setItem(`${start}empty`, '{}')
      localStorage.setItem(`${start}newer`, '{"v":3,"op":{}}')
      localStorage.setItem(other, 'not ours')
    },
    prefix,
    foreign,
  )
  const warnings: string[] = []
  one.page.on('console', (message) => warnings.push(message.text()))
  await one.reload()
  await one.loaded(maya)
  await one.waitForLink('live')
  const keys = await one.page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith('rota:')))
  expect(keys.sort()).toEqual([`rota:1:rota-demo:${maya.id}:bad:broken`, `rota:1:rota-demo:${maya.id}:bad:empty`, `${prefix}newer`, foreign].sort())
  for (const [code, name] of [
    ['corrupt-entry', 'broken'],
    ['corrupt-entry', 'empty'],
    ['newer-entry', 'newer'],
  ]) {
    expect(
      warnings.some((line) => line.includes(`[${code}]`) && line.includes(`${prefix}${name}`)),
      `${name} in ${warnings.join('\n')}`,
    ).toBe(true)
  }
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  await one.assignCompany(key, aiko.id)
  await one.waitForUnsent(0)
  expect(await world.db.ownerOf('companies', key)).toBe(aiko.id)
})

test('whoever signs out leaves no records in the browser, and what was not sent waits for them', async () => {
  const context = await world.newContext()
  const one = await world.newPerson(maya, context)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  const kept = () =>
    one.page.evaluate(
      (name) =>
        new Promise<number>((resolve, reject) => {
          const opening = indexedDB.open(name)
          opening.addEventListener('error', () => reject(opening.error))
          opening.addEventListener('success', () => {
            const counting = opening.result.transaction('records').objectStore('records').count()
            counting.addEventListener('success', () => resolve(counting.result))
            counting.addEventListener('error', () => reject(counting.error))
            opening.result.close()
          })
        }),
      `rota:1:rota-demo:${maya.id}`,
    )
  await expect.poll(kept).toBe(208)
  await gateway.faults({ delayRestMs: 3_000 })
  await one.assignCompany(key, aiko.id)
  await one.switchPerson(true)
  await expect.poll(kept).toBe(0)
  await gateway.faults({ delayRestMs: 0 })
  await one.signIn(maya)
  await one.waitForOwner(key, aiko.name)
  await one.waitForUnsent(0, 30_000)
  expect(await world.db.decisionsOn('companies', key)).toMatchObject([{ outcome: 'confirmed' }])
})

test('both frameworks show one store: a lead assigned in the Vue panel counts for the person in both panels', async () => {
  const one = await world.newPerson(maya)
  const lead = await world.db.recordOf('leads', 'Sales', [maya])
  const before = await one.count('leads', 'mine')
  await one.assignLead(lead, maya.id)
  await one.waitForOwner(lead, maya.name, 2_000, 'leads')
  await one.waitForSettled(lead, 5_000, 'leads')
  expect(await one.count('leads', 'mine')).toBe(before + 1)
  expect(await world.db.ownerOf('leads', lead)).toBe(maya.id)
})

test('the engine holds one object a record, and none once the store is closed', async () => {
  const one = await world.newPerson(maya)
  const key = await world.db.recordOf('companies', 'Sales', [aiko])
  await one.assignCompany(key, aiko.id)
  await one.waitForUnsent(0)
  const stats = await one.store((rota) => rota.stats())
  expect(stats.records).toBe(208)
  expect(stats.handles).toBe(stats.records)
  const after = await one.page.evaluate(async () => {
    const rota = window.rota
    rota?.close()
    await new Promise((resolve) => setTimeout(resolve, 50))
    return rota?.stats()
  })
  expect(after).toEqual({ records: 0, handles: 0, operations: 0, listeners: 0, views: 0 })
})
