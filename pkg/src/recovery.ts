import { BackendError, type Failure } from './backend.js'
import { RotaError, toRotaError } from './errors.js'
import { crashed } from './guard.js'
import { failureCounts, retryDelay } from './init.js'
import type { ChangeList, Listener, Mirror } from './mirror.js'
import type { LinkState, OperationView, RetryOptions } from './types.js'

/** A function that was run for the last time, and failed. `cause` is what it failed with. */
export class RetryError extends Error {
  override readonly name = 'RetryError'

  constructor(
    /** What kind of failure the last one was. */
    readonly failure: Failure,
    /** How often the function was run. */
    readonly runs: number,
    cause: unknown,
  ) {
    super(`${textOf(cause)} [${failure}, after ${runs} ${runs === 1 ? 'try' : 'tries'}]`, { cause })
  }
}

/** What of a store is needed here. */
export interface Recoverable {
  readonly isClosed: boolean
  operations(): { readonly pending: readonly OperationView[] }
  cancel(operationId: string): void
  retry(operationId: string): void
  reconnect(): void
}

/** How many functions may wait at once. */
const WAITING_MAX = 1_000

const OPTIONS: ReadonlySet<string> = new Set<keyof RetryOptions>(['maxRetries', 'retryDelay', 'backoffMultiplier', 'timeout'])
const TIMEOUT_MS = 10_000

/** A function under way. */
interface Run {
  /** True between two tries; else it is running. */
  isWaiting: boolean
  /** Runs it now rather than at the end of its wait. */
  hurry(): void
  /** Ends it without another try. */
  end(error: RotaError): void
}

/**
 * Functions that are tried again when they fail, under the same rule as operations: `network` and `rate-limit` as long as it takes, `timeout`,
 * `server` and `unknown` as often as `maxRetries` says, anything else not at all. A function lasts until the page is left; a mutation
 * survives that, so what can be one should be.
 */
export class Recovery {
  readonly #store: Recoverable
  readonly #options: RetryOptions
  readonly #runs = new Set<Run>()
  #link: LinkState = 'offline'

  /** @internal */
  constructor(store: Recoverable, mirror: Mirror, options: RetryOptions = {}) {
    this.#store = store
    this.#options = options
    mirror.add(this)
  }

