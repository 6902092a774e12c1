import { Beginning } from './beginning.js'
import { RotaError } from './errors.js'
import { engineSlots, type RotaSlots } from './init.js'
import { add, callSafely, type ChangeList, type Listener, type Mirror, type Part } from './mirror.js'
import type { Command } from './mutations.js'
import { readsTheSame } from './values.js'
import { zoneRules, type ZoneRules } from './zones.js'

/** A change of a slot, as it shows. */
export interface SlotEvent<R> {
  readonly type: 'availability_created' | 'availability_updated' | 'availability_deleted'
  readonly key: string
  /** As it shows now; of one that is gone, as it was. */
  readonly slot: R
}

/** What is read of a slot here, if it can be. */
interface SlotFields {
  readonly user_id?: unknown
  readonly time_zone?: unknown
}

type SlotListener = (event: SlotEvent<object>) => void

/** One table of slots: whose zones the engine must know, what happens in it, and, once somebody asks, who is free when. */
export class SlotTable implements Part {
  readonly #mirror: Mirror
  readonly #name: string
  readonly #number: number
  readonly #fields: readonly string[]
  /** The slots as they show; of those that are gone, nothing. */
  readonly #slots = new Map<string, object>()
  /** The zones that each person's slots are, or were, in. */
  readonly #zonesOf = new Map<string, Set<string>>()
  /** Zones that the engine was told of, or can't be. */
  readonly #told = new Set<string>()
  readonly #listeners = new Set<SlotListener>()
  readonly #events: SlotEvent<object>[] = []
  readonly #beginning: Beginning
  #index: RotaSlots | undefined
  /** What the index has not heard of yet. */
  readonly #changed = new Map<string, object | undefined>()
  readonly #indexZones = new Set<string>()

  constructor(mirror: Mirror, name: string, number: number, fields: readonly string[]) {
    this.#mirror = mirror
    this.#name = name
    this.#number = number
    this.#fields = fields
    this.#beginning = new Beginning(() => mirror.status.ready)
    mirror.add(this)
  }

  /**
   * Tells of the zones that the rules need to judge these: those that they name, and those of the same people's other slots. What else is in the table can't
   * be in the way.
   */
  tellZones(commands: readonly Command[], tell: (fact: string, rules: ZoneRules) => void): void {
    const people = new Set<string>()
    const needed = new Set<unknown>()
    for (const { key, set } of commands) {
      const slot = (key === undefined ? undefined : this.#mirror.get(this.#name, key)) as SlotFields | undefined
      for (const fields of [slot, set as SlotFields | undefined]) {
        if (fields?.user_id !== undefined) people.add(String(fields.user_id))
        needed.add(fields?.time_zone)
      }
    }
    for (const person of people) for (const zone of this.#zonesOf.get(person) ?? []) needed.add(zone)
    for (const zone of needed) if (typeof zone === 'string' && !this.#told.has(zone)) this.#tellZone(zone, tell)
  }

  #tellZone(zone: string, tell: (fact: string, rules: ZoneRules) => void): void {
    const rules = zoneRules(zone)
    try {
      // Of a zone that is none the engine knows nothing, and says so.
      if (rules) tell(`zone:${zone}`, rules)
    } catch (refused) {
      if (!(refused instanceof RotaError) || refused.code !== 'invalid-operation') throw refused
      this.#mirror.report({ code: 'unknown-zone', place: this.#name, message: `nothing can be known of time zone "${zone}": ${refused.reason}` })
    }
    this.#told.add(zone)
  }

  /** Returns the index of who is free when, up to date. */
  index(): RotaSlots {
    if (!this.#index) {
      this.#index = engineSlots()
      for (const [key, slot] of this.#slots) this.#changed.set(key, slot)
    }
    for (const [key, slot] of this.#changed) {
      this.#changed.delete(key)
      this.#place(this.#index, key, slot)
    }
    return this.#index
  }

  watch(listener: SlotListener): () => void {
    return add(this.#listeners, listener)
  }

  take(list: ChangeList, tell: (listeners: Iterable<Listener>) => void): void {
    const { records, renamed } = list
    // What is there at the beginning was not created now.
    const isNews = this.#beginning.look(list)
    // Under its real key it is the same slot, and no new one.
    for (const { table, from, to } of renamed ?? []) if (table === this.#name) this.#rename(from, to)
    for (let at = 0; at < records.length; at += 5) {
      if (records[at + 1] !== this.#number) continue
      const key = records[at + 2] as string
      this.#set(key, records[at + 3] as object | undefined, isNews(this.#name, key))
    }
    if (this.#events.length > 0) tell([this.#tellEvents])
  }

  countListeners(): number {
    return this.#listeners.size
  }

  close(): void {
    this.#listeners.clear()
    this.#slots.clear()
    this.#zonesOf.clear()
    this.#changed.clear()
    this.#events.length = 0
    const index = this.#index
    this.#index = undefined
    try {
      index?.free()
    } catch {
      // A crashed engine took it along.
    }
  }

  #rename(from: string, to: string): void {
    const slot = this.#slots.get(from)
    if (!slot) return
    this.#slots.delete(from)
    this.#slots.set(to, slot)
    this.#note(from, undefined)
    this.#note(to, slot)
  }

  #set(key: string, slot: object | undefined, isNews: boolean): void {
    const before = this.#slots.get(key)
    if (slot) this.#slots.set(key, slot)
    else this.#slots.delete(key)
    this.#note(key, slot)
    const shown = slot ?? before
    if (!isNews || !shown || this.#listeners.size === 0 || readsTheSame(this.#fields, before, slot)) return
    const type = !slot ? 'availability_deleted' : before ? 'availability_updated' : 'availability_created'
    this.#events.push({ type, key, slot: shown })
  }

  #note(key: string, slot: object | undefined): void {
    const { user_id: person, time_zone: zone } = (slot ?? {}) as SlotFields
    if (typeof zone === 'string') {
      const known = this.#zonesOf.get(String(person))
      if (known) known.add(zone)
      else this.#zonesOf.set(String(person), new Set([zone]))
    }
    if (this.#index) this.#changed.set(key, slot)
  }

  #place(index: RotaSlots, key: string, slot: object | undefined): void {
    const zone = (slot as SlotFields | undefined)?.time_zone
    if (typeof zone === 'string' && !this.#indexZones.has(zone)) {
      const rules = zoneRules(zone)
      if (rules) index.zone(zone, rules)
      this.#indexZones.add(zone)
    }
    try {
      index.put(key, slot)
    } catch (refused) {
      // Whoever else wrote it: nobody is free because of it.
      const { code, message } = refused as { code?: string; message: string }
      if (code === undefined) throw refused
      this.#mirror.report({ code: 'unreadable-slot', place: this.#name, message: `${key}: ${message}` })
    }
  }

  readonly #tellEvents: Listener = () => {
    for (const event of this.#events.splice(0)) {
      for (const listener of Array.from(this.#listeners)) callSafely(() => listener(event))
    }
  }
}
