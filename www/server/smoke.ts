/**
 * The demo's main job, once, in a real browser on the built page: two tabs, one assignment, seen at once in the one, soon
 * in the other, and for good in the database. Says how long each step took.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { DemoPage, launchBrowser } from './browser.js'
import { startDemo, type Demo } from './demo.js'
import { DEMO_PEOPLE, type DemoPerson } from './people.js'

export interface SmokeOptions {
  readonly pagePort: number | undefined
  readonly gatewayPort: number | undefined
  readonly log: (line: string) => void
}

const SETTLED_MS_MAX = 10_000

/** True when all went well. What failed is in the log, with a picture of it. */
export async function smoke({ pagePort, gatewayPort, log }: SmokeOptions): Promise<boolean> {
  // Data of its own, and ports of its own: the run must not touch a demo that somebody is using.
  const dataDir = mkdtempSync(path.join(tmpdir(), 'rota-smoke-'))
  await chmod(dataDir, 0o755)
  let demo: Demo | undefined
  try {
    demo = await startDemo({ dataDir, pagePort: pagePort ?? 0, gatewayPort: gatewayPort ?? 0, page: 'built', log })
    return await drive(demo, log)
  } catch (cause) {
    log(`✗ ${cause instanceof Error ? cause.message : String(cause)}`)
    return false
  } finally {
    await demo?.stop()
    for (const folder of [dataDir, demo?.databaseDir]) if (folder) rmSync(folder, { recursive: true, force: true })
  }
}

async function drive(demo: Demo, log: (line: string) => void): Promise<boolean> {
  const [maya, , aiko] = DEMO_PEOPLE
  if (!maya || !aiko) throw new Error('the demo has no people')
  const database = new pg.Client({ connectionString: demo.databaseUrl })
  await database.connect()
  const { browser, close } = await launchBrowser().catch(async (cause: unknown) => {
    await database.end()
    throw cause
  })
  let step = ''
  const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    step = name
    const startedMs = performance.now()
    const value = await work()
    log(`✓ ${name.padEnd(58)} ${(performance.now() - startedMs).toFixed(0).padStart(6)} ms`)
    return value
  }
  const tabs: DemoPage[] = []
  const newTab = async () => {
    const tab = new DemoPage(await browser.newPage(), demo.pageUrl)
    tabs.push(tab)
    await tab.open()
    return tab
  }
  try {
    const one = await timed('the first tab opens', newTab)
    await timed(`${maya.name} signs in and sees both lists`, () => one.signIn(maya))
    await timed('its link is live', () => one.waitForLink('live'))
    const two = await timed('a second tab finds the session and the lists', async () => {
      const tab = await newTab()
      await tab.loaded(maya)
      return tab
    })
    const key = await freeCompany(database, aiko)
    step = `${key} is given to ${aiko.name} in the first tab`
    const looked = await one.assignAndLook('companies', key, aiko.id)
    if (looked.storeOwner !== aiko.id || looked.screenOwner !== aiko.name) {
      throw new Error(`the store has ${String(looked.storeOwner)} and the screen ${looked.screenOwner} in the same tick`)
    }
    log(`✓ ${`${step}: shown in the same tick`.padEnd(58)} ${looked.tookMs.toFixed(1).padStart(6)} ms`)
    await timed('the second tab shows it', () => two.waitForOwner(key, aiko.name))
    await timed('the server has confirmed it', () => one.waitForSettled(key, SETTLED_MS_MAX))
    await timed('the row is in PostgreSQL', () => expectOwner(database, key, aiko))
    step = 'no error on either page'
    for (const { errors } of tabs) if (errors.length > 0) throw new Error(errors.join('\n'))
    log('smoke run passed')
    return true
  } catch (cause) {
    log(`✗ ${step}: ${cause instanceof Error ? cause.message : String(cause)}`)
    for (const [index, { page }] of tabs.entries()) {
      const picture = path.join(tmpdir(), `rota-smoke-tab-${index + 1}.png`)
      const isTaken = await page.screenshot({ path: picture }).then(
        () => true,
        () => false,
      )
      if (isTaken) log(`  tab ${index + 1} looked like ${picture}`)
    }
    return false
  } finally {
    await close()
    await database.end()
  }
}

/** A company of the person's department that is not the person's. */
async function freeCompany(database: pg.Client, { id, department }: DemoPerson): Promise<string> {
  const { rows } = await database.query<{ id: string }>(
    'select id from companies where department = $1 and owner_id is distinct from $2 order by id limit 1',
    [department, id],
  )
  if (!rows[0]) throw new Error(`no company of ${department} is free`)
  return rows[0].id
}

async function expectOwner(database: pg.Client, key: string, person: DemoPerson): Promise<void> {
  const { rows } = await database.query<{ owner_id: string | null }>('select owner_id from companies where id = $1', [key])
  if (rows[0]?.owner_id !== person.id) throw new Error(`PostgreSQL says that ${key} belongs to ${rows[0]?.owner_id ?? 'nobody'}`)
}
