import { Assignments } from './assignments.js'
import { Availability, slotTables } from './availability.js'
import type { Backend } from './backend.js'
import { Chats } from './chats.js'
import { Conflicts } from './conflicts.js'
import type { Encryption } from './encryption.js'
import { RotaError, toRotaError } from './errors.js'
import { checkInvalidations, checkPolicy } from './declared.js'
import { Host } from './host.js'
import { crashed, messageOf, noteCrash, watchCrash } from './guard.js'
import { engineClass, handles, type RotaEngine } from './init.js'
import { defaultInvalidations, type InvalidationRule, type Stale } from './invalidation.js'
import { Interactions, interactionTables } from './interactions.js'
import { add, callSafely, Mirror, reportUncaught } from './mirror.js'
import { commandOf, commandsOf, temporaryKeysOf, type Command, type Known, type Mutation } from './mutations.js'
import { Notifications } from './notifications.js'
import { isInBrowser, listenToPage } from './page.js'
import type { Policy } from './policy.js'
import { Presence } from './presence.js'
import { Profiles } from './profiles.js'
import { Recovery } from './recovery.js'
import { FIRST_OPERATIONS, FIRST_STATUS, InitialSnapshot, makeSnapshot, type FirstReads, type Snapshot } from './snapshot.js'
import { describeTable, keyFields, keyText, type RecordOf, type Tables } from './tables.js'
import type { Audit, Changes, Conflict, ConflictChoice, Key, LinkOptions, Mutated, Operations, PollingOptions, Problem, Refusal, RetryOptions, Stats, Status } from './types.js'
import { givenObject } from './values.js'
import { SignIn } from './sign-in.js'
import { SignsOfLife } from './signs-of-life.js'
import { Submissions } from './submissions.js'
import { requireWatch, watchTable, type RecordEvent, type WatchSpec } from './table-events.js'
import type { ViewSpec } from './viewing.js'
import { Views, type ViewOf } from './views.js'

export type { After, Mutation } from './mutations.js'

/** What a store is made of. */
export interface StoreOptions<T extends Tables> {
  /** The application's name: stores of two applications on one origin know nothing of each other. */
  readonly app: string
  /** The person's id: neither do stores of two people. */
  readonly user: string
  /** The tables, by name. */
  readonly tables: T
  /** The adapter to the server. */
  readonly backend: Backend
  /** How to retry calls that fail. */
  readonly retry?: RetryOptions
  /** How the link to the server is kept. */
  readonly link?: LinkOptions
  /** How many operations may be on their way at once, each of another record: 1 to 64, 8 by default. */
  readonly concurrency?: number
  /** `memory` keeps everything in this store alone: no storage, no other tabs. `auto`, the default, uses what the browser has; outside of browsers it is `memory`. */
  readonly storage?: 'auto' | 'memory'
  /** What the server's store had, by its `snapshot()`: it shows at once, until something better is known. Of another application or person it is refused. */
  readonly initialSnapshot?: Snapshot
  /** Encrypts what is kept in the browser: `encryptWith(key)` of `rota-engine/encryption`, or your own. What another key sealed stays closed, and is reported. */
  readonly encryption?: Encryption
  /** Hears of what came from outside and could not be used. Without any such listener it goes to the console. */
  readonly onProblem?: (problem: Problem) => void
}


/** Two copies of this package in one page share this, so that neither opens a second store beside the other's. */
/** How many operations go in one call to a backend with `pushAll`; the server kit takes no more. */
const BATCH_MAX = 100

const REGISTRY = Symbol.for('rota-engine/stores')

function openStores(): Set<string> {
  const holder = globalThis as { [REGISTRY]?: Set<string> }
  return (holder[REGISTRY] ??= new Set())
}

/** Opens the store of one application and user. Needs `await init()` before. */
export function createStore<T extends Tables>(options: StoreOptions<T>): Store<T> {
  return new Store(options)
}

/**
 * State that several tabs, people and a server share. Reading is immediate and never waits; whatever a person changes shows at once.
 */
