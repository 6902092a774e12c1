import { BackendError, type Answer, type Backend, type LinkListener, type Operation, type Peer, type PullRequest, type StreamEvent } from './backend.js'
import { DerivedFields } from './derived.js'
import type { RotaEngine } from './init.js'
import type { ChangeList, Mirror } from './mirror.js'
import { keyText } from './tables.js'
import type { Durability, Mutated, Problem, Settlement } from './types.js'
import { plainObject, readableMembers } from './values.js'

/** No server may ask for a longer wait; a day. */
const AFTER_MS_MAX = 86_400_000

interface Promised {
  durable(durability: Durability): void
  settled(settlement: Settlement): void
}

/** Something of a table that could not be read; `row` has what could be. */
interface Stale {
  readonly table: string
  readonly row: object | undefined
}

/** Performs what the engine asks for and its shell can't do: calls the backend, tells subscribers, resolves promises. */
export class Host {
  readonly #backend: Backend
  readonly #mirror: Mirror
  /** The key fields of each table. */
  readonly #keys: ReadonlyMap<string, readonly string[]>
  readonly #derived: DerivedFields
  readonly #user: string
  readonly #stopped = new AbortController()
  readonly #promised = new Map<string, Promised>()
  /** Ends that came before anybody could wait for them: within `mutate` itself. */
  readonly #early = new Map<string, { durability?: Durability; settlement?: Settlement }>()
  #engine: RotaEngine | undefined
  #signedOut: ((gone: Promise<boolean>) => void) | undefined
  /** Resolves once what this person left in the browser is gone, with whether it is. */
  #gone: Promise<boolean> = Promise.resolve(true)
  #logoutRefused: ((problem: Problem) => void) | undefined
  #disconnect: (() => void) | undefined
  /** The link that is open, or being opened. */
  #link: LinkListener | undefined
  /** Why the backend must not be called now. */
  #heldBack: BackendError | undefined
  #mutating = 0
  /** How many pulls were begun, and who waits for the end of a later one. */
  #pulls = 0
  readonly #arriving = new Set<{ readonly after: number; arrived(): void }>()

  constructor(backend: Backend, mirror: Mirror, keys: ReadonlyMap<string, readonly string[]>, fields: ReadonlyMap<string, readonly string[]>, user: string) {
    this.#user = user
    this.#backend = backend
    this.#mirror = mirror
    this.#keys = keys
    this.#derived = new DerivedFields(fields)
  }

  /**
   * `signedOut` is called once the engine has let go of everything, because the person has logged out, here or in another tab, with what
   * resolves when the browser has, too; `logoutRefused` when a logout that was asked for here is none after all.
   */
  attach(engine: RotaEngine, signedOut: (gone: Promise<boolean>) => void, logoutRefused: (problem: Problem) => void): void {
    this.#engine = engine
    this.#signedOut = signedOut
    this.#logoutRefused = logoutRefused
  }

