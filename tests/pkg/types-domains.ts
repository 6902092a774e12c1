// Not run: compiled by types.test.ts. The lines below "@ts-expect-error" must fail.
import { createStore, table, type Backend, type Mutated, type QueryKey, type Recurrence, type Refusal, type Settlement, type Store } from 'rota-engine'
import { policySql } from 'rota-engine/policy-sql'
import { domainTables } from './domains.js'

declare const backend: Backend
const store = createStore({ app: 'a', user: 'u', tables: domainTables, backend })

export const mutated: Mutated = store.chats.requestNext()
export const settled: Promise<Settlement> = store.chats.requestNext('maya').settled
export const told = async (): Promise<(string | undefined)[]> => {
  const { chosen, code, message, winner } = await settled
  return [chosen, code, message, winner?.user, winner?.at]
}
store.mutate({ name: 'claim', table: 'chats', key: 'c', operator: 'maya' })
store.mutate({ name: 'request_next', table: 'chats', operator: 'maya' })
store.transact([
  { name: 'release', table: 'chats', key: 'c', reason: 'lunch' },
  { name: 'complete', table: 'chats', key: 'c' },
])
export const may: Refusal | undefined = store.chats.can('transfer', 'c', 'jonas') ?? store.can({ name: 'assign', table: 'leads', key: 'l', to: null })
export const state: 'waiting_assignment' | 'assigned' | 'waiting_real_user_reply' | 'completed' | undefined = store.chats.in('chats').standing('c')?.state
// @ts-expect-error the server chooses the chat
store.mutate({ name: 'request_next', table: 'chats', key: 'c', operator: 'maya' })
// @ts-expect-error a release has a reason
store.mutate({ name: 'release', table: 'chats', key: 'c' })
// @ts-expect-error a table without chats
store.mutate({ name: 'complete', table: 'leads', key: 'c' })
// @ts-expect-error a table without chats
store.chats.in('leads')
// @ts-expect-error a chat is claimed, not assigned
store.mutate({ name: 'assign', table: 'chats', key: 'c', to: 'maya' })
// @ts-expect-error to whom?
store.chats.can('transfer', 'c')
// @ts-expect-error no such operation
store.chats.can('reopen', 'c')
// @ts-expect-error no such kind of domain
table<{ id: string }>({ key: 'id', fields: ['id'], domain: { kind: 'calendar' } })

store.policy({ table: 'leads', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['agent'], scope: 'unowned', to: 'oneself' }] })
// @ts-expect-error no such table
store.policy({ table: 'nope', people: { table: 'profiles' }, rules: [] })
// @ts-expect-error no such field
store.policy({ table: 'leads', owner: 'whose', people: { table: 'profiles' }, rules: [] })
// @ts-expect-error no such scope
store.policy({ table: 'leads', people: { table: 'profiles' }, rules: [{ actions: ['patch'], scope: 'all' }] })
export const sql: Promise<string> = policySql<typeof domainTables, 'leads'>({ table: 'leads', owner: 'owner_id', people: { table: 'profiles' }, rules: [] })
// @ts-expect-error no such field
void policySql<typeof domainTables, 'leads'>({ table: 'leads', owner: 'whose', people: { table: 'profiles' }, rules: [] })
store.invalidate([{ tables: ['leads'], changed: ['owner_id'], keys: [['lead', '$key']] }, { everything: true }])
// @ts-expect-error neither keys nor everything
store.invalidate([{ tables: ['leads'] }])
export const stop: () => void = store.onStale(({ everything, keys }): readonly QueryKey[] => (everything ? [] : keys))

store.availability.create({ id: 's', user_id: 'maya', starts_at: '2026-11-02T09:00', ends_at: '2026-11-02T12:00', time_zone: 'Europe/Berlin', recurrence: null, is_active: true, notes: null })
store.availability.update('s', { notes: 'x' })
export const free: readonly string[] = store.availability.freeBetween(new Date(), Date.now())
export const keys: string[] = store.availability.freeSlots('maya', 0, 1).map(({ key, fromMs, toMs }) => key + fromMs + toMs)
export const stopWatching: () => void = store.availability.watch({ availability_updated: (slot, key) => slot.notes?.concat(key) })
// @ts-expect-error a field is missing
store.availability.create({ id: 's', user_id: 'maya' })
// @ts-expect-error no such field
store.availability.update('s', { colour: 'red' })
// @ts-expect-error no such event
store.availability.watch({ availability_moved: () => {} })
// @ts-expect-error no slots
store.availability.in('chats')

