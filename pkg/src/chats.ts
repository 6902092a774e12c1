import { RotaError } from './errors.js'
import { chatRules, happenings } from './init.js'
import type { Mirror } from './mirror.js'
import type { ChatMutation } from './mutations.js'
import type { SignsOfLife } from './signs-of-life.js'
import { keyText, type DomainName, type RecordOf, type Tables } from './tables.js'
import type { Key, Mutated, Refusal, Winner } from './types.js'
import { ruledView, type ViewSpec } from './viewing.js'
import type { View } from './views.js'

/**
 * Since when a chat is as it is. The server's answer, where the table declares `state_changed_at` and the domain `activity`; else an estimate by
 * the record's other times.
 */
export interface ChatStanding {
  readonly state: 'waiting_assignment' | 'assigned' | 'waiting_real_user_reply' | 'completed'
  /** In milliseconds since 1970: `state_changed_at`. Where that is not declared, or null as in chats from before the server kit, the latest of the times that the record has. */
  readonly sinceMs?: number
  /** When it is released because its operator is silent; only an assigned one ever is. Counted from `assigned_at`, and from the operator's last activity where that is synced. */
  readonly idleAtMs?: number
}

/** How long those have waited who can be handed out, from the beginning of their chats, as the server's `get_assignment_queue_status` has it. */
export interface ChatWaits {
  readonly count: number
  readonly longestMs: number
  readonly averageMs: number
}

/** A chat that was assigned to one operator again and again. */
export interface RepeatedAssignment {
  readonly chat: string
  readonly operator: string
  readonly count: number
}

/** What an operator was given in the last 24 hours. */
export interface OperatorHistory {
  readonly total: number
  /** Those that the operator is done with. */
  readonly completed: number
  /** Those that the operator still has. */
  readonly active: number
}

/** What can be done to a chat that is at hand. */
export type ChatOperation = 'claim' | 'reply' | 'user_message' | 'release' | 'unassign_chat' | 'transfer' | 'complete'

/** What a list of chats needs of its store. @internal */
export interface ChatHost {
  readonly mirror: Mirror
  readonly user: string
  mutate(mutation: ChatMutation<string>): Mutated
  can(mutation: ChatMutation<string>): Refusal | undefined
  /** Opens a live list. */
  view(spec: ViewSpec<Tables>): View<object>
  readonly signs: SignsOfLife
  /** Throws where the server can't be told who is at work. */
  requireActive(): void
}

/**
 * Chats that wait for an operator. What is done to one shows at once; the server decides, and `settled` says how. Each method throws a
 * {@link RotaError}, and changes nothing, where the rules refuse it by what is seen here.
 */
export class Chats<T extends Tables> {
  readonly #host: ChatHost
  readonly #tables: T
  readonly #table: string | undefined

  /** @internal */
  constructor(host: ChatHost, tables: T, table?: string) {
    this.#host = host
    this.#tables = tables
    this.#table = table
  }

