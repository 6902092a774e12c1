import bytes from '../wasm/bytes.js'
import initWasm, * as wasm from '../wasm/rota_engine.js'
import { RotaError } from './errors.js'
import { askForPanic, crashed, guardExports } from './guard.js'
import { unpack } from './packed.js'

/**
 * The engine in its shell, as far as this package uses it. Declared here, as the generated types need a newer `lib` than applications
 * may have.
 */
export interface RotaEngine {
  /** Gives back what the browser lent, as far as that can be done after a crash. */
  abandon(): void
  active(active: boolean): void
  answered(id: string, answer: unknown): void
  /** `{ entries: AuditEntry[], dropped: number }`, or undefined once the engine has crashed. */
  audit(): unknown
  /** `{ code, message }`, or undefined for a command that would be taken. */
  can(command: unknown): unknown
  cancel(id: string): void
  changed(events: unknown[]): void
  close(): void
  closeView(id: number): void
  /** What the server last said of the records that are there: table, version and record of each, flat. Undefined once the engine has crashed. */
  confirmed(): unknown[] | undefined
  /** `answers`: id and answer, flat; `unanswered`: id, failure, message, afterMs, flat. */
  callAnswered(call: number, answers: readonly unknown[], unanswered: readonly unknown[]): void
  callDeclined(call: number): void
  callFailed(call: number, failure: string, message: string, afterMs: number | undefined): void
  /** Tells the rules of a zone, a policy, or what makes queries stale. */
  factTold(name: string, fact: unknown): void
  free(): void
  /** The page is about to be frozen, or kept for the way back. */
  froze(): void
  gathered(): void
  hinted(online: boolean): void
  /** Takes what {@link confirmed} gives, for as long as nothing better is known. */
  hydrate(records: unknown[]): void
  joined(attempt: number): void
  linkClosed(attempt: number, failure: string, message: string): void
  live(attempt: number): void
  /** `unsent`: `wait` or `discard`; without it, throws while anything is unsent. */
  logout(unsent: string | undefined): void
  mutate(command: unknown): string
  /** Keeps a live list; the change lists tell of it, from before this returns on. */
  openView(id: number, spec: unknown): void
  ponged(attempt: number): void
  presenceHeard(peers: unknown): void
  pullFailed(id: number, failure: string, message: string): void
  pulled(id: number, response: unknown): void
  purge(): void
  pushFailed(id: string, failure: string, message: string, afterMs: number | undefined): void
  reconnect(): void
  /** `choice`: `local`, `server`, `merge`, or the values of the fields. Returns the id of the operation that carries it out, if there is one. */
  resolve(id: string, choice: unknown): string | undefined
  retry(id: string): void
  rightsChanged(): void
  setPresence(presence: unknown): void
  /** Something about this table could not be read: its record is fetched if the row has the key, else everything since the last pull. */
  stale(table: string, keyRow: object | undefined): void
  start(): void
  stats(): unknown
  tokenKept(): void
  tokenMissed(failure: string, message: string): void
  tokenRefreshed(): void
  tokenRefused(message: string): void
  transact(commands: unknown[]): string
  undo(id: string): string | undefined
  unreadable(code: string, place: string, message: string): void
  visible(visible: boolean): void
  /** The page runs again. */
  woke(): void
}

/** The engine's class. */
export type EngineClass = new (config: object, seed: Uint8Array, host: (name: string, detail: unknown) => void, memoryOnly: boolean, sealer?: object) => RotaEngine

let loading: Promise<void> | undefined
let ready = false

/**
 * Loads the engine. Call it once, before the first `createStore`; further calls return the same promise.
 * The WebAssembly is inside the package, so there is no file to serve; a page with a Content-Security-Policy needs `'wasm-unsafe-eval'`.
 */
export function init(): Promise<void> {
  loading ??= load().catch((error: unknown) => {
    loading = undefined
    throw error
  })
  return loading
}

async function load(): Promise<void> {
  wasm.guardWith(guardExports)
  askForPanic(() => wasm.crashed())
  await initWasm({ module_or_path: await unpack(bytes) })
  ready = true
}

/**
 * The engine's class, once it is loaded.
 *
 * @internal
 */
export function engineClass(): EngineClass {
  if (!ready) throw new RotaError('not-initialised', 'the engine is not loaded yet: `await init()` before createStore')
  return wasm.RotaEngine
}

/**
 * Counts the JavaScript objects that all engines of this page hold.
 *
 * @internal
 */