  /** Runs a mutation, and returns its id with what it promises; nothing where it turned out that none was needed. */
  mutate(run: () => string): Mutated
  mutate(run: () => string | undefined): Mutated | undefined
  mutate(run: () => string | undefined): Mutated | undefined {
    this.#mutating++
    try {
      const id = run()
      if (id === undefined) return undefined
      const early = this.#early.get(id)
      this.#early.delete(id)
      const promised: Partial<Promised> = {}
      const durable = new Promise<Durability>((resolve) => (promised.durable = resolve))
      const settled = new Promise<Settlement>((resolve) => (promised.settled = resolve))
      const whole = promised as Promised
      if (early?.durability) whole.durable(early.durability)
      if (early?.settlement) whole.settled(early.settlement)
      else this.#promised.set(id, whole)
      return { id, temporaryKeys: [], durable, settled }
    } finally {
      this.#mutating--
      if (this.#mutating === 0) this.#early.clear()
    }
  }

  /** The shell's one way out. It must not throw into Rust, so every branch catches its own. */
  readonly perform = (name: string, detail: unknown): void => {
    switch (name) {
      case 'notify':
        return this.#guard(() => this.#mirror.apply(detail as ChangeList))
      case 'settled':
        return this.#settle(detail as Settlement)
      case 'durable':
        return this.#durable(...(detail as [string, Durability]))
      case 'report':
        return this.#guard(() => this.#mirror.report(detail as Problem))
      case 'pull':
        return void this.#pull(detail as { id: number; request: PullRequest })
      case 'push':
        return void this.#push(detail as Operation)
      case 'pushAll':
        return void this.#pushAll(...(detail as [number, readonly Operation[]]))
      case 'gather':
        // Also where nobody sees the page, and timers are slow.
        return queueMicrotask(() => this.tell((engine) => engine.gathered()))
      case 'connect':
        return this.#connect(detail as number)
      case 'disconnect':
        return this.#disconnectNow()
      case 'purging':
        this.#gone = detail as Promise<boolean>
        return
      case 'signedOut':
        return this.#guard(() => this.#signedOut?.(this.#gone))
      case 'logoutRefused':
        return this.#guard(() => this.#logoutRefused?.(detail as Problem))
      case 'presence':
        return this.#guard(() => this.#backend.presence?.(detail as readonly Peer[]))
      case 'ping':
        return void this.#ping(detail as number)
      case 'refreshToken':
        return void this.#refreshToken()
    }
  }

  /** Tells the engine a fact, unless it is too late for that. */
  tell(fact: (engine: RotaEngine) => void): void {
    const engine = this.#engine
    if (engine && !this.#stopped.signal.aborted) this.#guard(() => fact(engine))
  }

  /** Makes no call of the backend for now, and ends the link; without a reason, calls are made again. */
  holdBack(why: BackendError | undefined): void {
    this.#heldBack = why
    if (why) this.#link?.closed(why)
  }

  #requireOwn(): void {
    if (this.#heldBack) throw this.#heldBack
  }

  /** Ends everything under way. What was promised and is still open resolves with the least that is certain. */
  stop(durability: Durability, why = { code: 'closed', message: 'the store was closed before the server answered' }): void {
    this.#stopped.abort()
    this.#disconnectNow()
    for (const [id, promised] of this.#promised) {
      promised.durable(durability === 'full' ? 'tab' : durability)
      // The engine has said so itself, unless it crashed.
      promised.settled({ id, outcome: 'unknown', ...why })
    }
    this.#promised.clear()
  }

  get signal(): AbortSignal {
    return this.#stopped.signal
  }

  #settle(settlement: Settlement): void {
    if (settlement.winner) this.#mirror.noteWinner(settlement.id, settlement.winner)
    const promised = this.#promised.get(settlement.id)
    if (!promised) {
      if (this.#mutating > 0) this.#early.set(settlement.id, { ...this.#early.get(settlement.id), settlement })
      return
    }
    promised.settled(settlement)
    if (settlement.outcome !== 'dead') {
      // It has ended, so it is in the server's hands: nothing safer will come.
      promised.durable('full')
      this.#promised.delete(settlement.id)
    }
  }

  #durable(id: string, durability: Durability): void {
    const promised = this.#promised.get(id)
    if (promised) promised.durable(durability)
    else if (this.#mutating > 0) this.#early.set(id, { ...this.#early.get(id), durability })
  }

  /** Runs what causes a pull, and calls back when one has ended that began no earlier, however. Returns how not to be called. */
  pulledAfter(run: () => void, arrived: () => void): () => void {
    const waiting = { after: this.#pulls, arrived }
    run()
    this.#arriving.add(waiting)
    return () => void this.#arriving.delete(waiting)
  }

  async #pull({ id, request }: { id: number; request: PullRequest }): Promise<void> {
    const number = ++this.#pulls
    await this.#pullNow(id, request)
    for (const waiting of this.#arriving) {
      if (waiting.after >= number) continue
      this.#arriving.delete(waiting)
      this.#guard(waiting.arrived)
    }
  }

  async #pullNow(id: number, request: PullRequest): Promise<void> {
    try {
      this.#requireOwn()
      const response = await this.#backend.pull(request, this.#stopped.signal, this.#user)
      // By now it may be what somebody else may see.
      this.#requireOwn()
      const stale: Stale[] = []
      const copied = {
        ...response,
        records: copyRows(response?.records, (problem) => this.#report(problem)),
        settled: Array.isArray(response?.settled) ? response.settled.map((answer) => this.#copyAnswer(answer, stale, false)) : response?.settled,
      }
      this.tell((engine) => engine.pulled(id, copied))
      for (const table of this.#derived.learn(response?.generated)) stale.push({ table, row: undefined })
      this.#fetchAgain(stale)
    } catch (error) {
      const { failure, message } = readFailure(error)
      this.tell((engine) => engine.pullFailed(id, failure, message))
    }
  }

  async #push(operation: Operation): Promise<void> {
    // The backend gets the object, and may do with it what it likes.
    const { id } = operation
    try {
      this.#requireOwn()
      const stale: Stale[] = []
      const answer = this.#copyAnswer(await this.#backend.push(operation, this.#stopped.signal, this.#user), stale, true)
      this.tell((engine) => engine.answered(id, answer))
      this.#fetchAgain(stale)
    } catch (error) {
      const { failure, message, afterMs } = readFailure(error)
      this.tell((engine) => engine.pushFailed(id, failure, message, afterMs))
    }
  }

  async #pushAll(call: number, operations: readonly Operation[]): Promise<void> {
    const ids = operations.map(({ id }) => id)
    try {
      this.#requireOwn()
      const told: unknown = await this.#backend.pushAll?.(operations, this.#stopped.signal, this.#user)
      if (told === undefined) return this.tell((engine) => engine.callDeclined(call))
      if (!Array.isArray(told)) throw new BackendError('unknown', 'several operations were answered with something else than a list')
      const stale: Stale[] = []
      const { answers, unanswered } = this.#sort(ids, told, stale)
      this.tell((engine) => engine.callAnswered(call, answers, unanswered))
      this.#fetchAgain(stale)
    } catch (error) {
      const { failure, message, afterMs } = readFailure(error)
      this.tell((engine) => engine.callFailed(call, failure, message, afterMs))
    }
  }

  /** Finds whose each answer is: by the id in it, and of one that is only a failure, by its place. Both lists are flat, as the engine takes them. */
  #sort(ids: readonly string[], told: readonly unknown[], stale: Stale[]): { answers: unknown[]; unanswered: unknown[] } {
    const open = new Set(ids)
    const answers: unknown[] = []
    const unanswered: unknown[] = []
    let strays = 0
    const fail = (id: string, error: unknown) => {
      const { failure, message, afterMs } = readFailure(error)
      if (open.delete(id)) unanswered.push(id, failure, message, afterMs)
    }
    for (const [place, one] of told.entries()) {
      const id = one instanceof Error ? ids[place] : idOf(one)
      if (id === undefined || !open.has(id)) {
        strays++
      } else if (one instanceof Error) {
        fail(id, one)
      } else {
        try {
          answers.push(id, this.#copyAnswer(one as Answer, stale, true))
          open.delete(id)
        } catch (error) {
          fail(id, error)
        }
      }
    }
    if (strays > 0) this.#report({ code: 'malformed-answer', place: 'pushAll', message: `${strays} of the answers are to operations that were not sent with them, or were answered already` })
    return { answers, unanswered }
  }

  /** Tells the server that its person is at work in a record. False where it does not know of it; undefined where the backend can't tell it. */
  async active(table: string, key: string): Promise<boolean | undefined> {
    this.#requireOwn()
    return this.#backend.active?.(table, key, this.#stopped.signal, this.#user)
  }

  #connect(attempt: number): void {
    this.#disconnectNow()
    let isOpen = true
    const tell = (fact: (engine: RotaEngine) => void) => {
      if (isOpen) this.tell(fact)
    }
    const listener: LinkListener = {
      joined: () => tell((engine) => engine.joined(attempt)),
      live: () => tell((engine) => engine.live(attempt)),
      closed: (error) => {
        const { failure, message } = readFailure(error)
        if (this.#link === listener) this.#link = undefined
        tell((engine) => engine.linkClosed(attempt, failure, message))
        isOpen = false
      },
      present: (peers) => tell((engine) => engine.presenceHeard(peers)),
      changed: (events) => tell((engine) => this.#changed(engine, events)),
    }
    // While it is being opened there is nothing to disconnect yet, but it may already be too late for it.
    const opening = () => {
      isOpen = false
    }
    this.#disconnect = opening
    this.#link = listener
    try {
      this.#requireOwn()
      const disconnect = this.#backend.connect([...this.#keys.keys()], listener, this.#user)
      const isWanted = isOpen && this.#disconnect === opening && !this.#stopped.signal.aborted
      if (!isWanted) {
        isOpen = false
        if (this.#disconnect === opening) this.#disconnect = undefined
        return this.#guard(disconnect)
      }
      this.#disconnect = () => {
        isOpen = false
        disconnect()
      }
    } catch (error) {
      listener.closed(toBackendError(error))
    }
  }

  #changed(engine: RotaEngine, events: readonly StreamEvent[]): void {
    const flat: unknown[] = []
    if (!Array.isArray(events)) return this.#report({ code: 'malformed-event', place: 'the stream', message: 'events must come as a list' })
    const stale: Stale[] = []
    for (const event of events as readonly StreamEvent[]) {
      const place = typeof event?.table === 'string' ? event.table : 'the stream'
      let given: unknown
      try {
        given = event.row
        const row = plainObject(given, place)
        const key = this.#keyOf(event.table, row)
        const old = event.kind === 'changed' && key ? this.#keyOf(event.table, readableMembers(event.old)) : undefined
        // Nothing is left under the key that the row had before.
        if (key && old && keyText(Object.values(old)) !== keyText(Object.values(key))) flat.push(event.table, 'deleted', old)
        flat.push(event.table, event.kind, row)
        if (event.kind === 'changed' && key && this.#derived.isLacking(event.table, row)) stale.push({ table: event.table, row: key })
      } catch (error) {
        this.#report({ code: 'malformed-event', place, message: messageOf(error) })
        stale.push({ table: place, row: readableMembers(given) })
      }
    }
    if (flat.length > 0) engine.changed(flat)
    this.#fetchAgain(stale)
  }

  /** The key's fields of a row, where all are there. */
  #keyOf(table: string, row: Readonly<Record<string, unknown>> | undefined): Record<string, string | number> | undefined {
    const fields = this.#keys.get(table)
    if (!fields || !row) return undefined
    const parts: [string, string | number][] = []
    for (const field of fields) {
      const part = Object.hasOwn(row, field) ? row[field] : undefined
      if ((typeof part !== 'string' || part === '') && !Number.isSafeInteger(part)) return undefined
      parts.push([field, part as string | number])
    }
    return Object.fromEntries(parts)
  }

  /** Asks the engine to fetch what could not be read. */
  #fetchAgain(stale: readonly Stale[]): void {
    for (const { table, row } of stale) if (this.#keys.has(table)) this.tell((engine) => engine.stale(table, row))
  }

  /**
   * Copies an answer, its record into plain data: the backend's own object is neither kept nor frozen. An answer counts even where its
   * record can't be read: what the server decided is decided.
   */
  #copyAnswer(answer: Answer, stale: Stale[], isStrict: boolean): unknown {
    if (typeof answer !== 'object' || answer === null || !('record' in answer) || answer.record === undefined) return answer
    const { record } = answer
    try {
      return { ...answer, record: record === null ? null : plainObject(record, 'record') }
    } catch (error) {
      // What is no object at all is no record, and an answer with such a thing none of the protocol's.
      if (isStrict && (typeof record !== 'object' || Array.isArray(record))) throw error
      const { table, outcome } = answer
      this.#report({ code: 'malformed-event', place: String(table), message: `an answer's ${messageOf(error)}` })
      stale.push({ table, row: undefined })
      const isRequired = outcome === 'confirmed' || outcome === 'conflicted'
      return { ...answer, record: undefined, version: undefined, ...(isRequired ? { recordUnreadable: true } : {}) }
    }
  }

  #disconnectNow(): void {
    const disconnect = this.#disconnect
    this.#disconnect = undefined
    this.#link = undefined
    if (disconnect) this.#guard(disconnect)
  }

