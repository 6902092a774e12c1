// People, chats, slots and jobs by chance, and what somebody tries to do with them: much of it legal, and enough that is not.
import { ANNA, BORIS, CHLOE, LEFT, SARA, STRANGER } from './chatting.js'
import type { Json } from './plain.js'

/** The same numbers for the same seed. */
export class Chance {
  #state: number
  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1)
  }
  /** A whole number below this one. */
  below(bound: number): number {
    let t = (this.#state = (this.#state + 0x6d2b79f5) | 0)
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * bound)
  }
  percent(share: number): boolean {
    return this.below(100) < share
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
}

export const OPERATORS = [ANNA, BORIS, CHLOE, SARA, LEFT]
export const PEOPLE = [...OPERATORS, STRANGER]
export const ZONES = ['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', 'UTC']
const DAYS = ['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU']

export interface Try {
  person: string
  command: Json
}

export function waitingChat(chance: Chance, id: string): Json {
  const minute = chance.below(4) // so that some begin at the same moment
  return {
    id,
    created_at: chance.percent(10) ? null : new Date(1_763_715_600_000 + minute * 60_000 + chance.below(2) * 50).toISOString(),
    is_active: !chance.percent(10),
    last_operator_id: chance.percent(30) ? chance.pick(OPERATORS) : null,
  }
}

const NAMES = ['claim', 'request_next', 'reply', 'user_message', 'release', 'unassign_chat', 'transfer', 'complete', 'patch', 'assign']
const NOT_IDS = [undefined, null, 7, '', 'nobody', {}, ['x'], 'x'.repeat(257), "a'; drop table chats; --"]
const REASONS = ['lunch', ' tea ', 'x'.repeat(500), '\u{1f600}'.repeat(500)]
const NOT_REASONS = [undefined, null, 7, '', '  ', '\t\n', '\u00a0', '\u2003\u3000', 'x'.repeat(501), '\u{1f600}'.repeat(501)]

/** A chat that somebody begins: of the rest the server says how it begins, and nobody else. */
function chatBegun(chance: Chance, chats: readonly Json[], next: string): Try {
  const id = chance.percent(10) ? (chance.pick(chats)['id'] as string) : next
  const wrong = chance.percent(15) ? chance.pick<Json>([{ chat_state: 'assigned', assigned_operator_id: ANNA }, { assigned_operator_id: BORIS }, { chat_state: 'completed' }, { colour: 'red' }]) : {}
  return { person: chance.pick(PEOPLE), command: { name: 'insert', table: 'chats', set: { id, is_active: !chance.percent(15), ...wrong } } }
}

export function chatTry(chance: Chance, chats: readonly Json[], next: string | undefined): Try {
  if (next !== undefined && chance.percent(12)) return chatBegun(chance, chats, next)
  const chat = chance.pick(chats)
  const holder = chat['assigned_operator_id'] as string | null
  const fitting = holder === null ? ['claim', 'claim', 'request_next', 'user_message'] : ['reply', 'user_message', 'release', 'unassign_chat', 'transfer']
  const name = chance.pick(chance.percent(50) ? fitting : NAMES)
  const person = chance.percent(50) ? (name === 'unassign_chat' ? SARA : (holder ?? chance.pick(PEOPLE))) : chance.pick(PEOPLE)
  const key = chance.percent(3) ? '00000000-0000-4000-8000-00000000dead' : (chat['id'] as string)
  if (name === 'patch') {
    const set: Json = chance.percent(80) ? { is_active: chance.percent(70) } : { chat_state: chance.pick(['assigned', 'completed']) }
    return { person, command: { name, table: 'chats', key, set } }
  }
  const someone = () => (chance.percent(50) ? person : chance.pick(PEOPLE))
  const right: Json =
    { claim: { operator: someone() }, request_next: { operator: someone() }, transfer: { to: chance.pick(PEOPLE) }, release: { reason: chance.pick(REASONS) }, assign: { to: someone() } }[name as 'claim'] ?? {}
  const [argument] = Object.keys(right)
  const wrong = () => (argument === undefined ? { more: 1 } : chance.percent(20) ? { ...right, more: 1 } : { [argument]: chance.pick(argument === 'reason' ? NOT_REASONS : NOT_IDS) })
  const args = JSON.parse(JSON.stringify(chance.percent(8) ? wrong() : right)) as Json
  return { person, command: { name, table: 'chats', ...(name === 'request_next' ? {} : { key }), args } }
}

