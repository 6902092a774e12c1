/** One tab of one browser with the tests' page, the same whichever browser it is. */

import type { Durability, OperationView, Problem, Settlement, Stats, Status } from 'rota-engine'
import { toQuery, type SetUp } from './page/set-up.js'
import type { DriverTab, Held } from './engines/driver.js'

export type Owned = 'companies' | 'leads'

const SHOWN_MS_MAX = 15_000

export class Tab {
  readonly #driver: DriverTab
  readonly #pageUrl: string
  /** False once it was closed, or killed in whatever way. */
  isAlive = true

  constructor(driver: DriverTab, pageUrl: string) {
    this.#driver = driver
    this.#pageUrl = pageUrl
  }

  /** Loads the page; without `start: false`, resolves when there is a store. */
  async open(setUp: SetUp): Promise<void> {
    await this.#driver.goto(`${this.#pageUrl}/${toQuery(setUp)}`)
    await this.#loaded(setUp.user !== undefined && setUp.start !== false)
  }

  async reload(): Promise<void> {
    const hadStore = await this.evaluate(() => window.tab.store !== undefined)
    await this.#driver.reload()
    await this.#loaded(hadStore)
  }

  async #loaded(hasStore: boolean): Promise<void> {
    await this.waitFor(
      'the page to load',
      () => this.evaluate(() => ({ isThere: 'tab' in window, hasStore: window.tab?.store !== undefined, errors: window.tab?.errors ?? [] })),
      (page) => page.errors.length > 0 || (page.isThere && (page.hasStore || !hasStore)),
    ).then(({ errors }) => {
      if (errors.length > 0) throw new Error(`the page threw: ${errors.join('\n')}`)
    })
  }

  /** Runs a function in the page, with arguments that are data, and awaits it. In WebKit nothing else happens meanwhile: let it be short. */
  async evaluate<A extends readonly unknown[], R>(run: (...args: A) => R, ...args: A): Promise<Awaited<R>> {
    const given = args.map((argument) => JSON.stringify(argument) ?? 'undefined').join(', ')
    return (await this.#driver.evaluate(`(${run.toString()})(${given})`)) as Awaited<R>
  }

  /** Resolves, as `crash` does, with the moment at which it was told to go, in ms since 1970. */
  close(): Promise<number> {
    this.isAlive = false
    return this.#driver.close()
  }

  /** Kills the process that the page runs in. Needs `crash`. */
  crash(): Promise<number> {
    this.isAlive = false
    return this.#driver.crash()
  }

  /** Keeps the page's only thread busy, from a moment after this has resolved on. */
  async block(forMs: number): Promise<void> {
    await this.evaluate((ms) => {
      // Not a timer: those of a hidden tab come late.
      const { port1, port2 } = new MessageChannel()
      const startMs = performance.now() + 30
      port1.addEventListener('message', () => {
        if (performance.now() < startMs) return port2.postMessage(0)
        window.tab.notes['blockedAt'] = performance.timeOrigin + performance.now()
        const endMs = performance.now() + ms
        while (performance.now() < endMs);
      })
      port1.start()
      port2.postMessage(0)
    }, forMs)
    await new Promise((resolve) => setTimeout(resolve, 60))
  }

  /** Needs `freeze`. Another tab must be in front. */
  async freeze(): Promise<void> {
    await this.#driver.freeze()
  }

  async resume(): Promise<void> {
    await this.#driver.resume()
  }

  /** In front of the profile's other tabs, which are hidden by that. Needs `hide`. */
  async show(): Promise<void> {
    await this.#driver.show()
  }

  /** How many bytes the page's origin may store; without a number, as many as ever. Needs `quota`. */
  async limitStorage(bytes: number | undefined): Promise<void> {
    if (!this.#driver.limitStorage) throw new Error('no way to limit storage')
    await this.#driver.limitStorage(bytes)
  }

  /** What the page holds, garbage apart. Needs `measure`. */
  measure(): Promise<Held> {
    if (!this.#driver.measure) throw new Error('no way to measure')
    return this.#driver.measure()
  }

  // -------------------------------------------------------------------------------------------------- what it shows

  status(): Promise<Status> {
    return this.evaluate(() => window.tab.store!.status())
  }

  stats(): Promise<Stats> {
    return this.evaluate(() => window.tab.store!.stats())
  }

  problems(): Promise<Problem[]> {
    return this.evaluate(() => window.tab.problems)
  }

  errors(): Promise<string[]> {
    return this.evaluate(() => window.tab?.errors ?? [])
  }

  operations(): Promise<{ pending: OperationView[]; recent: OperationView[] }> {
    return this.evaluate(() => window.tab.store!.operations() as { pending: OperationView[]; recent: OperationView[] })
  }

  /** The id of a record's owner as it shows; null for nobody, undefined for no such record. */
  owner(table: Owned, key: string): Promise<string | null | undefined> {
    return this.evaluate((name, id) => window.tab.store!.get(name, id)?.owner_id, table, key)
  }

  // -------------------------------------------------------------------------------------------------- what it does

  /** Assigns, and returns the operation's id. What becomes of it: `outcome`, `durable`. */
  assign(table: Owned, key: string, to: string | null): Promise<string> {
    return this.evaluate(
      (name, id, owner) => {
        const { tab } = window
        const { id: operation, durable, settled } = tab.store!.assignments.assign(name, id, owner)
        const promised = (tab.notes['promised'] ??= {}) as Record<string, { durable?: Durability; settled?: Settlement }>
        const mine = (promised[operation] = {} as { durable?: Durability; settled?: Settlement })
        void durable.then((value) => (mine.durable = value))
        void settled.then((value) => (mine.settled = value))
        return operation
      },
      table,
      key,
      to,
    )
  }

  /** How an operation ended that `assign` made in this page; undefined while it has not. */
  async outcome(operation: string): Promise<Settlement | undefined> {
    return (await this.evaluate((id) => window.tab.notes['promised']?.[id] ?? {}, operation)).settled
  }

  /** How durable an operation is that `assign` made in this page; undefined until that is known. */
  async durable(operation: string): Promise<Durability | undefined> {
    return (await this.evaluate((id) => window.tab.notes['promised']?.[id] ?? {}, operation)).durable
  }

  /** Tries to reach the server now. */
  reconnect(): Promise<void> {
    return this.evaluate(() => window.tab.store!.reconnect())
  }

  /** What the browser keeps of a person's: how many operations and records, and the names of what else there is. */
  kept(user: string, app = 'browsers'): Promise<{ operations: number; records: number; others: string[] }> {
    return this.evaluate(async (name) => {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(`${name}:`)).map((key) => key.slice(name.length + 1))
      const database = await new Promise<IDBDatabase>((resolve, reject) => {
        const opening = indexedDB.open(name)
        opening.addEventListener('success', () => resolve(opening.result))
        opening.addEventListener('error', () => reject(opening.error))
      })
      const count = (store: string) =>
        new Promise<number>((resolve, reject) => {
          if (!database.objectStoreNames.contains(store)) return resolve(0)
          const counting = database.transaction(store).objectStore(store).count()
          counting.addEventListener('success', () => resolve(counting.result))
          counting.addEventListener('error', () => reject(counting.error))
        })
      const [operations, records] = [await count('operations'), await count('records')]
      database.close()
      const isOperation = (key: string) => key.startsWith('op:')
      return { operations: operations + keys.filter(isOperation).length, records, others: keys.filter((key) => !isOperation(key)) }
    }, `rota:1:${app}:${user}`)
  }

  // -------------------------------------------------------------------------------------------------- waiting

  waitForRole(role: Status['role'], timeoutMs = SHOWN_MS_MAX): Promise<Status> {
    return this.waitFor(`the role ${role}`, () => this.status(), (status) => status.role === role, timeoutMs)
  }

  waitForLink(state: Status['link']['state'], timeoutMs = SHOWN_MS_MAX): Promise<Status> {
    return this.waitFor(`the link to be ${state}`, () => this.status(), ({ link }) => link.state === state, timeoutMs)
  }

  waitForUnsent(count: number, timeoutMs = SHOWN_MS_MAX): Promise<Status> {
    return this.waitFor(`${count} unsent`, () => this.status(), ({ unsent }) => unsent === count, timeoutMs)
  }

  waitForOwner(table: Owned, key: string, owner: string | null, timeoutMs = SHOWN_MS_MAX): Promise<unknown> {
    return this.waitFor(`${owner} to own ${key}`, () => this.owner(table, key), (found) => found === owner, timeoutMs)
  }

  waitForOutcome(operation: string, outcome: Settlement['outcome'], timeoutMs = SHOWN_MS_MAX): Promise<unknown> {
    return this.waitFor(`${operation} to be ${outcome}`, () => this.outcome(operation), (settled) => settled?.outcome === outcome, timeoutMs)
  }

  /** Ready for anything: it has a role, everything is fetched, and the link is live. */
  waitUntilReady(timeoutMs = SHOWN_MS_MAX): Promise<Status> {
    return this.waitFor('a live link', () => this.status(), ({ ready, link }) => ready && link.state === 'live', timeoutMs)
  }

  /** Looks again and again, from outside: a hidden tab's own timers are slow. */
  async waitFor<V>(what: string, look: () => Promise<V>, isRight: (seen: V) => boolean, timeoutMs = SHOWN_MS_MAX): Promise<V> {
    const endMs = performance.now() + timeoutMs
    for (;;) {
      const seen = await look()
      if (isRight(seen)) return seen
      if (performance.now() > endMs) throw new Error(`after ${timeoutMs} ms of waiting for ${what}: ${JSON.stringify(seen)}`)
      await new Promise((resolve) => setTimeout(resolve, 15))
    }
  }
}