  async #refreshToken(): Promise<void> {
    try {
      // A backend without this has its own way to a fresh token, and tells of it by `onToken`.
      if (!this.#backend.refreshToken) return this.tell((engine) => engine.tokenKept())
      // Nor is there any use in asking: whoever is held back hears of the next token.
      if (this.#heldBack) return this.tell((engine) => engine.tokenKept())
      await this.#backend.refreshToken(this.#user)
      this.tell((engine) => engine.tokenRefreshed())
    } catch (error) {
      const { failure, message } = readFailure(error)
      this.tell((engine) => (failure === 'network' || failure === 'timeout' ? engine.tokenMissed(failure, message) : engine.tokenRefused(message)))
    }
  }

  /** No answer is an answer too: the engine waits for one only so long. */
  async #ping(attempt: number): Promise<void> {
    try {
      if (!this.#backend.ping) return
      await this.#backend.ping()
      this.tell((engine) => engine.ponged(attempt))
    } catch (error) {
      const { failure, message } = readFailure(error)
      this.tell((engine) => engine.linkClosed(attempt, failure, message))
    }
  }

  #report(problem: Problem): void {
    this.tell((engine) => engine.unreadable(problem.code, problem.place, problem.message))
  }

  #guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      // oxlint-disable-next-line no-console -- a fault of ours; it must neither pass unseen nor reach Rust
      console.error(error)
    }
  }
}