export function handles(): number {
  return crashed() === undefined ? wasm.handles() : 0
}

/**
 * Returns how long to wait before a function that has failed is run again, in ms; nothing where it is not to be. Throws `{ code, message }`.
 *
 * @internal
 */
export function retryDelay(policy: object, failure: string, times: number, counted: number, afterMs: number | undefined, seed: Uint8Array): number | undefined {
  return wasm.retryDelay(policy, failure, times, counted, afterMs, seed)
}

/**
 * True for a failure that counts as a try.
 *
 * @internal
 */
export function failureCounts(failure: string): boolean {
  return wasm.failureCounts(failure)
}

/** Returns the version of this package. */
export function version(): string {
  return wasm.version()
}

/** What the rules say of chats that are at hand. @internal */
export const chatRules = {
  standing: (record: object, activeAtMs: number | undefined): unknown => wasm.chatStanding(record, activeAtMs),
  waits: (chats: object[], nowMs: number): unknown => wasm.chatWaits(chats, nowMs),
  repeated: (assignments: object[], moreThan: number): unknown[] => wasm.chatRepeated(assignments, moreThan),
  history: (assignments: object[], nowMs: number): unknown[] => wasm.operatorHistory(assignments, nowMs),
  idle: (chats: object[], nowMs: number): Uint32Array => wasm.chatsIdle(chats, nowMs),
  stuck: (chats: object[], hours: number, nowMs: number): Uint32Array => wasm.chatsStuck(chats, hours, nowMs),
  summary: (table: string, fields: string[], domain: object): unknown => wasm.chatSummary(table, fields, domain),
}

/** What the rules say of assignments: how far many have come, and the live lists of their history and figures. @internal */
export const assignmentRules = {
  progress: (states: string[]): unknown => wasm.assignmentProgress(states),
  history: (history: string, table: string | undefined, of: string, limit: number): unknown => wasm.assignmentHistory(history, table, of, limit),
  statistics: (table: string, owner: string): unknown => wasm.assignmentStatistics(table, owner),
}

/** The rules of invalidation that applications know already: for tables with an owner (name and field of each, flat), and others of known names. @internal */
export function defaultRules(owned: string[]): unknown {
  return wasm.defaultInvalidations(owned)
}

/** The index of who is free when. */
export interface RotaSlots {
  free(): void
  freeBetween(fromMs: number, toMs: number): string[]
  freeSlots(user: string, fromMs: number, toMs: number, lenMax: number): unknown[]
  put(key: string, slot: object | undefined): void
  zone(name: string, rules: unknown): void
}

/** Makes an index of who is free when. @internal */
export function engineSlots(): RotaSlots {
  return new wasm.RotaSlots()
}

/** The notifications of a tab. */
export interface RotaNotices {
  free(): void
  close(id: string): void
  create(id: string, kind: string, message: string, atMs: number, sound: boolean, nowMs: number): string
  dropped(): number
  forget(component: string): void
  online(online: boolean, nowMs: number): string[]
  set(component: string, kind: string, enabled: boolean, autoCloseMs: number | undefined, sound: boolean): void
  shown(component: string, nowMs: number): object
}

/** Makes the notifications of a tab. @internal */
export function engineNotices(): RotaNotices {
  return new wasm.RotaNotices()
}

/** What the rules say has happened in records, before and after a change. @internal */
export const happenings = {
  active: (table: string, domain: object): unknown => wasm.interactionsActive(table, domain),
  happened: (domain: object, before: object, after: object): string[] => wasm.interactionHappened(domain, before, after),
  selected: (domain: object, key: string, record: object | undefined, campaign: string | undefined): { interaction?: string; campaign?: string } =>
    wasm.interactionSelected(domain, key, record, campaign),
  submission: (domain: object, before: object | undefined, after: object | undefined): string | undefined => wasm.submissionMoved(domain, before, after),
  profile: (domain: object, before: object | undefined, after: object | undefined): string | undefined => wasm.profileMoved(domain, before, after),
  owner: (owner: string, before: object | undefined, after: object | undefined): [string | undefined, string | undefined] | undefined =>
    wasm.ownerMoved(owner, before, after) as [string | undefined, string | undefined] | undefined,
  told: (history: object, person: string): string | undefined => wasm.assignmentTold(history, person),
  editors: (peers: readonly object[], table: string, key: string): string[] => wasm.editorsOf(peers, table, key),
  lostByMs: (at: string, nowMs: number): number | undefined => wasm.lostByMs(at, nowMs),
}