  /** The chats of one table: for stores with more than one table of the domain. */
  in(table: DomainName<T, 'chat'>): Chats<T> {
    if (!Object.hasOwn(this.#tables, table)) throw new RotaError('unknown-table', `there is no table "${table}"`)
    if (this.#tables[table]?.domain?.kind !== 'chat') throw new RotaError('invalid-operation', `table "${table}" is not declared with the domain of chats`)
    return new Chats(this.#host, this.#tables, table)
  }

  /**
   * Asks for work: the chat that has waited longest, for the person of this store where nobody is named. The one that the server is thought to
   * choose shows as assigned at once; which one it chose, `settled` says in `chosen`.
   */
  requestNext(operator: string = this.#host.user): Mutated {
    return this.#host.mutate({ name: 'request_next', table: this.#name(), operator })
  }

  /** Takes a waiting chat, for the person of this store where nobody is named. */
  claim(key: Key, operator: string = this.#host.user): Mutated {
    return this.#host.mutate({ name: 'claim', table: this.#name(), key, operator })
  }

  /** Notes that the operator has replied: the chat waits for the user, and the operator is free. */
  reply(key: Key): Mutated {
    return this.#host.mutate({ name: 'reply', table: this.#name(), key })
  }

  /** Notes that the user has written: the chat is back in the queue. */
  userMessage(key: Key): Mutated {
    return this.#host.mutate({ name: 'user_message', table: this.#name(), key })
  }

  /** Gives a chat back, with a reason of 1 to 500 characters. */
  release(key: Key, reason: string): Mutated {
    return this.#host.mutate({ name: 'release', table: this.#name(), key, reason })
  }

  /** Takes a chat away from its operator, as a supervisor. */
  unassign(key: Key): Mutated {
    return this.#host.mutate({ name: 'unassign_chat', table: this.#name(), key })
  }

  /** Hands a chat on to another operator. */
  transfer(key: Key, to: string): Mutated {
    return this.#host.mutate({ name: 'transfer', table: this.#name(), key, to })
  }

  /** Ends a chat. */
  complete(key: Key): Mutated {
    return this.#host.mutate({ name: 'complete', table: this.#name(), key })
  }

  /**
   * Notes that the person of this store is at work in a chat of theirs, so that it is not released as idle: to be called as they type, read or scroll, as
   * often as that is; the server is told at most once in a quarter of the time of silence. Resolves with whether it knows, and never rejects: it
   * does not know while it can't be reached, or where the chat has been somebody else's meanwhile. Throws `forbidden` for somebody else's chat, and
   * `illegal-transition` for one that nobody has.
   */
  active(key: Key): Promise<boolean> {
    this.#host.requireActive()
    const [table, name] = [this.#name(), keyText(key)]
    const record = this.#host.mirror.get(table, name)
    if (!record) throw new RotaError('unknown-record', `table "${table}" has no record "${name}"`)
    return this.#host.signs.give(table, name, record, this.#host.user)
  }

  /** Says why the person of this store can't do this to a chat now, as far as is known here: nothing where they can. `to`: whom a transfer is for. */
  can(name: 'request_next'): Refusal | undefined
  can(name: 'transfer', key: Key, to: string): Refusal | undefined
  can(name: Exclude<ChatOperation, 'transfer'>, key: Key): Refusal | undefined
  can(name: ChatOperation | 'request_next', key?: Key, to?: string): Refusal | undefined {
    return this.#host.can(this.#mutation(name, key, to))
  }

  /**
   * Says since when a chat is as it is, and when it is released as idle: nothing for what is no chat. `activeAtMs`: when its operator last did
   * something, where that is known from elsewhere than the table that the domain names as `activity`.
   */
  standing(key: Key, activeAtMs?: number): ChatStanding | undefined {
    if (activeAtMs !== undefined) requireTime('activeAtMs', activeAtMs)
    const record = this.#host.mirror.get(this.#name(), keyText(key))
    return record && (chatRules.standing(record, activeAtMs ?? chatRules.activeAt(record, this.#activity())) as ChatStanding | undefined)
  }

  /** Says how long those have waited who can be handed out, at a moment; now, where none is given. */
  waits(nowMs: number = this.#host.mirror.serverNow()): ChatWaits {
    requireTime('nowMs', nowMs)
    return chatRules.waits([...this.#host.mirror.all(this.#name())], nowMs) as ChatWaits
  }

  /** Opens the live figures of the chats: in `groups`, how many are in each state (`count`). */
  summary(): View<RecordOf<T[DomainName<T, 'chat'>]>, 'count'> {
    return this.#host.view(this.#lists()[0]) as unknown as View<RecordOf<T[DomainName<T, 'chat'>]>, 'count'>
  }

  /** Opens the live list of the chats that wait for an operator, the longest first; `total` counts all. */
  queue(limit?: number): View<RecordOf<T[DomainName<T, 'chat'>]>> {
    const spec = this.#lists()[1]
    return this.#host.view(limit === undefined ? spec : { ...spec, limit }) as unknown as View<RecordOf<T[DomainName<T, 'chat'>]>>
  }

  #lists(): [ViewSpec<Tables>, ViewSpec<Tables>] {
    const name = this.#name()
    const { fields = [], domain } = this.#tables[name] as Tables[string]
    const [states, queue] = chatRules.summary(name, [...fields], domain as object) as [unknown, unknown]
    return [ruledView(states), ruledView(queue)]
  }

  /**
   * Finds the chats that are assigned to an operator who has been silent for too long, at a moment; now, where none is given. The server releases
   * them when it looks. Without `activity` in the domain this knows of no sign of life but the assignment, and so is an estimate: some are not idle.
   */
  idle(nowMs: number = this.#host.mirror.serverNow()): readonly RecordOf<T[DomainName<T, 'chat'>]>[] {
    requireTime('nowMs', nowMs)
    return this.#those((chats) => chatRules.idle(chats, this.#activity(), nowMs))
  }

  /** Finds the chats that have been as they are for more than so many hours, and have not ended. */
  stuck(hours: number, nowMs: number = this.#host.mirror.serverNow()): readonly RecordOf<T[DomainName<T, 'chat'>]>[] {
    requireTime('nowMs', nowMs)
    if (!Number.isInteger(hours) || hours < 0) throw new RotaError('invalid-value', '"hours" is a whole number from 0 on')
    return this.#those((chats) => chatRules.stuck(chats, hours, nowMs))
  }

  /** What is known of operators' signs of life. */
  #activity(): object[] {
    const domain = this.#tables[this.#name()]?.domain
    const table = domain?.kind === 'chat' ? domain.activity : undefined
    return table === undefined ? [] : [...this.#host.mirror.all(table)]
  }

  #those(find: (chats: object[]) => Uint32Array): readonly RecordOf<T[DomainName<T, 'chat'>]>[] {
    const chats = [...this.#host.mirror.all(this.#name())]
    return Array.from(find(chats), (at) => chats[at] as RecordOf<T[DomainName<T, 'chat'>]>)
  }

  /** Finds, in rows of `chat_assignments`, the chats that were assigned to one operator more than so many times, the most frequent first. */
  repeated(assignments: readonly object[], moreThan = 3): readonly RepeatedAssignment[] {
    if (!Number.isInteger(moreThan) || moreThan < 0) throw new RotaError('invalid-value', '"moreThan" is a whole number from 0 on')
    return chatRules.repeated(rowsOf('repeated', assignments), Math.min(moreThan, 2 ** 32 - 1)) as RepeatedAssignment[]
  }

  /** Counts, from rows of `chat_assignments`, what each operator was given in the 24 hours before a moment; now, where none is given. */
  history(assignments: readonly object[], nowMs: number = this.#host.mirror.serverNow()): Readonly<Record<string, OperatorHistory>> {
    requireTime('nowMs', nowMs)
    return Object.fromEntries(chatRules.history(rowsOf('history', assignments), nowMs) as [string, OperatorHistory][])
  }

  #mutation(name: string, key: Key | undefined, to: string | undefined): ChatMutation<string> {
    const table = this.#name()
    const { user } = this.#host
    // A reason can't be what is in the way.
    return { name, table, key, operator: user, to, reason: '-' } as ChatMutation<string>
  }

  #name(): string {
    if (this.#table !== undefined) return this.#table
    const names = Object.keys(this.#tables).filter((name) => this.#tables[name]?.domain?.kind === 'chat')
    const [only] = names
    if (only === undefined) throw new RotaError('invalid-operation', 'no table is declared with the domain of chats')
    if (names.length > 1) throw new RotaError('invalid-operation', `there is more than one table of chats, ${names.join(', ')}: say which one with chats.in(table)`)
    return only
  }
}

/** Says how long before a moment somebody else was first, in ms; nothing where the time can't be read. The moment is one of the server's clock: `store.now()`. */
export function lostByMs(winner: Winner, nowMs: number = Date.now()): number | undefined {
  if (typeof winner?.at !== 'string') throw new RotaError('invalid-value', 'lostByMs takes the winner of a settlement, { user, at }, and perhaps a moment')
  requireTime('nowMs', nowMs)
  return happenings.lostByMs(winner.at, nowMs)
}

function requireTime(name: string, given: unknown): void {
  if (!Number.isFinite(given)) throw new RotaError('invalid-value', `"${name}" is a time in milliseconds since 1970`)
}

/** Rows of `chat_assignments`, however they were read: drivers of databases make dates of times. */
function rowsOf(method: string, rows: unknown): object[] {
  if (!Array.isArray(rows)) throw new RotaError('invalid-value', `chats.${method} takes a list of rows`)
  return Array.from(rows, (row: unknown, at) => {
    if (typeof row !== 'object' || row === null) throw new RotaError('invalid-value', `row ${at} is no object`)
    const entries = Object.entries(row)
    if (!entries.some(([, value]) => value instanceof Date)) return row
    return Object.fromEntries(entries.map(([name, value]) => [name, value instanceof Date ? textOf(value, at, name) : value]))
  })
}

function textOf(date: Date, at: number, name: string): string {
  if (Number.isNaN(date.getTime())) throw new RotaError('invalid-value', `"${name}" of row ${at} is no date`)
  return date.toISOString()
}
