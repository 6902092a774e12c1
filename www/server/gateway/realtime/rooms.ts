/**
 * Who is present on a topic. A channel that joined with presence hears who is here, and of everybody who comes, changes
 * and goes; what it tracks is gone with it. Nothing is checked of what it says: presence is everybody's own word.
 */

import { randomUUID } from 'node:crypto'

/** A channel with presence. */
export interface Member {
  readonly topic: string
  /** The name under which it tracks; several channels may have the same. */
  readonly presenceKey: string
  readonly port: { push(event: string, payload: unknown): void }
}

type Meta = Record<string, unknown> & { phx_ref: string }
type State = Record<string, { metas: Meta[] }>

export class Rooms {
  /** The members of each topic, with what they track. */
  readonly #rooms = new Map<string, Map<Member, Meta | undefined>>()

  /** Lets a channel in, and tells it who is here: the client keeps changes back until it knows. */
  enter(member: Member): void {
    const room = this.#rooms.get(member.topic) ?? new Map<Member, Meta | undefined>()
    this.#rooms.set(member.topic, room.set(member, undefined))
    const state: State = {}
    for (const [{ presenceKey }, meta] of room) if (meta) (state[presenceKey] ??= { metas: [] }).metas.push(meta)
    member.port.push('presence_state', state)
  }

  has(member: Member): boolean {
    return this.#rooms.get(member.topic)?.has(member) ?? false
  }

  /** Shows what a member says, in place of what it said before. */
  track(member: Member, payload: Record<string, unknown>): void {
    const room = this.#rooms.get(member.topic)
    const before = room?.get(member)
    const meta: Meta = { ...payload, phx_ref: randomUUID(), ...(before ? { phx_ref_prev: before.phx_ref } : {}) }
    room?.set(member, meta)
    this.#tell(member, meta, before)
  }

  untrack(member: Member): void {
    const room = this.#rooms.get(member.topic)
    const before = room?.get(member)
    room?.set(member, undefined)
    if (before) this.#tell(member, undefined, before)
  }

  leave(member: Member): void {
    const room = this.#rooms.get(member.topic)
    const before = room?.get(member)
    if (!room?.delete(member)) return
    if (room.size === 0) this.#rooms.delete(member.topic)
    if (before) this.#tell(member, undefined, before)
  }

  #tell({ topic, presenceKey }: Member, joined: Meta | undefined, left: Meta | undefined): void {
    const of = (meta: Meta | undefined): State => (meta ? { [presenceKey]: { metas: [meta] } } : {})
    const diff = { joins: of(joined), leaves: of(left) }
    for (const member of this.#rooms.get(topic)?.keys() ?? []) member.port.push('presence_diff', diff)
  }
}