// The default fits the store of any tables: one of known tables is no `Store<Tables>`, as its methods take names of tables.
// oxlint-disable-next-line typescript/no-explicit-any
export class Store<T extends Tables = any> {
  /** Who is assigned to what. */
  readonly assignments: Assignments<T>
  /** When people are available, in a table declared with the domain. */
  readonly availability: Availability<T>
  /** Chats that wait for an operator, in a table declared with their domain. */
  readonly chats: Chats<T>
  /** Interactions that go on, in a table declared with their domain. */
  readonly interactions: Interactions<T>
  /** Who people are, in a table declared with the domain. */
  readonly profiles: Profiles<T>
  /** Submissions of forms, in tables declared with their domain. */
  readonly submissions: Submissions<T>
  /** Notifications of this person's tabs. */
  readonly notifications: Notifications
  /** Who is here, where, and what they are doing. */
  readonly presence: Presence
  /** Functions that are tried again when they fail, together with the operations that wait. */
  readonly recovery: Recovery
  /** @internal */
  readonly views: Views
  /** @internal When it was opened. */
  readonly openedAtMs: number = Date.now()
  readonly #conflicts: Conflicts
  readonly #mirror: Mirror
  readonly #host: Host
  readonly #tables: T
  readonly #name: string
  readonly #app: string
  readonly #user: string
  readonly #known: Known
  #initial: InitialSnapshot | undefined
  #firstStatus = FIRST_STATUS
  /** Who waits for the end of a logout, or is told that there is none. */
  readonly #leaving = new Set<{ resolve(): void; reject(error: RotaError): void }>()
  readonly #signedOut = new Set<() => unknown>()
  readonly #refreshed = new Set<() => void>()
  #engine: RotaEngine | undefined
  /** The end of a logout that was. */
  #over: Promise<void> | undefined

