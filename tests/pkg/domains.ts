/** A store of tables with domains, on a server that hands out chats. */
import { createStore, init, table, type Answer, type Operation, type Recurrence, type Store, type StoreOptions } from 'rota-engine'
import { afterEach } from 'vitest'
import { FakeBackend, type Row } from './backend.js'
import { isLive } from './world.js'

export type Chat = {
  id: string
  chat_state: 'waiting_assignment' | 'assigned' | 'waiting_real_user_reply' | 'completed'
  assigned_operator_id: string | null
  last_operator_id: string | null
  operator_replied_at: string | null
  is_active: boolean
  created_at: string
  last_message_at: string | null
  assigned_at: string | null
}
export type Operator = { id: string; name: string; capacity: number; is_active: boolean; role: 'operator' | 'supervisor'; department: string | null }
export type Slot = { id: string; user_id: string; starts_at: string; ends_at: string; time_zone: string; recurrence: Recurrence | null; is_active: boolean; notes: string | null }
export type Session = { id: string; status: string; campaign_id: string | null; turn_id: string | null; last_action: string | null; note: string | null }
export type Lead = { id: string; name: string; owner_id: string | null; department: string | null }
export type Profile = { id: string; role: string; department: string | null; name: string }

export const domainTables = {
  chats: table<Chat>({
    key: 'id',
    fields: ['id', 'chat_state', 'assigned_operator_id', 'last_operator_id', 'operator_replied_at', 'is_active', 'created_at', 'last_message_at', 'assigned_at'],
    domain: { kind: 'chat', operators: 'operators' },
  }),
  operators: table<Operator>({ key: 'id', fields: ['id', 'name', 'capacity', 'is_active', 'role', 'department'] }),
  slots: table<Slot>({ key: 'id', fields: ['id', 'user_id', 'starts_at', 'ends_at', 'time_zone', 'recurrence', 'is_active', 'notes'], domain: { kind: 'availability' } }),
  sessions: table<Session>({
    key: 'id',
    fields: ['id', 'status', 'campaign_id', 'turn_id', 'last_action', 'note'],
    domain: { kind: 'interaction', active: ['live', 'paused'], turn: 'turn_id', action: 'last_action' },
  }),
  leads: table<Lead>({ key: 'id', fields: ['id', 'name', 'owner_id', 'department'], owner: 'owner_id' }),
  profiles: table<Profile>({ key: 'id', fields: ['id', 'role', 'department', 'name'], domain: { kind: 'profile' } }),
}

/** Hands out the chat that it is told to, whatever the client has predicted. */
export class DomainBackend extends FakeBackend {
  handsOut: string | undefined

  override async push(operation: Operation): Promise<Answer> {
    const { id, name, table: of, key, set } = operation
    if (name !== 'request_next' || !this.handsOut || this.handsOut === key) {
      const answer = await super.push(operation)
      return name === 'request_next' && answer.outcome === 'confirmed' ? ({ ...answer, chosen: key } as Answer) : answer
    }
    this.pushes.push(operation)
    await Promise.resolve()
    const chosen = this.handsOut
    const row = this.put(of, { ...this.row(of, chosen), ...set, rota_op: id }, { silently: true })
    const told = (which: string) => ({ table: of, key: which, version: this.versionOf(of, which), record: { ...this.row(of, which) } as Row })
    const answer = {
      protocol: 1,
      id,
      replayed: false,
      outcome: 'confirmed',
      ...told(key),
      code: 'assigned-other',
      message: `the chat that has waited longest is ${chosen}`,
      chosen,
      records: [told(key), { ...told(chosen), record: { ...row } }],
    } as Answer
    this.ledger.set(id, answer)
    return answer
  }
}

const opened: Store[] = []
let users = 0

afterEach(async () => {
  for (const store of opened.splice(0)) store.close()
  await new Promise((resolve) => setTimeout(resolve, 2))
})

export function openDomains(backend = new DomainBackend(), options: Partial<StoreOptions<typeof domainTables>> = {}) {
  const store = createStore({
    app: `domains-${users++}`,
    user: 'maya',
    tables: domainTables,
    backend,
    retry: { maxRetries: 2, retryDelay: 2, timeout: 5_000 },
    storage: 'memory',
    ...options,
  })
  opened.push(store)
  return { store, backend }
}

export async function openDomainsLive(backend = domainsSeeded(), options: Partial<StoreOptions<typeof domainTables>> = {}) {
  await init()
  const world = openDomains(backend, options)
  await isLive(world.store)
  return world
}

export function chat(id: string, fields: Partial<Chat> = {}): Chat {
  return {
    id,
    chat_state: 'waiting_assignment',
    assigned_operator_id: null,
    last_operator_id: null,
    operator_replied_at: null,
    is_active: true,
    created_at: '2026-11-01T09:00:00Z',
    last_message_at: null,
    assigned_at: null,
    ...fields,
  }
}

export function slot(id: string, fields: Partial<Slot> = {}): Slot {
  return { id, user_id: 'maya', starts_at: '2026-11-02T09:00', ends_at: '2026-11-02T12:00', time_zone: 'Europe/Berlin', recurrence: null, is_active: true, notes: null, ...fields }
}

export function domainsSeeded(): DomainBackend {
  const backend = new DomainBackend()
  for (const [id, role] of [['maya', 'operator'], ['jonas', 'operator'], ['lena', 'supervisor']]) backend.put('operators', { id, name: id, capacity: 1, is_active: true, role, department: 'north' })
  backend.put('chats', chat('old', { created_at: '2026-11-01T08:00:00Z' }))
  backend.put('chats', chat('new'))
  backend.put('leads', { id: 'l1', name: 'Harbour', owner_id: null, department: 'north' })
  for (const [id, role] of [['maya', 'agent'], ['jonas', 'agent'], ['lena', 'admin']]) backend.put('profiles', { id, role, department: 'north', name: id })
  return backend
}