  /**
   * Runs a function, and again when it fails and that may help: with growing waits, and at once when the server can be reached again. `signal`
   * is aborted when the time for an answer is over, and when the store closes. What `options` leave out is as the store has it. Rejects with a {@link RetryError}
   * that says what kind of failure it was, or with a {@link RotaError}: `cancelled`, `closed`.
   */
  async executeWithRetry<R>(run: (signal: AbortSignal) => PromiseLike<R> | R, options: RetryOptions = {}): Promise<R> {
    this.#requireOpen()
    if (typeof run !== 'function') throw new RotaError('invalid-operation', 'executeWithRetry takes a function')
    const policy = this.#policy(options)
    if (this.#runs.size >= WAITING_MAX) throw new RotaError('outbox-full', `${WAITING_MAX} functions are under way, and no more can be taken until some have ended`)
    return new Promise<R>((resolve, reject) => this.#start(run, policy, resolve, reject))
  }

  /** Tries again now: operations that were given up, functions that wait, and the link to the server. */
  retryPendingOperations(): void {
    this.#requireOpen()
    for (const { id, state } of this.#store.operations().pending) if (state === 'dead') ignoringTooLate(() => this.#store.retry(id))
    this.#store.reconnect()
    this.#hurry()
  }

  /** Counts what has no end yet: operations of all tabs, those that were given up included, and functions of this one. */
  getPendingOperationsCount(): number {
    return this.#store.operations().pending.length + this.#runs.size
  }

  /**
   * Gives up what waits: operations that were not sent yet or were given up end as `cancelled`, functions between two tries reject with that
   * code. What has been sent, or is running, stays.
   */
  clearPendingOperations(): void {
    this.#requireOpen()
    // The newest first: what depends on another one ends before it.
    const pending = [...this.#store.operations().pending].reverse()
    for (const { id, state } of pending) if (state === 'queued' || state === 'dead') ignoringTooLate(() => this.#store.cancel(id))
    for (const run of this.#runs) if (run.isWaiting) run.end(new RotaError('cancelled', 'what was waiting to be tried again was cleared'))
  }

  /** @internal */
  take({ status }: ChangeList, _tell: (listeners: Iterable<Listener>) => void): void {
    if (!status || status.link.state === this.#link) return
    this.#link = status.link.state
    // Not now: the function is the application's, and a change list is being taken in.
    if (this.#link === 'live' && this.#runs.size > 0) setTimeout(() => this.#hurry(), 0)
  }

  /** @internal */
  countListeners(): number {
    return this.#runs.size
  }

  /** @internal */
  close(): void {
    for (const run of this.#runs) run.end(new RotaError('closed', 'the store was closed'))
  }

  #requireOpen(): void {
    if (this.#store.isClosed) throw new RotaError('closed', 'the store is closed')
  }

  #policy(options: unknown): RetryOptions {
    if (typeof options !== 'object' || options === null) throw new RotaError('invalid-configuration', 'executeWithRetry takes a function and an object of options')
    for (const name of Object.keys(options)) {
      if (!OPTIONS.has(name)) throw new RotaError('invalid-configuration', `executeWithRetry has no option "${name}"; there are ${[...OPTIONS].join(', ')}`)
    }
    const policy: RetryOptions = { ...this.#options, ...options }
    // A policy that can't work is refused before anything runs.
    nextDelay(policy, 'unknown', 1, 1, undefined)
    return policy
  }

  #hurry(): void {
    for (const run of this.#runs) if (run.isWaiting) run.hurry()
  }

  #start<R>(run: (signal: AbortSignal) => PromiseLike<R> | R, policy: RetryOptions, resolve: (result: R) => void, reject: (error: unknown) => void): void {
    let [times, counted] = [0, 0]
    let timer: ReturnType<typeof setTimeout> | undefined
    let abort = new AbortController()
    const settle = (end: () => void) => {
      clearTimeout(timer)
      if (this.#runs.delete(entry)) end()
    }
    const again = async () => {
      clearTimeout(timer)
      entry.isWaiting = false
      abort = new AbortController()
      try {
        const result = await withinTime(run, abort, policy.timeout ?? TIMEOUT_MS)
        settle(() => resolve(result))
      } catch (error) {
        if (!this.#runs.has(entry)) return
        try {
          failed(error)
        } catch (unexpected) {
          // The engine has crashed, say: then there is no telling when to try again.
          settle(() => reject(unexpected))
        }
      }
    }
    const failed = (error: unknown) => {
      // Of its own time-outs nobody is told in this way: the application has aborted it.
      if (isAbort(error)) return settle(() => reject(new RotaError('cancelled', 'the function was aborted', { cause: error })))
      const { failure, afterMs } = classify(error)
      times++
      if (failureCounts(failure)) counted++
      const wait = nextDelay(policy, failure, times, counted, afterMs)
      if (wait === undefined) return settle(() => reject(new RetryError(failure, times, error)))
      entry.isWaiting = true
      timer = setTimeout(again, wait)
    }
    const entry: Run = {
      isWaiting: false,
      hurry: () => void again(),
      end: (error) =>
        settle(() => {
          reject(error)
          abort.abort(error)
        }),
    }
    this.#runs.add(entry)
    void again()
  }
}

/** Runs a function, and waits for it only so long. */
async function withinTime<R>(run: (signal: AbortSignal) => PromiseLike<R> | R, abort: AbortController, timeout: number): Promise<R> {
  let timer: ReturnType<typeof setTimeout> | undefined
  try {
    return await Promise.race([
      (async () => run(abort.signal))(),
      new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          const late = new BackendError('timeout', `no answer in ${timeout} ms`)
          reject(late)
          abort.abort(late)
        }, timeout)
      }),
    ])
  } finally {
    clearTimeout(timer)
  }
}

function nextDelay(policy: RetryOptions, failure: Failure, times: number, counted: number, afterMs: number | undefined): number | undefined {
  try {
    return retryDelay(policy, failure, times, counted, afterMs, globalThis.crypto.getRandomValues(new Uint8Array(16)))
  } catch (error) {
    throw toRotaError(error, crashed)
  }
}

/** Somebody was faster, in another tab perhaps: what is on its way or has ended already is left alone. */
function ignoringTooLate(run: () => void): void {
  try {
    run()
  } catch (error) {
    if (!(error instanceof RotaError) || (error.code !== 'too-late' && error.code !== 'unknown-operation')) throw error
  }
}

const BY_STATUS: Readonly<Record<number, Failure>> = { 401: 'auth', 403: 'forbidden', 408: 'timeout', 409: 'conflict', 410: 'gone', 412: 'conflict', 429: 'rate-limit', 504: 'timeout' }

/** What the first two letters of PostgreSQL's codes mean (its manual, appendix A), as far as trying again goes. */
const BY_CLASS: Readonly<Record<string, Failure>> = {
  '08': 'server', '21': 'invalid', '22': 'invalid', '23': 'invalid', '25': 'server', '28': 'forbidden', '40': 'server', '42': 'invalid', '44': 'invalid',
  '53': 'server', '54': 'invalid', '55': 'server', '57': 'server', '58': 'server', P0: 'invalid', XX: 'server',
}

const BY_CODE: Readonly<Record<string, Failure>> = { '23505': 'conflict', '23503': 'conflict', '23P01': 'conflict', '42501': 'forbidden', '57014': 'timeout' }

/** Tells what kind of failure something is: by its own word, its HTTP status, the code of PostgREST or PostgreSQL, or what a browser throws where nobody was reached. What can't be read is `unknown`. */
export function classify(error: unknown): { readonly failure: Failure; readonly afterMs: number | undefined } {
  try {
    return classifyReadable(error)
  } catch {
    return { failure: 'unknown', afterMs: undefined }
  }
}

/** What a failure says, for a person. */
function textOf(cause: unknown): string {
  try {
    const { message, status } = (typeof cause === 'object' && cause !== null ? cause : {}) as { message?: unknown; status?: unknown }
    // Clients of databases throw plain objects, and a `Response` says no more than this.
    if (typeof message === 'string') return message
    return typeof status === 'number' ? `the server answered ${status}` : String(cause)
  } catch {
    return 'a failure that can not be read'
  }
}

function classifyReadable(error: unknown): { readonly failure: Failure; readonly afterMs: number | undefined } {
  if (typeof error !== 'object' || error === null) return { failure: 'unknown', afterMs: undefined }
  const { name, failure, afterMs, status, code, context, message } = error as { readonly [member: string]: unknown }
  const wait = typeof afterMs === 'number' && afterMs > 0 ? Math.min(Math.ceil(afterMs), 2 ** 31) : undefined
  if (name === 'BackendError' && typeof failure === 'string') return { failure: failure as Failure, afterMs: wait }
  if (name === 'TimeoutError') return { failure: 'timeout', afterMs: wait }
  if (typeof status === 'number') return { failure: byStatus(status), afterMs: wait }
  const said = typeof code === 'string' ? byCode(code) : undefined
  if (said) return { failure: said, afterMs: wait }
  // Supabase's edge functions: the answer is inside of the error.
  const inner = (context as { status?: unknown } | null | undefined)?.status
  if (typeof inner === 'number') return { failure: byStatus(inner), afterMs: wait }
  // What `fetch` says of a server that it did not reach, in Chromium, Firefox, WebKit and Node; supabase-js hands the name on in front of the message.
  const isFetch = (name === 'TypeError' || name === 'FunctionsFetchError' || String(message).startsWith('TypeError: ')) && /failed to (fetch|send)|networkerror|load failed|fetch failed/i.test(String(message))
  return { failure: isFetch ? 'network' : 'unknown', afterMs: wait }
}

/** By the code of PostgREST, which may be a status of the application's own (`PT…`), or of PostgreSQL. */
function byCode(code: string): Failure | undefined {
  if (/^PT\d{3}$/.test(code)) return byStatus(Number(code.slice(2)))
  if (code.startsWith('PGRST')) return code.startsWith('PGRST30') ? 'auth' : code.startsWith('PGRST0') ? 'server' : code.startsWith('PGRSTX') ? 'server' : 'invalid'
  return /^[0-9A-Z]{5}$/.test(code) ? (BY_CODE[code] ?? BY_CLASS[code.slice(0, 2)]) : undefined
}

/** True for what an aborted function throws. */
function isAbort(error: unknown): boolean {
  try {
    const { name, message } = error as { readonly name?: unknown; readonly message?: unknown }
    return name === 'AbortError' || (typeof message === 'string' && message.startsWith('AbortError: '))
  } catch {
    return false
  }
}

function byStatus(status: number): Failure {
  const known = BY_STATUS[status]
  if (known) return known
  // A client gives 0 where no answer came.
  if (status === 0) return 'network'
  if (status >= 500) return 'server'
  return status >= 400 ? 'invalid' : 'unknown'
}
