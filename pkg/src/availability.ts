import { RotaError } from './errors.js'
import type { RotaSlots } from './init.js'
import type { Mirror } from './mirror.js'
import type { Command } from './mutations.js'
import { SlotTable, type SlotEvent } from './slots.js'
import { keyText, type DomainName, type InsertOf, type PatchOf, type RecordOf, type Tables } from './tables.js'
import type { Key, Mutated } from './types.js'
import type { ZoneRules } from './zones.js'

/** A moment: a date, or milliseconds since 1970. */
export type Moment = Date | number

/** On which days of the week a slot is, from its beginning on: without an end, to a last date, or so many times. */
export interface Recurrence {
  readonly freq: 'weekly'
  /** The weekday of the beginning among them, each once. */
  readonly byDay: readonly ('MO' | 'TU' | 'WE' | 'TH' | 'FR' | 'SA' | 'SU')[]
  /** The last date on which it may begin, `2026-12-31`; not together with `count`. */
  readonly until?: string | null
  /** How often it is, those that are excepted included: 1 to 1,000. */
  readonly count?: number | null
  /** The dates on which it is not, at most 1,000. */
  readonly except?: readonly string[] | null
}

/** A time in which a person is free. */
export interface FreeSlot {
  /** The slot's key. */
  readonly key: string
  readonly fromMs: number
  /** Its end, which is no part of it. */
  readonly toMs: number
}

/** What is called when slots change, each with the slot as it shows. */
export interface AvailabilityHandlers<R> {
  /** The slot is new. */
  readonly availability_created?: (slot: R, key: string) => void
  readonly availability_updated?: (slot: R, key: string) => void
  /** The slot as it was. */
  readonly availability_deleted?: (slot: R, key: string) => void
}

const EVENTS: ReadonlySet<string> = new Set<keyof AvailabilityHandlers<object>>(['availability_created', 'availability_updated', 'availability_deleted'])

/** How many slots one question brings at most, where nothing else is said. */
const SLOTS_MAX = 1_000

/** What slots need of their store. @internal */
export interface SlotHost {
  readonly mirror: Mirror
  mutate(mutation: object): Mutated
  tellFact(name: string, fact: ZoneRules): void
  /** Runs something of the engine's, and throws what applications may see. */
  call<R>(run: () => R): R
}

/**
 * Slots in which somebody is available. A change shows at once; one that can't be — reversed, empty, in no known zone, overlapping — is refused by
 * name, here or by the server.
 */
export class Availability<T extends Tables, N extends DomainName<T, 'availability'> = DomainName<T, 'availability'>> {
  readonly #host: SlotHost
  readonly #tables: ReadonlyMap<string, SlotTable>
  readonly #name: string | undefined

  /** @internal */
  constructor(host: SlotHost, tables: ReadonlyMap<string, SlotTable>, name?: string) {
    this.#host = host
    this.#tables = tables
    this.#name = name
  }

