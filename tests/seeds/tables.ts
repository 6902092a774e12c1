// What the stores of these tests declare.
import { assignmentHistory, table } from 'rota-engine'

export interface Chat {
  id: string
  chat_state: string
  assigned_operator_id: string | null
  last_operator_id: string | null
  operator_replied_at: string | null
  is_active: boolean
  created_at: string | null
  last_message_at: string | null
  assigned_at: string | null
  state_changed_at?: string | null
}
interface Operator {
  id: string
  name: string
  capacity: number
  is_active: boolean
  role: string
  department: string | null
}
interface Slot {
  id: string
  user_id: string
  starts_at: string
  ends_at: string
  time_zone: string
  recurrence: { freq: 'weekly'; byDay: string[] } | null
  is_active: boolean
  notes: string | null
}
interface Interaction {
  id: string
  status: string | null
  campaign_id: string | null
  turn: number | null
  action: string | null
  tags: string[]
  meta: Record<string, string | number>
  seen_at: string | null
  note: string | null
}

export const tables = {
  profiles: table<{ id: string; name: string; role: string }>({ key: 'id', fields: ['id', 'name', 'role'], domain: { kind: 'profile' } }),
  companies: table<{ id: string; name: string; owner_id: string | null }>({ key: 'id', fields: ['id', 'name', 'owner_id'], owner: 'owner_id', indexed: ['owner_id'], ownerName: { table: 'profiles', field: 'name' } }),
  assignment_history: assignmentHistory,
  patients: table<{ id: string; name: string; status: string | null }>({ key: 'id', fields: ['id', 'name', 'status'] }),
  form_submissions: table<{ id: string; form: string; status: string; answer: string | null }>({ key: 'id', fields: ['id', 'form', 'status', 'answer'], domain: { kind: 'form' } }),
  interactions: table<Interaction>({
    key: 'id',
    fields: ['id', 'status', 'campaign_id', 'turn', 'action', 'tags', 'meta', 'seen_at', 'note'],
    merge: { status: 'mostRecentNotNull', tags: 'union', meta: 'recursive', seen_at: 'latest' },
    domain: { kind: 'interaction', active: ['waiting', 'live', 'paused'], turn: 'turn', action: 'action' },
  }),
  chats: table<Chat>({
    key: 'id',
    fields: ['id', 'chat_state', 'assigned_operator_id', 'last_operator_id', 'operator_replied_at', 'is_active', 'created_at', 'last_message_at', 'assigned_at', 'state_changed_at'],
    domain: { kind: 'chat', operators: 'operators', activity: 'operator_activity' },
  }),
  operator_activity: table<{ operator_id: string; chat_id: string; last_activity_at: string }>({ key: ['operator_id', 'chat_id'], fields: ['operator_id', 'chat_id', 'last_activity_at'] }),
  order_lines: table<{ id: string; price: number; n: number; total: number }>({ key: 'id', fields: ['id', 'price', 'n', 'total'] }),
  operators: table<Operator>({ key: 'id', fields: ['id', 'name', 'capacity', 'is_active', 'role', 'department'] }),
  availability: table<Slot>({ key: 'id', fields: ['id', 'user_id', 'starts_at', 'ends_at', 'time_zone', 'recurrence', 'is_active', 'notes'], domain: { kind: 'availability' } }),
}