export function jobTry(chance: Chance, jobs: readonly Json[]): Try {
  const key = chance.percent(5) ? 'no such job' : (chance.pick(jobs)['id'] as string)
  const name = chance.percent(10) ? chance.pick(['claim', 'reply']) : 'assign'
  const to = chance.pick<unknown>([null, ...PEOPLE, ...PEOPLE])
  const args = chance.percent(10) ? chance.pick<Json>([{}, { to: 7 }, { to: '' }, { to, more: 1 }, { owner: to }]) : name === 'claim' ? { operator: ANNA } : name === 'reply' ? {} : { to }
  return { person: chance.pick(PEOPLE), command: { name, table: 'jobs', key, args } }
}

const two = (n: number) => String(n).padStart(2, '0')

function wall(chance: Chance): string {
  const [month, first] = chance.pick([[10, 22], [11, 1], [3, 27], [4, 3]] as const)
  return `2026-${two(month)}-${two(first + chance.below(5))}T${two(chance.below(24))}:${chance.pick(['00', '15', '30', '45'])}`
}

function later(from: string, minutes: number): string {
  return new Date(Date.parse(`${from}Z`) + minutes * 60_000).toISOString().slice(0, 16)
}

function recurrence(chance: Chance, from: string): unknown {
  if (chance.percent(60)) return null
  const day = DAYS[(new Date(`${from.slice(0, 10)}T00:00Z`).getUTCDay() + 6) % 7]!
  const byDay = [...new Set([day, ...DAYS.filter(() => chance.percent(15))])]
  const end = chance.pick<Json>([{}, { count: 1 + chance.below(5) }, { until: later(from, chance.below(40) * 1440).slice(0, 10) }])
  const except = chance.percent(30) ? { except: [later(from, 7 * 1440 * chance.below(3)).slice(0, 10)] } : {}
  if (chance.percent(6)) return chance.pick<unknown>([{}, 'weekly', [], { freq: 'daily', byDay }, { freq: 'weekly', byDay: [] }, { freq: 'weekly', byDay: [day, day] }, { freq: 'weekly', byDay, count: 0 }, { freq: 'weekly', byDay, count: 1.5 }, { freq: 'weekly', byDay, until: '2026-02-30' }, { freq: 'weekly', byDay, count: 2, until: '2027-01-01' }, { freq: 'weekly', byDay, interval: 2 }, { freq: 'weekly', byDay, except: ['x'] }, { freq: 'weekly', byDay, count: null, until: null, except: null }])
  return { freq: 'weekly', byDay, ...end, ...except }
}

export function slotTry(chance: Chance, slots: readonly Json[], next: string): Try {
  const person = chance.pick([ANNA, BORIS])
  const own = slots.filter((slot) => slot['user_id'] === person)
  const from = wall(chance)
  const times: Json = { starts_at: from, ends_at: later(from, chance.percent(5) ? chance.below(2) * -60 : 15 + chance.below(chance.percent(80) ? 600 : 3000)), time_zone: chance.pick(ZONES) }
  times['recurrence'] = recurrence(chance, from)
  if (chance.percent(6)) Object.assign(times, chance.pick<Json>([{ time_zone: 'Europe/Atlantis' }, { time_zone: '' }, { time_zone: 'europe/berlin' }, { starts_at: '2026-02-30T09:00' }, { starts_at: '2026-11-02 09:00' }, { starts_at: '2026-11-02T24:00' }, { ends_at: null }, { starts_at: '1969-12-31T09:00' }, { ends_at: '2200-01-01T10:00' }, { ends_at: '2028-01-01T00:00' }, { starts_at: 7 }]))
  if (own.length === 0 || chance.percent(35)) {
    const set = { id: next, user_id: person, ...times, is_active: !chance.percent(15), notes: null }
    return { person, command: { name: 'insert', table: 'availability', set } }
  }
  const slot = chance.pick(own)
  const set = chance.pick<Json>([{ is_active: !slot['is_active'] }, { is_active: !slot['is_active'] }, times, { ends_at: times['ends_at'] }, { time_zone: times['time_zone'] }, { recurrence: times['recurrence'] }, { notes: 'bring tea' }])
  if (chance.percent(10)) return { person, command: { name: 'delete', table: 'availability', key: slot['id'] } }
  return { person, command: { name: 'patch', table: 'availability', key: slot['id'], set } }
}