  /** @internal Use {@link createStore}. */
  constructor(options: StoreOptions<T>) {
    const Engine = engineClass()
    checkOptions(options)
    const { app, user, initialSnapshot } = options
    this.#initial = initialSnapshot === undefined ? undefined : new InitialSnapshot(initialSnapshot, app, user, options.tables)
    this.#tables = options.tables
    this.#app = app
    this.#user = user
    this.#name = JSON.stringify([app, user])
    const isMemory = options.storage === 'memory' || !isInBrowser()
    // A server renders for one person more than once at a time, and its stores share nothing.
    if (isInBrowser() && openStores().has(this.#name)) {
      throw new RotaError('duplicate-store', `there is a store of app "${options.app}" and user "${options.user}" in this page already; share it, or close it first`)
    }
    this.#mirror = new Mirror(options.tables, FIRST_STATUS)
    this.#known = { tables: options.tables, get: (table, key) => this.#mirror.get(table, key) }
    this.#host = new Host(options.backend, this.#mirror, new Map(Object.entries(options.tables).map(([name, table]) => [name, keyFields(table)])), new Map(Object.entries(options.tables).map(([name, table]) => [name, table.fields])), user)
    this.assignments = new Assignments(
      this.#mirror,
      options.tables,
      (table, key, to) => this.mutate({ name: 'assign', table, key, to } as Mutation<T>),
      { transact: (mutations) => this.transact(mutations as readonly Mutation<T>[]), batch: (run) => this.batch(run) },
      () => void this.#open(),
      this.firstReads,
      (spec) => this.view(spec as never) as never,
      // Nobody in particular: who may give a record to somebody may also give it to nobody.
      { user, mayHandOn: (table, key) => this.can({ name: 'assign', table, key, to: null } as Mutation<T>) === undefined },
    )
    this.availability = new Availability(
      {
        mirror: this.#mirror,
        mutate: (mutation) => this.mutate(mutation as Mutation<T>),
        tellFact: (name, fact) => this.#do((engine) => engine.factTold(name, fact)),
        call: (run) => this.#do(run),
      },
      slotTables(this.#mirror, options.tables),
    )
    this.chats = new Chats(
      {
        mirror: this.#mirror,
        user,
        mutate: (mutation) => this.mutate(mutation as Mutation<T>),
        can: (mutation) => this.can(mutation as Mutation<T>),
        view: (spec) => this.view(spec as never) as never,
        signs: new SignsOfLife(async (table, key) => (await this.#host.active(table, key)) === true),
        requireActive: () => {
          this.#open()
          if (typeof options.backend.active !== 'function') throw new RotaError('invalid-operation', 'the backend has no active(), so the server can not be told who is at work')
        },
      },
      options.tables,
    )
    this.views = new Views(
      this.#mirror,
      (run) => this.#do(run),
      () => this.#engine !== undefined,
    )
    const interacting = interactionTables(
      {
        mirror: this.#mirror,
        mutate: (mutation) => this.mutate(mutation as Mutation<T>),
        undo: (id) => this.undo(id),
        refresh: (table, arrived) => this.#host.pulledAfter(() => this.#do((engine) => engine.stale(table, undefined)), arrived),
        view: (spec) => this.view(spec as never) as never,
        call: (run) => this.#do(run),
      },
      options.tables,
    )
    this.interactions = new Interactions(interacting)
    this.profiles = new Profiles(
      {
        mirror: this.#mirror,
        user,
        first: this.firstReads,
        mutate: (mutation) => this.mutate(mutation as Mutation<T>),
        requireOpen: () => void this.#open(),
      },
      options.tables,
    )
    this.submissions = new Submissions(this.#mirror, options.tables, () => void this.#open())
    this.#conflicts = new Conflicts(this.#mirror, () => this.#engine)
    // Without a channel it would be plain text in localStorage, if only for a moment.
    const isHeard = !isMemory && (typeof BroadcastChannel === 'function' || options.encryption === undefined)
    this.notifications = new Notifications({ mirror: this.#mirror, tables: options.tables, user, channel: isHeard ? `rota-notifications/${this.#name}` : undefined, call: (run) => this.#do(run) })
    this.presence = new Presence(this.#mirror, (run) => this.#do(run))
    this.recovery = new Recovery(this, this.#mirror, options.retry)
    if (options.onProblem) this.#mirror.watchProblems(options.onProblem)
    const engine = this.#call(() => new Engine(configOf(options), randomSeed(), this.#host.perform, isMemory, options.encryption))
    this.#engine = engine
    this.#host.attach(
      engine,
      (gone) => this.#onSignedOut(gone),
      ({ message }) => this.#endLeaving(new RotaError('unsent-operations', message)),
    )
    if (isInBrowser()) openStores().add(this.#name)
    this.#host.signal.addEventListener('abort', watchCrash((why) => this.#onCrash(engine, why)), { once: true })
    try {
      this.#call(() => engine.start())
      const { flat } = this.#initial ?? {}
      if (flat) this.#call(() => engine.hydrate(flat))
      const { signal } = this.#host
      const signIn = new SignIn(user, this.#host, this.#mirror, { logout: () => this.logout(), isClosed: () => this.isClosed, isLeaving: () => this.#leaving.size > 0, tokenRefreshed: () => this.#tellRefreshed() })
      const stopTokens = options.backend.onToken?.(signIn.hear)
      if (stopTokens) signal.addEventListener('abort', stopTokens, { once: true })
      listenToPage((fact) => this.#host.tell(fact), signal)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Returns a record, or undefined when there is none. The same object until it changes; read-only, and frozen in development. */
  get<N extends keyof T & string>(table: N, key: Key): RecordOf<T[N]> | undefined {
    return this.#mirror.get(table, keyText(key)) as RecordOf<T[N]> | undefined
  }

  /** Returns all records of a table, in no particular order. The same list until one of them changes. */
  all<N extends keyof T & string>(table: N): readonly RecordOf<T[N]>[] {
    return this.#mirror.all(table) as readonly RecordOf<T[N]>[]
  }

  /**
   * Calls back after a change: of anything (with what changed), of a table, or of one record, its operations included.
   * Returns how to stop. Listeners hear of complete states only, once for each batch.
   */
  subscribe(listener: (changes: Changes) => void): () => void
  subscribe(table: keyof T & string, listener: () => void): () => void
  subscribe(table: keyof T & string, key: Key, listener: () => void): () => void
  subscribe(first: string | ((changes: Changes) => void), second?: Key | (() => void), third?: () => void): () => void {
    this.#open()
    if (typeof first === 'function') return this.#mirror.watch(first)
    if (typeof first === 'string' && typeof second === 'function') return this.#mirror.watchTable(first, second)
    if (typeof first === 'string' && second !== undefined && typeof third === 'function') return this.#mirror.watchRecord(first, keyText(second as Key), third)
    throw new RotaError('invalid-operation', 'subscribe takes a listener, a table and a listener, or a table, a key and a listener')
  }

  /**
   * Calls back when a record of a table, or of those that pass a filter, comes, changes or goes, as soon as it shows; returns how to stop. What begins to pass the filter
   * comes, and what passes it no more goes. What was there from the start did not come.
   */
  watch<const S extends WatchSpec<T>>(given: S, listener: (event: RecordEvent<RecordOf<T[S['table']]>>) => void): () => void {
    this.#open()
    requireWatch(given, this.#tables, listener)
    return watchTable(this as never, given, listener as (event: RecordEvent<object>) => void)
  }

  /** Calls back when something from outside could not be used; returns how to stop. */
  onProblem(listener: (problem: Problem) => void): () => void {
    this.#open()
    requireFunction('onProblem', listener)
    return this.#mirror.watchProblems(listener)
  }

  /**
   * Changes something. When it returns, the change shows and survives a reload; the server hears of it as soon as it can be reached.
   * Throws a {@link RotaError}, and changes nothing, when the mutation makes no sense.
   */
  mutate(mutation: Mutation<T>): Mutated {
    this.#open()
    const command = commandOf(mutation, this.#known)
    this.availability.prepare([command])
    return this.#keyed([command], this.#host.mutate(() => this.#do((engine) => engine.mutate(command))))
  }

  /**
   * Does several things or none: 2 to 100 mutations, each on what the earlier ones leave, stored, sent, decided and undone as one operation.
   * Throws a {@link RotaError}, and changes nothing, when one of them makes no sense. Needs a server that knows transactions.
   */
  transact(mutations: readonly Mutation<T>[]): Mutated {
    this.#open()
    const commands = commandsOf(mutations, this.#known)
    this.availability.prepare(commands)
    return this.#keyed(commands, this.#host.mutate(() => this.#do((engine) => engine.transact(commands))))
  }

  /**
   * Says why a mutation would not be taken now, as far as is known here, with the code that `mutate` would throw, or with which the server would
   * refuse it by the policies told with {@link policy}: nothing where it would be taken. Nothing is changed.
   */
  can(mutation: Mutation<T>): Refusal | undefined {
    this.#open()
    try {
      const command = commandOf(mutation, this.#known)
      this.availability.prepare([command])
      return this.#do((engine) => engine.can(command)) as Refusal | undefined
    } catch (error) {
      if (error instanceof RotaError && error.code !== 'engine-crashed') return { code: error.code, message: error.reason }
      throw error
    }
  }

  /** Declares who may do what to the records of a table, in the place of what was declared of it before. It is this store's alone: the server is given what `rota-engine/policy-sql` writes from the same. */
  policy<N extends keyof T & string>(policy: Policy<T, N>): void {
    const declared = givenObject(policy, 'policy')
    checkPolicy(this.#tables, declared)
    this.#do((engine) => engine.factTold(`policy:${String(declared['table'])}`, declared))
    this.assignments.judgeBy(String(declared['table']), policy.people.table)
  }

  /**
   * Declares which queries of other caches the server's changes make stale, in the place of what was declared before; without rules, the
   * {@link defaultInvalidations} of the store's tables.
   */
  invalidate(rules: readonly InvalidationRule[] = this.defaultInvalidations()): void {
    const { rules: declared } = givenObject({ rules }, 'invalidate')
    checkInvalidations(this.#tables, declared)
    this.#do((engine) => engine.factTold('invalidations', declared))
  }

  /** The rules of invalidation that applications know already, for the tables with an owner, and those of known names. */
  defaultInvalidations(): readonly InvalidationRule[] {
    this.#open()
    return defaultInvalidations(this.#tables)
  }

  /** Calls back with what became stale by the declared rules, once for each batch of changes; returns how to stop. */
  onStale(listener: (stale: Stale) => void): () => void {
    this.#open()
    requireFunction('onStale', listener)
    return this.#mirror.watchStale(listener)
  }

  /** Returns the key of a record as it is by now, as text: the one that the server gave, where the key is a temporary one. */
  keyOf(table: keyof T & string, key: Key): string {
    return this.#mirror.keyNow(table, keyText(key))
  }

  /**
   * Opens a live list: the records of a table that pass a filter, sorted, and of these a window, with figures over all of them. Two equal
   * ones are kept once. Close it when it is not needed any more; `using` does that too.
   */
  view<const S extends ViewSpec<T>>(spec: S): ViewOf<T, S> {
    this.#open()
    return this.views.open(spec as ViewSpec<Tables>) as unknown as ViewOf<T, S>
  }

  /** Returns the changes that wait for a person to decide, since somebody else changed the same; the oldest first. The same list until one of them changes. */
  conflicts(): readonly Conflict[] {
    return this.#conflicts.list()
  }

  /**
   * Decides on a conflict: for what this person wanted, for what the server has, for the merge that the conflict shows, or for these values,
   * which must name every field in conflict. Returns the operation that carries it out, or nothing where nothing is left to do.
   */
  resolve(conflictId: string, choice: ConflictChoice): Mutated | undefined {
    this.#open()
    requireOperationId('resolve', conflictId)
    if (typeof choice !== 'string' && !isObject(choice)) throw new RotaError('invalid-operation', "a decision is 'local', 'server', 'merge', or an object of values")
    const decision = typeof choice === 'string' ? choice : givenObject(choice, 'choice')
    return this.#host.mutate(() => this.#do((engine) => engine.resolve(conflictId, decision)))
  }

  /** Returns what was decided on conflicts, by rules and people, in any tab. The same object until there is a further decision. */
  audit(): Audit {
    return this.#conflicts.audit()
  }

  /** Returns the decisions as JSON text, for a file or a report. */
  exportAudit(): string {
    return JSON.stringify(this.audit(), null, 2)
  }

  /** Runs several mutations, and tells subscribers once, afterwards. Not a transaction: each stands for itself. */
  batch<R>(run: () => R): R {
    this.#open()
    requireFunction('batch', run)
    return this.#mirror.batch(run)
  }

  /** Takes an operation back that was not sent yet, or drops a dead one. Whether it was in time, its `settled` says. */
  cancel(operationId: string): void {
    const engine = this.#open()
    requireOperationId('cancel', operationId)
    this.#call(() => engine.cancel(operationId))
  }

  /**
   * Undoes what this store did, in any order: takes it back where it was never sent; else does the inverse, in the fields that still show it. What the person changed
   * later covers it, and what somebody else has changed since stays. What nobody here has seen yet conflicts rather than is overwritten. Returns nothing where
   * nothing had to be sent. Works for the last hundred operations, on their way or confirmed. Changes that wait to be sent as one are undone each by itself.
   */
  undo(operationId: string): Mutated | undefined {
    const engine = this.#open()
    requireOperationId('undo', operationId)
    return this.#host.mutate(() => this.#call(() => engine.undo(operationId)))
  }

  /** Tries a dead operation again. */
  retry(operationId: string): void {
    const engine = this.#open()
    requireOperationId('retry', operationId)
    this.#call(() => engine.retry(operationId))
  }

  /** Tries to reach the server now, rather than at the end of the current wait. */
  reconnect(): void {
    const engine = this.#open()
    this.#call(() => engine.reconnect())
  }

  /** Returns the operations of all tabs that have no end yet, and the last that ended. The same object until one of them changes. */
  operations(): Operations {
    return this.#mirror.operations()
  }

  /** Returns how the store is. The same object until it changes. */
  status(): Status {
    return this.#mirror.status
  }

  /**
   * Returns what a browser may begin with: the confirmed records, each with its version, for `initialSnapshot`. For a server that renders:
   * wait until `status().ready`, then render and take the snapshot without waiting in between. It is JSON-safe; inside of HTML, write it
   * with `escapeSnapshot`. Operations are never in it.
   */
  snapshot(): Snapshot {
    const engine = this.#open()
    const flat = this.#call(() => engine.confirmed()) ?? []
    const places = new Map<string, Map<string, number>>()
    for (const name of Object.keys(this.#tables)) places.set(name, new Map(this.#mirror.keys(name).map((key, place) => [key, place])))
    return makeSnapshot(this.#app, this.#user, this.status().ready, this.#tables, flat, (table, key) => places.get(table)?.get(key) ?? Infinity)
  }

  /** @internal What bindings read while they render on a server, or take over what a server has rendered: what both know. */
  readonly firstReads: FirstReads = this.#makeFirstReads()

  /** Returns what the server's clock reads now, in milliseconds since 1970, as far as is known: times of records are to be compared with it. */
  now(): number {
    return this.#mirror.serverNow()
  }

  /** Returns figures for tests and devtools. */
  stats(): Stats {
    const figures = (crashed() === undefined ? this.#engine?.stats() : undefined) as Pick<Stats, 'records' | 'operations'> | undefined
    return { records: 0, operations: 0, ...figures, handles: handles(), listeners: this.#mirror.countListeners(), views: this.views.size }
  }

  /** True after {@link close}. */
  get isClosed(): boolean {
    return this.#engine === undefined
  }

  /** The declared tables. */
  get tables(): T {
    return this.#tables
  }

  /**
   * Leaves. Nothing is lost: what is not sent stays stored, and is sent by another tab or the next store. Closing twice does no harm.
   * `purge` forgets the records that the browser keeps for the next visit: for when a person signs out.
   *
   * From then on the store holds nobody's data, and reads as an empty one: no records, no operations, a link that is off-line because the
   * store is `closed`. So components may render once more while they go. No listener is called for it, and every call that would do
   * something, or wait for something, throws `closed`.
   */
  close(options: { readonly purge?: boolean } = {}): void {
    const engine = this.#engine
    if (!engine) return
    this.#engine = undefined
    this.#endLeaving(new RotaError('closed', 'the store was closed before the person was logged out'))
    const { durability } = this.status()
    if (options?.purge) void this.#tellSignedOut()
    this.#signedOut.clear()
    this.#refreshed.clear()
    try {
      if (options?.purge) engine.purge()
      engine.close()
    } catch {
      // A crashed engine closes by being left.
    }
    this.#host.stop(durability)
    this.#initial = undefined
    this.#mirror.close({ ...FIRST_STATUS, link: { state: 'offline', why: 'closed', sinceMs: Date.now() } })
    this.assignments.forget()
    openStores().delete(this.#name)
    // Not now: a listener that closes the store is still inside a call of the engine's.
    setTimeout(() => free(engine), 0)
  }

  /**
   * Logs the person out: everything of theirs is deleted from this browser, in all its tabs, and their stores close. Throws
   * `unsent-operations`, and changes nothing, while operations are not done, unless `unsent` says what becomes of them: `wait` sends them
   * first, and takes nothing new; those that were given up keep it waiting until somebody retries or cancels them. `discard` drops them.
   * Resolves when all that is done, so that the page can be left. Rejects with `unsent-operations` where one turns up that no tab has told
   * this one of, and with `closed` where the store is closed while it waits: then nobody has logged out. Where that has happened already, in another tab say, there is nothing left to do.
   */
  logout(options: { readonly unsent?: 'wait' | 'discard' } = {}): Promise<void> {
    if (this.#over) return this.#over
    const engine = this.#open()
    const waiting = { resolve() {}, reject(_error: RotaError) {} }
    // Before the call: both ends may come within it.
    const isOver = new Promise<void>((resolve, reject) => Object.assign(waiting, { resolve, reject }))
    this.#leaving.add(waiting)
    try {
      this.#call(() => engine.logout(options?.unsent))
    } catch (error) {
      this.#leaving.delete(waiting)
      throw error
    }
    return isOver
  }

  /**
   * Calls back when the person is logged out, in this tab or another one, or the store is closed with `purge`; not when it is merely closed.
   * A logout waits for a promise that the listener returns. Returns how to stop.
   */
  onSignedOut(listener: () => unknown): () => void {
    requireFunction('onSignedOut', listener)
    this.#open()
    const own = () => listener()
    this.#signedOut.add(own)
    return () => void this.#signedOut.delete(own)
  }

  /** Calls back when the backend tells of a fresh token of the person's, whether the old one has ended or not; returns how to stop. */
  onTokenRefreshed(listener: () => void): () => void {
    requireFunction('onTokenRefreshed', listener)
    this.#open()
    return add(this.#refreshed, listener)
  }

  /** Says that the person's roles or scope have changed: everything is fetched anew, and what may no longer be seen is gone from all tabs. */
  rightsChanged(): void {
    const engine = this.#open()
    this.#call(() => engine.rightsChanged())
  }

  // For `using`. Not among the published types, which would then need a `lib` that few applications have.
  static {
    if (typeof Symbol.dispose === 'symbol') {
      const value = function (this: Store): void {
        this.close()
      }
      Object.defineProperty(Store.prototype, Symbol.dispose, { value, configurable: true, writable: true })
    }
  }

  /** The store closes at once; whoever waits for the logout can leave the page, and so waits for the browser, too. */
  #onSignedOut(gone: Promise<boolean>): void {
    const leaving = [...this.#leaving]
    this.#leaving.clear()
    const told = this.#tellSignedOut()
    this.close()
    this.#over = Promise.all([gone, told]).then(([isGone]) => {
      const message = "IndexedDB did not let the person's data be deleted; this is done when the store is opened again"
      if (!isGone) this.#mirror.report({ code: 'storage', place: 'IndexedDB', message })
      for (const { resolve } of leaving) resolve()
    })
  }

  /** A moment later, when the store is closed; a listener that throws keeps nobody waiting. */
  #tellSignedOut(): Promise<unknown> {
    const listeners = [...this.#signedOut]
    this.#signedOut.clear()
    return Promise.all(listeners.map((listener) => Promise.resolve().then(listener).catch(reportUncaught)))
  }

  /** Told before the engine makes something of it, so that it is known what it was before. */
  #tellRefreshed(): void {
    for (const listener of Array.from(this.#refreshed)) callSafely(listener)
  }

  #endLeaving(error: RotaError): void {
    for (const { reject } of this.#leaving) reject(error)
    this.#leaving.clear()
  }

  #makeFirstReads(): FirstReads {
    // Read anew each time: a store that was closed holds nothing.
    const [initial, mirror] = [() => this.#initial, () => this.#mirror]
    return {
      get: (table, key) => (initial() ?? mirror()).get(table, keyText(key)),
      all: (table) => (initial() ?? mirror()).all(table),
      status: () => {
        const ready = initial()?.isReady ?? mirror().status.ready
        if (this.#firstStatus.ready !== ready) this.#firstStatus = Object.freeze({ ...FIRST_STATUS, ready })
        return this.#firstStatus
      },
      operations: () => FIRST_OPERATIONS,
    }
  }

  #open(): RotaEngine {
    if (!this.#engine) throw new RotaError('closed', 'the store is closed')
    return this.#engine
  }

  /** Asks something of the engine, and throws what applications may see. */
  #do<R>(run: (engine: RotaEngine) => R): R {
    const engine = this.#open()
    return this.#call(() => run(engine))
  }

  #keyed(commands: readonly Command[], mutated: Mutated): Mutated {
    return { ...mutated, temporaryKeys: temporaryKeysOf(mutated.id, commands, this.#tables) }
  }

  #call<R>(run: () => R): R {
    try {
      return run()
    } catch (thrown) {
      // On the way in, too, there may be no memory.
      if (thrown instanceof WebAssembly.RuntimeError) noteCrash(thrown)
      throw toRotaError(thrown, crashed)
    }
  }

  /** What shows stays, and can be read. Nothing is taken any more, and nothing sent; what was accepted is stored, for the next visit. */
  #onCrash(engine: RotaEngine, why: string): void {
    const [status, problem] = [this.status(), { code: 'engine-crashed', place: 'engine', message: messageOf(why) }]
    try {
      engine.abandon()
    } catch {
      // Then the browser takes it all back with the page.
    }
    this.#endLeaving(new RotaError('engine-crashed', problem.message))
    this.#host.stop(status.durability, { code: problem.code, message: problem.message })
    const link = { state: 'stopped', why: 'crashed', sinceMs: Date.now() } as const
    this.#mirror.apply({ records: [], operations: [], status: { ...status, link } })
    this.#mirror.report(problem)
  }
}

function requireFunction(method: string, given: unknown): void {
  if (typeof given !== 'function') throw new RotaError('invalid-operation', `${method} takes a function`)
}

function requireOperationId(method: string, given: unknown): void {
  if (typeof given !== 'string') throw new RotaError('invalid-operation', `${method} takes the id of an operation, which is text`)
}

function free(engine: RotaEngine): void {
  try {
    engine.free()
  } catch {
    // A crashed engine is locked for good; the browser takes it with the page.
  }
}

const RETRY_OPTIONS: ReadonlySet<string> = new Set<keyof RetryOptions>(['maxRetries', 'retryDelay', 'backoffMultiplier', 'timeout'])
const LINK_OPTIONS: ReadonlySet<string> = new Set<keyof LinkOptions>(['maxAttempts', 'heartbeatMs', 'polling'])
const POLLING_OPTIONS: ReadonlySet<string> = new Set<keyof PollingOptions>(['activeMs', 'idleMs', 'hiddenMs'])

function checkOptions(options: StoreOptions<Tables>): void {
  const invalid = (what: string) => new RotaError('invalid-configuration', `createStore: ${what}`)
  if (typeof options?.app !== 'string' || typeof options.user !== 'string') throw invalid('app and user must be text')
  const { tables, backend, retry, link, storage, onProblem } = options
  if (!isObject(tables)) throw invalid('tables must be an object of tables by name')
  for (const method of ['pull', 'push', 'connect'] as const) {
    if (typeof backend?.[method] !== 'function') throw invalid(`the backend has no ${method}()`)
  }
  for (const method of ['pushAll', 'active'] as const) {
    if (backend[method] !== undefined && typeof backend[method] !== 'function') throw invalid(`the backend's ${method} must be a function`)
  }
  for (const [name, declared] of Object.entries(tables)) {
    if (!isObject(declared)) throw invalid(`table "${name}" must be declared with table({ key, fields })`)
    const { key, fields, indexed, merge, ownerName, temporaryKeys, domain } = declared
    if (typeof key !== 'string' && !isTexts(key)) throw invalid(`the key of table "${name}" must be a field's name or a list of them`)
    if (!isTexts(fields)) throw invalid(`the fields of table "${name}" must be a list of names`)
    if (indexed !== undefined && !isTexts(indexed)) throw invalid(`the indexed fields of table "${name}" must be a list of names`)
    if (temporaryKeys !== undefined && typeof temporaryKeys !== 'boolean') throw invalid(`temporaryKeys of table "${name}" must be true or false`)
    if (merge !== undefined && !isObject(merge)) throw invalid(`merge of table "${name}" must be an object of rules by field`)
    const twice = repeated(fields) ?? repeated(keyFields({ key }))
    if (twice !== undefined) throw invalid(`table "${name}" names the field "${twice}" twice`)
    for (const what of ['operators', 'activity'] as const) {
      const where = domain?.kind === 'chat' ? domain[what] : undefined
      if (typeof where === 'string' && !Object.hasOwn(tables, where)) throw invalid(`table "${name}" has its ${what} in "${where}", which is not declared`)
    }
    if (ownerName === undefined) continue
    const people = isObject(ownerName) && Object.hasOwn(tables, ownerName.table) ? tables[ownerName.table] : undefined
    if (!people) throw invalid(`table "${name}" takes its owners' names from "${ownerName?.table}", which is not declared`)
    if (!people.fields?.includes(ownerName.field)) throw invalid(`table "${name}" takes its owners' names from the field "${ownerName.field}", which "${ownerName.table}" does not have`)
  }
  const polling = link?.polling === false ? undefined : link?.polling
  for (const [place, given, names] of [
    ['retry', retry, RETRY_OPTIONS],
    ['link', link, LINK_OPTIONS],
    ['link.polling', polling, POLLING_OPTIONS],
  ] as const) {
    if (given !== undefined && !isObject(given)) throw invalid(`${place} must be an object`)
    for (const name of Object.keys(given ?? {})) {
      if (!names.has(name)) throw invalid(`${place} has no option "${name}"; there are ${[...names].join(', ')}`)
    }
  }
  if (storage !== undefined && storage !== 'auto' && storage !== 'memory') throw invalid('storage must be "auto" or "memory"')
  if (onProblem !== undefined && typeof onProblem !== 'function') throw invalid('onProblem must be a function')
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function repeated(names: readonly string[]): string | undefined {
  return names.find((name, index) => names.indexOf(name) !== index)
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function configOf(options: StoreOptions<Tables>): object {
  return {
    app: options.app,
    user: options.user,
    tables: Object.entries(options.tables).map(([name, table]) => describeTable(name, table)),
    ...(options.retry ? { retry: options.retry } : {}),
    link: linkOf(options),
    ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
    ...(options.backend.idempotent === false ? { idempotent: false } : {}),
    ...(typeof options.backend.pushAll === 'function' ? { batch: BATCH_MAX } : {}),
  }
}

function linkOf({ link = {}, backend }: StoreOptions<Tables>): object {
  return {
    ...link,
    ...(link.polling === false ? { polling: null } : {}),
    // What can't be asked must not be waited for.
    ...(typeof backend.ping === 'function' ? {} : { heartbeatMs: null }),
  }
}

function randomSeed(): Uint8Array {
  return globalThis.crypto.getRandomValues(new Uint8Array(16))
}