function idOf(answer: unknown): string | undefined {
  try {
    const id = (answer as { id?: unknown } | null | undefined)?.id
    return typeof id === 'string' ? id : undefined
  } catch {
    return undefined
  }
}

/** Copies the rows of a pull into plain data. A row that is no data becomes null, which the engine counts as unreadable. */
function copyRows(records: unknown, report: (problem: Problem) => void): unknown {
  if (typeof records !== 'object' || records === null || Array.isArray(records)) return undefined
  const copied: Record<string, unknown> = {}
  for (const [table, rows] of Object.entries(records)) {
    // What is no list stays none, and the engine refuses the response.
    copied[table] = !Array.isArray(rows)
      ? null
      : rows.map((row, index) => {
          try {
            return plainObject(row, `${table}[${index}]`)
          } catch (error) {
            report({ code: 'malformed-event', place: table, message: messageOf(error) })
            return null
          }
        })
  }
  return copied
}

/** What of a failure may enter the engine. */
function readFailure(thrown: unknown): { failure: string; message: string; afterMs: number | undefined } {
  const { failure, message, afterMs } = toBackendError(thrown)
  const isWait = typeof afterMs === 'number' && Number.isFinite(afterMs) && afterMs > 0
  return { failure: String(failure), message: String(message), afterMs: isWait ? Math.min(Math.ceil(afterMs), AFTER_MS_MAX) : undefined }
}

function toBackendError(error: unknown): BackendError {
  if (error instanceof BackendError) return error
  // Another copy of this package has a class of its own.
  if (error instanceof Error && error.name === 'BackendError' && 'failure' in error) return error as BackendError
  return new BackendError('unknown', messageOf(error))
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
