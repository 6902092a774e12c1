/** Opens a store of either release, in a page or in a worker. */

import type { Backend, LinkListener, Mutated, Operation, Problem, PullRequest, Settlement, Store, StoreOptions } from 'rota-engine'
import type * as Rota from 'rota-engine'

export type Company = { id: string; name: string; city: string | null; owner_id: string | null }
export type PlainStore = Store<{ companies: Rota.Table<Company> }>

export interface Opened {
  readonly store: PlainStore
  readonly problems: Problem[]
  /** How the operations ended that were made here. */
  readonly ends: Record<string, Settlement>
  /** Makes an operation, and returns its id. */
  patch(key: string, city: string): string
  /** Makes one of protocol 2. */
  transact(commands: readonly object[]): string
}

interface Wasm {
  RotaEngine: { prototype: { start(): void; transact(commands: readonly object[]): string } }
}

export async function openStore(options: { release?: string; user?: string; app?: string; more?: Partial<StoreOptions<never>> }): Promise<Opened> {
  const { release = 'new', app = 'plain', user = 'maya', more } = options
  const { createStore, init, table, BackendError } = (await import(`/${release}/dist/index.js`)) as typeof Rota
  const { RotaEngine } = (await import(`/${release}/wasm/rota_engine.js`)) as Wasm
  await init()
  // The package holds no engine out.
  let engine: Wasm['RotaEngine']['prototype'] | undefined
  const { start } = RotaEngine.prototype
  const hold = (started: Wasm['RotaEngine']['prototype']) => (engine = started)
  RotaEngine.prototype.start = function () {
    hold(this)
    start.call(this)
  }
  const problems: Problem[] = []
  const ends: Record<string, Settlement> = {}
  const ask = async (what: string, body: unknown): Promise<never> => {
    const response = await fetch(`/${what}`, { method: 'POST', body: JSON.stringify(body) }).catch((error: unknown) => {
      throw new BackendError('network', String(error))
    })
    if (!response.ok) throw new BackendError('server', await response.text())
    return (await response.json()) as never
  }
  const backend: Backend = {
    pull: (request: PullRequest) => ask('pull', request),
    push: (operation: Operation) => ask('push', operation),
    connect(_tables: readonly string[], listener: LinkListener) {
      const stream = new EventSource('/stream')
      stream.addEventListener('open', () => {
        listener.joined()
        listener.live()
      })
      stream.addEventListener('error', () => {
        stream.close()
        listener.closed(new BackendError('network', 'the stream broke'))
      })
      stream.addEventListener('message', ({ data }) => listener.changed(JSON.parse(data as string) as never))
      return () => stream.close()
    },
  }
  const tables = { companies: table<Company>({ key: 'id', fields: ['id', 'name', 'city', 'owner_id'], owner: 'owner_id' }) }
  const store = createStore({ app, user, tables, backend, onProblem: (problem) => void problems.push(problem), ...more }) as unknown as PlainStore
  const note = ({ id, settled }: Mutated): string => {
    void settled.then((end) => (ends[id] = end))
    return id
  }
  return {
    store,
    problems,
    ends,
    patch: (key, city) => note(store.mutate({ name: 'patch', table: 'companies', key, set: { city } })),
    transact: (commands) => engine!.transact(commands),
  }
}
