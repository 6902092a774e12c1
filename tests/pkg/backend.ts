import { BackendError, type Answer, type Backend, type LinkListener, type Operation, type PullRequest, type PullResponse, type StreamEvent, type TokenNews } from 'rota-engine'

export type Row = Record<string, unknown>

/** The key columns of the tables below. */
const KEYS: Record<string, readonly string[]> = { shifts: ['site', 'day'] }

export function keyOf(table: string, row: Row): string {
  const parts = (KEYS[table] ?? ['id']).map((field) => String(row[field]))
  return parts.length === 1 ? parts[0]! : JSON.stringify(parts)
}

interface Fact {
  readonly table: string
  readonly key: string
  readonly version: number
  readonly row: Row | null
}

type Decision = { outcome: 'refused'; code: string; message: string } | { outcome: 'conflicted'; code: string; message: string; fields: string[] } | { outcome: 'retry'; code: string; message: string; afterMs: number }

/** A server of the protocol's, in memory, that can be told to fail in every way that matters. */
export class FakeBackend implements Backend {
  readonly pulls: PullRequest[] = []
  readonly pushes: Operation[] = []
  /** Every operation that had an effect, by id. */
  readonly ledger = new Map<string, Answer>()
  connects = 0
  disconnects = 0
  tokens = 0
  /** When the row that an operation wrote comes back over the stream. */
  echo: 'before' | 'after' | 'none' = 'after'
  /** Whether a link comes up by itself. */
  comesUp = true
  /** False: neither calls nor links get through. */
  online = true
  /** The token is refused by calls and links alike. */
  shutOut = false
  /** Whether a token can be refreshed. */
  refreshHelps = true
  delayMs = 0
  /** Decides an operation instead of doing it. */
  judge: ((operation: Operation) => Decision | undefined) | undefined
  /** What the next calls throw, whatever they are. */
  readonly pushFailures: unknown[] = []
  readonly pullFailures: unknown[] = []
  /** Operations are done, but the answer is lost: this many times. */
  losesReplies = 0
  /** Replaces an answer, or a pull's response, on its way. */
  spoilAnswer: ((answer: Answer) => unknown) | undefined
  spoilResponse: ((response: PullResponse) => unknown) | undefined
  listener: LinkListener | undefined
  onTokenListeners = new Set<(news?: TokenNews) => void>()
  readonly #facts = new Map<string, Fact>()
  #version = 1000
  #held: (() => void)[] | undefined

  /** Writes a row as another person would; the stream tells it. */
  put(table: string, row: Row, options: { silently?: boolean } = {}): Row {
    const stored = this.#write(table, keyOf(table, row), row, null)!
    if (!options.silently) this.tell({ table, kind: 'changed', row: stored })
    return stored
  }

  remove(table: string, key: string, options: { silently?: boolean } = {}): void {
    const row = this.#facts.get(`${table}/${key}`)?.row
    this.#write(table, key, null, null)
    const names = KEYS[table] ?? ['id']
    if (row && !options.silently) this.tell({ table, kind: 'deleted', row: Object.fromEntries(names.map((name) => [name, row[name]])) })
  }

  row(table: string, key: string): Row | null {
    return this.#facts.get(`${table}/${key}`)?.row ?? null
  }

  /** The version of what is, or was, under a key. */
  versionOf(table: string, key: string): string {
    return String(this.#facts.get(`${table}/${key}`)?.version ?? 0)
  }

  tell(...events: unknown[]): void {
    this.listener?.changed(events as StreamEvent[])
  }

  /** Keeps every push waiting until {@link release}. */
  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held
    this.#held = undefined
    for (const go of held ?? []) go()
  }

  cut(failure: BackendError = new BackendError('network', 'the line is cut')): void {
    const { listener } = this
    this.listener = undefined
    listener?.closed(failure)
  }

