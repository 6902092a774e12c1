// Not run: compiled by types.test.ts. The lines below "@ts-expect-error" must fail.
import { createStore, type AssignmentEvent, type Backend, type Mutated, type RecordEvent, type Store } from 'rota-engine'
import * as react from 'rota-engine/react'
import * as vue from 'rota-engine/vue'
import { createElement } from 'react'
import { h } from 'vue'
import { boundTables, type Form, type Patient, type Profile, type Session } from './bound.js'

declare const backend: Backend
type Tables = typeof boundTables
const options = { app: 'a', user: 'u', tables: boundTables, backend }
const store = createStore(options)

// A table is watched with its own records.
export const stop: () => void = store.watch({ table: 'patients', filter: { eq: { field: 'ward', value: 'north' } } }, ({ type, record, before }) => [type === 'inserted', record.ward, before?.name])
store.onSignedOut(() => {})
// @ts-expect-error no such table
store.watch({ table: 'nope' }, () => {})
// @ts-expect-error no such field
store.watch({ table: 'patients', filter: { eq: { field: 'colour', value: 'x' } } }, () => {})
// @ts-expect-error no such member
store.watch({ table: 'patients' }, ({ record }) => record.colour)

// React.
export const owner = (): [string | null, boolean, Mutated] => {
  const { ownerId, isUpdating, assignToUser } = react.useAssignmentState({ entityType: 'companies', entityId: 'c1', onSuccess: ({ id }) => id, onError: ({ code }) => code })
  return [ownerId, isUpdating, assignToUser(null)]
}
export const sync = () => react.useRealtimeAssignmentSync({ entityTypes: ['companies'], onAssignmentChange: ({ from, to }: AssignmentEvent) => [from, to], enabled: true })
export const assign = (): Promise<boolean> => react.useAssignment().assignEntity('companies', 'c1', null)
export const wrong = (): string | undefined => react.useAssignmentError()?.message
export const patients = (): readonly { readonly ward: string | null }[] =>
  react.useRealtimePatients<Tables, { readonly table: 'patients' }>({ table: 'patients' }, { onInsert: ({ record }) => record.ward }).patients
export const live = (): boolean => react.useRealtime<Tables, { readonly table: 'patients' }>({ table: 'patients' }, { onDelete: ({ record }: RecordEvent<Patient>) => record.name, enabled: false }).isConnected
export const forms = (): [string | undefined, { readonly id: string; readonly message: string }[]] => {
  const { submissions, notifications, edit } = react.useRealtimeForms<Form>({ message: (form: Form, key) => `${key} ${form.status}` })
  edit('f1', 'typing')
  return [submissions[0]?.status, notifications.map(({ id, message }) => ({ id, message }))]
}
export const auth = (): 'signed-in' | 'expired' | 'signed-out' => react.useRealtimeAuth({ onExpired: () => {} }).state
export const session = (): [string | undefined, string | null, Mutated] => {
  const { activeInteractions, currentInteractionId, optimisticUpdate } = react.useLiveInteraction<Session>()
  return [activeInteractions[0]?.status, currentInteractionId, optimisticUpdate('s1', { note: 'x' })]
}
export const notices = () => react.useLiveInteractionNotifications({ settings: { turn: { autoCloseMs: null } } }).broadcastUpdate({ kind: 'turn', message: 'x', id: 'y' })
export const role = (): string | undefined => react.useOwnProfile<Profile>()?.role
export const page = [
  createElement(react.RotaProvider, { store }),
  createElement(react.RotaProvider, { options, fallback: 'wait' }),
  createElement(react.ErrorBoundary, { fallback: ({ error, retry }) => [String(error), createElement('button', { onClick: retry })], onReport: ({ atMs }) => atMs }),
  createElement(react.UserAssignmentDisplay, { entityType: 'companies', entityId: 'c1', people: [{ id: 'a', name: 'A' }], texts: { retry: 'x' } }),
  createElement(react.AssignmentProvider, { onError: ({ code, entityId }) => [code, entityId] }),
  createElement(react.withErrorBoundary(({ sides }: { sides: number }) => String(sides), { texts: { retry: 'x' } }), { sides: 6 }),
]
// @ts-expect-error either a store or what to open one with
void createElement(react.RotaProvider, {})
// @ts-expect-error not both
void createElement(react.RotaProvider, { store, options })
// @ts-expect-error nobody is called
react.useRealtimeAssignmentSync({ entityTypes: ['companies'] })
// @ts-expect-error no such field
react.useLiveInteraction<Session>().optimisticUpdate('s1', { mood: 'x' })
// @ts-expect-error an update that several tabs tell of has an id
react.useLiveInteractionNotifications().broadcastUpdate({ kind: 'turn', message: 'x' })
// @ts-expect-error no such kind
react.useLiveInteractionNotifications({ settings: { shout: {} } })
// @ts-expect-error no such text
void createElement(react.UserAssignmentDisplay, { entityType: 'companies', entityId: 'c1', texts: { shout: 'x' } })
// @ts-expect-error what it wraps takes sides
void createElement(react.withErrorBoundary(({ sides }: { sides: number }) => String(sides)), {})

// Vue: the same, in refs.
export const vuePatients = (): readonly { readonly ward: string | null }[] =>
  vue.useRealtimePatients<Tables, { readonly table: 'patients' }>(() => ({ table: 'patients' }) as const, { onInsert: ({ record }) => record.ward, enabled: () => true }).patients.value
export const vueForms = (): string | undefined => vue.useRealtimeForms<Form>().submissions.value[0]?.status
export const vueAuth = (): 'signed-in' | 'expired' | 'signed-out' => vue.useRealtimeAuth().state.value
export const vueSession = (): [string | undefined, string | null] => {
  const { activeInteractions, currentInteractionId } = vue.useLiveInteraction<Session>()
  return [activeInteractions.value[0]?.status, currentInteractionId.value]
}
export const vueWrong = (): string | undefined => vue.useAssignmentError().value?.message
export const vueStore = (): Store<Tables> | undefined => vue.useRotaStore(() => options).value
export const vuePage = [
  h(vue.RotaProvider, { store }),
  h(vue.RotaProvider, { options }),
  h(vue.UserAssignmentDisplay, { entityType: 'companies', entityId: 'c1', people: [{ id: 'a', name: 'A' }] }),
  h(vue.ErrorBoundary, { onReport: ({ atMs }) => void atMs }),
  h(vue.AssignmentProvider, { onError: ({ code }) => void code }),
  h(vue.withErrorBoundary(vue.UserAssignmentDisplay, { texts: { retry: 'x' } })),
]
// @ts-expect-error whose?
h(vue.UserAssignmentDisplay, { entityType: 'companies' })
// @ts-expect-error a ref is not its value
vue.useRealtimeAuth().state.length.toFixed()