export const anyStore: Store = store
anyStore.mutate({ name: 'claim', table: 'chats', key: 'c', operator: 'maya' })
anyStore.availability.create({ id: 's' })

export const looking: string | null = store.interactions.state().currentInteractionId
export const going: readonly { readonly status: string }[] = store.interactions.state().activeInteractions
store.interactions.optimisticUpdate('s', { note: 'x' })
store.interactions.watch(({ type, interaction }) => (type satisfies 'turn' | 'action' | 'status') + interaction.turn_id)
// @ts-expect-error no such field
store.interactions.optimisticUpdate('s', { mood: 'x' })
export const done: number = store.assignments.assignAll('leads', ['a', 'b'], 'maya', { atomic: true }).progress().done
export const none: number = store.assignments.unassignAll('leads', ['a', 'b']).progress().failed
export const lead: string | undefined = store.assignments.unassigned('leads').rows()[0]?.id
export const had: number | null | undefined = store.assignments.statistics('leads').groups()[0]?.figures.count
export const who: string | null | undefined = store.assignments.history('leads', 'a').rows()[0]?.to_owner
// @ts-expect-error -- slots have no owner
store.assignments.unassigned('slots')
// @ts-expect-error -- there is no such figure
void store.assignments.statistics('leads').figures().sum
// @ts-expect-error a table without an owner
store.assignments.assignAll('slots', ['a'], 'maya')
store.notifications.configure('bell', { turn: { autoCloseMs: null }, status: { enabled: false } })
// @ts-expect-error no such kind
store.notifications.createNotification({ kind: 'shout', message: 'x' })

export const ownRole: string | undefined = store.profiles.own()?.role
store.profiles.update({ name: 'Maya' })
// @ts-expect-error no such field
store.profiles.update({ colour: 'red' })
export const stopProfiles: () => void = store.profiles.watch(({ type, isOwn, profile, before }) => [type === 'rights', isOwn, profile.department, before?.role])
export const stopHanding: () => void = store.assignments.watch(({ from, to }) => [from?.length, to?.length], ['leads'])
// @ts-expect-error its records have no owner
store.assignments.watch(() => {}, ['profiles'])

type Owned = { id: number; user_id: string; starts_at: string; ends_at: string; time_zone: string; recurrence: Recurrence | null; is_active: boolean; owner_id: string | null; status: string; role: string }
const whole = { key: 'id', fields: ['id', 'user_id', 'starts_at', 'ends_at', 'time_zone', 'recurrence', 'is_active', 'owner_id', 'status', 'role'], owner: 'owner_id', temporaryKeys: true } as const
const every = createStore({
  app: 'a',
  user: 'u',
  tables: {
    slots: table<Owned>({ ...whole, domain: { kind: 'availability' } }),
    forms: table<Owned>({ ...whole, domain: { kind: 'form' } }),
    people: table<Owned>({ ...whole, domain: { kind: 'profile' } }),
    sessions: table<Owned>({ ...whole, domain: { kind: 'interaction', active: ['live'] } }),
  },
  backend,
})
const { id: _, ...keyless } = {} as Owned
every.availability.create({ ...keyless, recurrence: { freq: 'weekly', byDay: ['MO'], until: '2026-12-31' } })
for (const name of ['forms', 'people', 'sessions'] as const) every.mutate({ name: 'insert', table: name, record: keyless })
every.assignments.assign('slots', 's', 'maya')
every.submissions.watch(({ submission }) => submission.status.length)
every.interactions.in('sessions').optimisticUpdate('s', { status: 'live' })
// @ts-expect-error no such day
export const wrong: Recurrence = { freq: 'weekly', byDay: ['MONDAY'] }
// @ts-expect-error no interactions
every.interactions.in('forms')
// @ts-expect-error a chat's state is set by its operations alone
store.mutate({ name: 'patch', table: 'chats', key: 'c', set: { chat_state: 'completed' } })
store.mutate({ name: 'patch', table: 'chats', key: 'c', set: { is_active: false } })
// @ts-expect-error a chat is claimed, not assigned
store.assignments.assign('chats', 'c', 'maya')
