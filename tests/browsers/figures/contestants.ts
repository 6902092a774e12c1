/** A store that keeps on disk, one that does not, and the same by hand, in one page, each with a server that answers at once. */

import type { Tab } from '../harness.js'

export const RECORDS = 10_000
export const SUBSCRIBED = 1_000

/** Leaves `window.tab.notes.run(name, count)` in the page, which makes that many changes and returns how long they took. */
export async function prepare(tab: Pick<Tab, 'evaluate'>): Promise<void> {
  await tab.evaluate(
    async (records, subscribed) => {
      const { createStore, init, table } = window.tab.rota
      await init()
      const row = (at: number) => ({ id: `r-${at}`, name: `Record ${at}`, city: 'Ghent', owner_id: null as string | null, rota_version: '1', rota_op: null })
      const open = (app: string, storage: 'auto' | 'memory') => {
        let version = 1
        const store = createStore({
          app,
          user: 'maya',
          storage,
          tables: { records: table<{ id: string; name: string; city: string; owner_id: string | null }>({ key: 'id', fields: ['id', 'name', 'city', 'owner_id'], owner: 'owner_id' }) },
          backend: {
            pull: async () => ({ protocol: 1, cursor: '1', whole: true, records: { records: Array.from({ length: records }, (_, at) => row(at)) }, gone: [], settled: [] }),
            push: async (operation) => {
              const { id, key } = operation
              const owner_id = (operation.args as { to: string | null }).to
              const record = { ...row(Number(key.slice(2))), owner_id, rota_version: String(++version), rota_op: id }
              return { protocol: 1, id, table: 'records', key, replayed: false, outcome: 'confirmed', version: record.rota_version, record } as const
            },
            connect: (_tables, listener) => {
              queueMicrotask(() => {
                listener.joined()
                listener.live()
              })
              return () => undefined
            },
          },
        })
        for (let at = 0; at < subscribed; at++) store.subscribe('records', `r-${at}`, () => undefined)
        return async (count: number) => {
          let mutateMs = 0
          const startedMs = performance.now()
          for (let at = 0; at < count; at++) {
            const before = performance.now()
            const { settled } = store.assignments.assign('records', `r-${at % subscribed}`, `person-${at}-${startedMs}`)
            mutateMs += performance.now() - before
            await settled
          }
          return { whole: ((performance.now() - startedMs) * 1_000) / count, mutate: (mutateMs * 1_000) / count }
        }
      }
      const byHand = (isDurable: boolean) => {
        const rows = new Map(Array.from({ length: records }, (_, at) => [`r-${at}`, row(at)]))
        const listeners = new Map<string, Set<() => void>>(Array.from({ length: subscribed }, (_, at) => [`r-${at}`, new Set([() => undefined])]))
        const tell = (key: string) => {
          for (const listener of listeners.get(key) ?? []) listener()
        }
        return async (count: number) => {
          let mutateMs = 0
          const startedMs = performance.now()
          for (let at = 0; at < count; at++) {
            const before = performance.now()
            const key = `r-${at % subscribed}`
            const confirmed = rows.get(key)!
            const operation = { v: 1, op: { protocol: 1, id: crypto.randomUUID(), name: 'assign', table: 'records', key, args: { to: `person-${at}-${startedMs}` }, set: { owner_id: `person-${at}-${startedMs}` }, base: { owner_id: confirmed.owner_id }, baseVersion: confirmed.rota_version, hlc: `${startedMs}-${at}`, tab: 'one', after: [] } }
            const entry = `hand:op:${operation.op.id}`
            if (isDurable) localStorage.setItem(entry, JSON.stringify(operation))
            rows.set(key, { ...confirmed, owner_id: operation.op.args.to })
            tell(key)
            mutateMs += performance.now() - before
            const answer = await (async () => ({ ...rows.get(key)!, rota_version: String(at), rota_op: null }))()
            rows.set(key, answer)
            tell(key)
            if (isDurable) localStorage.removeItem(entry)
          }
          return { whole: ((performance.now() - startedMs) * 1_000) / count, mutate: (mutateMs * 1_000) / count }
        }
      }
      /** What storing alone costs. */
      const storing = async (count: number) => {
        const operation = { v: 1, op: { protocol: 1, id: '', name: 'assign', table: 'records', key: 'r-1', args: { to: 'person-1' }, set: { owner_id: 'person-1' }, base: { owner_id: null }, baseVersion: '1', hlc: '1-1', tab: 'one', after: [] } }
        const startedMs = performance.now()
        for (let at = 0; at < count; at++) {
          const entry = `hand:op:${at}`
          localStorage.setItem(entry, JSON.stringify({ ...operation, at }))
          localStorage.removeItem(entry)
        }
        const whole = ((performance.now() - startedMs) * 1_000) / count
        return { whole, mutate: whole }
      }
      const contestants = { durable: open('durable', 'auto'), memory: open('memory', 'memory'), byHand: byHand(true), byHandMemory: byHand(false), storing }
      window.tab.notes['run'] = (name: keyof typeof contestants, count: number) => contestants[name](count)
      // Both have everything.
      await new Promise((resolve) => setTimeout(resolve, 2_000))
    },
    RECORDS,
    SUBSCRIBED,
  )
}