  async pull(request: PullRequest): Promise<PullResponse> {
    this.pulls.push(request)
    await this.#travel()
    if (this.pullFailures.length > 0) throw this.pullFailures.shift()
    const since = request.cursor === null ? 0 : Number(request.cursor.split(':')[1])
    const records: Record<string, Row[]> = {}
    const gone: PullResponse['gone'][number][] = []
    const isAsked = (fact: Fact) => (request.keys ? (request.keys[fact.table]?.includes(fact.key) ?? false) : fact.version > since)
    const whole = !request.keys && request.cursor === null
    for (const fact of this.#facts.values()) {
      if (!isAsked(fact)) continue
      if (fact.row) (records[fact.table] ??= []).push({ ...fact.row })
      else if (!whole) gone.push({ table: fact.table, key: fact.key, version: String(fact.version) })
    }
    for (const [table, keys] of Object.entries(request.keys ?? {})) {
      for (const key of keys) if (!this.#facts.has(`${table}/${key}`)) gone.push({ table, key, version: '0' })
    }
    const settled = request.pending.flatMap((id) => {
      const answer = this.ledger.get(id)
      return answer ? [{ ...answer, replayed: true }] : []
    })
    const response: PullResponse = { protocol: 1, cursor: request.keys ? null : `one:${this.#version}`, whole, records, gone, settled }
    return (this.spoilResponse ? this.spoilResponse(response) : response) as PullResponse
  }

  async push(operation: Operation): Promise<Answer> {
    this.pushes.push(operation)
    await this.#travel()
    if (this.#held) await new Promise<void>((resolve) => this.#held?.push(resolve))
    if (this.pushFailures.length > 0) throw this.pushFailures.shift()
    const known = this.ledger.get(operation.id)
    const answer = known ? { ...known, replayed: true } : this.#decide(operation)
    if (this.losesReplies > 0) {
      this.losesReplies--
      throw new BackendError('network', 'the reply was lost')
    }
    return (this.spoilAnswer ? this.spoilAnswer(answer) : answer) as Answer
  }

  connect(_tables: readonly string[], listener: LinkListener): () => void {
    this.connects++
    this.listener = listener
    if (this.comesUp) {
      queueMicrotask(() => {
        if (this.listener !== listener) return
        if (this.shutOut) this.cut(new BackendError('auth', 'the token has expired'))
        else if (!this.online) this.cut()
        else this.comeUp()
      })
    }
    return () => {
      this.disconnects++
      if (this.listener === listener) this.listener = undefined
    }
  }

  comeUp(): void {
    this.listener?.joined()
    this.listener?.live()
  }

  async refreshToken(): Promise<void> {
    this.tokens++
    await Promise.resolve()
    if (!this.refreshHelps) throw new Error('signed out')
    this.shutOut = false
  }

  onToken(listener: (news?: TokenNews) => void): () => void {
    this.onTokenListeners.add(listener)
    return () => this.onTokenListeners.delete(listener)
  }

  async #travel(): Promise<void> {
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs))
    else await Promise.resolve()
    if (this.shutOut) throw new BackendError('auth', 'the token has expired')
    if (!this.online) throw new BackendError('network', 'no route')
  }

  #decide(operation: Operation): Answer {
    const { id, table, key } = operation
    const common = { protocol: 1, id, table, key, replayed: false }
    const verdict = this.judge?.(operation)
    const fact = this.#facts.get(`${table}/${key}`)
    if (verdict?.outcome === 'retry') return { ...common, ...verdict }
    const now = fact ? { version: String(fact.version), record: fact.row && { ...fact.row } } : { version: '0', record: null }
    if (verdict?.outcome === 'conflicted') return this.#record({ ...common, ...verdict, ...now })
    if (verdict) return this.#record({ ...common, ...verdict, ...(fact?.row ? now : {}) })
    if (!fact?.row && operation.name === 'delete') return this.#record({ ...common, outcome: 'confirmed', version: now.version, record: null })
    if (!fact?.row && operation.name !== 'insert') return this.#record({ ...common, outcome: 'refused', code: 'not-found', message: `there is no ${key}` })
    if (fact?.row && operation.name === 'insert') return this.#record({ ...common, outcome: 'refused', code: 'exists', message: `there is a ${key}`, ...now })
    const row = operation.name === 'delete' ? null : { ...fact?.row, ...operation.set }
    const stored = this.#write(table, key, row, id)
    const answer: Answer = { ...common, outcome: 'confirmed', version: String(this.#version), record: stored && { ...stored } }
    this.#record(answer)
    const event = stored ? { table, kind: 'changed', row: { ...stored } } : { table, kind: 'deleted', row: { ...fact?.row } }
    if (this.echo === 'before') this.tell(event)
    if (this.echo === 'after') setTimeout(() => this.tell(event), 3)
    return answer
  }

  #record(answer: Answer): Answer {
    this.ledger.set(answer.id, answer)
    return answer
  }

  #write(table: string, key: string, row: Row | null, operation: string | null): Row | null {
    const version = ++this.#version
    const stored = row && { ...row, rota_version: String(version), rota_op: operation }
    this.#facts.set(`${table}/${key}`, { table, key, version, row: stored })
    return stored
  }
}