  /** The slots of one table: for stores with more than one table of the domain. */
  in<M extends N>(table: M): Availability<T, M> {
    if (!this.#tables.has(table)) throw new RotaError('invalid-operation', `there is no table "${table}" that is declared with the domain of availability`)
    return new Availability(this.#host, this.#tables, table)
  }

  /** Makes a slot. */
  create(slot: InsertOf<T[N]>): Mutated {
    return this.#host.mutate({ name: 'insert', table: this.#table()[0], record: slot })
  }

  /** Changes fields of a slot. */
  update(key: Key, set: PatchOf<T[N]>): Mutated {
    return this.#host.mutate({ name: 'patch', table: this.#table()[0], key, set })
  }

  /** Deletes a slot. */
  remove(key: Key): Mutated {
    return this.#host.mutate({ name: 'delete', table: this.#table()[0], key })
  }

  /** Makes a slot active or not: the other one than it is, where nothing is said. */
  toggle(key: Key, active?: boolean): Mutated {
    const [table] = this.#table()
    const slot = this.#host.mirror.get(table, keyText(key)) as { is_active?: boolean | null } | undefined
    return this.#host.mutate({ name: 'patch', table, key, set: { is_active: active ?? slot?.is_active === false } })
  }

  /** Returns who is free for all of a time, which may be up to 366 days long: people's ids, in order. Slots that touch count as one. */
  freeBetween(from: Moment, to: Moment): readonly string[] {
    const [fromMs, toMs] = [msOf(from, 'from'), msOf(to, 'to')]
    return this.#ask((index) => index.freeBetween(fromMs, toMs))
  }

  /** Returns a person's free slots within a time, in order: their parts that lie in it, and at most so many. */
  freeSlots(person: string, from: Moment, to: Moment, limit: number = SLOTS_MAX): readonly FreeSlot[] {
    if (typeof person !== 'string') throw new RotaError('invalid-value', 'a person is an id, which is text')
    if (!Number.isInteger(limit) || limit < 1) throw new RotaError('invalid-value', 'the limit is a whole number from 1 on')
    const [fromMs, toMs] = [msOf(from, 'from'), msOf(to, 'to')]
    return this.#ask((index) => index.freeSlots(person, fromMs, toMs, Math.min(limit, 2 ** 32 - 1)) as FreeSlot[])
  }

  /** Calls back when slots come, change or go, once each in their order, as soon as it shows: here, in another tab, or by somebody else. Returns how to stop. */
  watch(handlers: AvailabilityHandlers<RecordOf<T[N]>>): () => void {
    this.#host.call(() => undefined)
    if (typeof handlers !== 'object' || handlers === null) throw new RotaError('invalid-operation', 'availability.watch takes an object of functions')
    for (const [name, handler] of Object.entries(handlers)) {
      if (!EVENTS.has(name)) throw new RotaError('invalid-operation', `slots have no event "${name}"; there are ${[...EVENTS].join(', ')}`)
      if (handler !== undefined && typeof handler !== 'function') throw new RotaError('invalid-operation', `what is to hear of ${name} is no function`)
    }
    return this.#table()[1].watch(({ type, slot, key }: SlotEvent<object>) => handlers[type]?.(slot as RecordOf<T[N]>, key))
  }

  /** @internal Tells the engine of the zones that it needs to judge these commands. */
  prepare(commands: readonly Command[]): void {
    for (const [name, table] of this.#tables) {
      const own = commands.filter((command) => command.table === name)
      if (own.length === 0) continue
      table.tellZones(own, (fact, rules) => this.#host.tellFact(fact, rules))
    }
  }

  #ask<R>(question: (index: RotaSlots) => R): R {
    const [, table] = this.#table()
    return this.#host.call(() => question(table.index()))
  }

  #table(): readonly [string, SlotTable] {
    const names = this.#name === undefined ? [...this.#tables.keys()] : [this.#name]
    const [only] = names
    const table = only === undefined ? undefined : this.#tables.get(only)
    if (only === undefined || !table) throw new RotaError('invalid-operation', 'no table is declared with the domain of availability')
    if (names.length > 1) throw new RotaError('invalid-operation', `there is more than one table of slots, ${names.join(', ')}: say which one with availability.in(table)`)
    return [only, table]
  }
}

/** The tables of slots among the declared ones. @internal */
export function slotTables(mirror: Mirror, tables: Tables): ReadonlyMap<string, SlotTable> {
  const found = new Map<string, SlotTable>()
  for (const [number, [name, { domain, fields }]] of Object.entries(tables).entries()) {
    if (domain?.kind === 'availability') found.set(name, new SlotTable(mirror, name, number, fields))
  }
  return found
}

function msOf(moment: Moment, name: string): number {
  const ms = moment instanceof Date ? moment.getTime() : moment
  if (typeof ms !== 'number' || !Number.isFinite(ms)) throw new RotaError('invalid-value', `"${name}" is a date, or milliseconds since 1970`)
  return ms
}
