// Not run: compiled by types.test.ts. The lines below "@ts-expect-error" must fail.
import { createElement } from 'react'
import * as react from 'rota-engine/react'
import { table } from 'rota-engine'
import type { Call, Slot } from './tables.js'

// Names and records are known without being said again.
export const ward = (): string | null | undefined => react.useRecord('patients', 'p')?.ward
export const names = (): string[] => react.useRecords('companies').map(({ name }) => name)
export const mean = (): number | null => react.useView({ table: 'patients', figures: { mean: { average: 'age' } } }).figures.mean
export const rows = (): number | undefined => react.useView({ table: 'patients', filter: { eq: { field: 'ward', value: 'north' } } }).rows[0]?.age
export const live = () => react.useRealtime({ table: 'patients' }, { onInsert: ({ record }) => record.ward, onUpdate: ({ before }) => before?.age.toFixed() })
export const patients = (): number | undefined => react.useRealtimePatients().patients[0]?.age
export const named = (): string | undefined => react.useRealtimePatients({ table: 'companies' }, { onDelete: ({ record }) => record.owner_id }).patients[0]?.name
export const inStore = (): string | undefined => react.useStore().get('companies', 'c')?.name
export const role = (): string | undefined => react.useOwnProfile()?.role
export const heard = () => react.useProfileUpdates(({ profile, before }) => [profile.role, before?.role])
export const submitted = () => react.useFormSubmissionUpdates(({ submission, isOwn }) => [submission.note, isOwn])
export const forms = (): string | undefined => react.useRealtimeForms({ table: 'forms', message: (form, key) => `${key} ${form.status}` }).submissions[0]?.status
export const either = (): string | undefined => react.useLiveInteraction().activeInteractions[0]?.status
export const call = (): string | undefined => react.useLiveInteraction({ table: 'calls' }).activeInteractions[0]?.line
export const score = () => react.useLiveInteraction({ table: 'games' }).optimisticUpdate('g', { score: 1 })
export const turns = () => react.useInteractionEvents(({ interaction }) => interaction.score, { table: 'games' })
export const slots = () => react.useSyncEventHandlers({ availability_created: ({ time_zone }) => time_zone })
declare const slot: Omit<Slot, 'id'>
export const made = () => react.useAvailability().createAvailability(slot)
export const owner = () => react.useAssignmentState({ entityType: 'companies', entityId: 'c', onSuccess: ({ userId }) => userId, onError: ({ winner }) => winner?.user }).assignToUser(null)
export const told = () => react.useRealtimeAssignmentSync({ entityTypes: ['companies'], onAssignmentChange: ({ to }) => to })
export const assigned = () => react.useAssignment().canAssign('companies', 'c', null)

// A component of another application's says which tables it means.
const others = { orders: table<{ id: string; total: number }>({ key: 'id', fields: ['id', 'total'] }) }
export const order = (): number | undefined => react.useRecord<typeof others, 'orders'>('orders', 'o')?.total
export const own = (): Call | undefined => react.useLiveInteraction<Call>().activeInteractions[0]

// @ts-expect-error no such table
react.useRecord('patientz', 'p')
// @ts-expect-error no such field
void react.useRecord('patients', 'p')?.colour
// @ts-expect-error no such table
react.useRecords('patientz')
// @ts-expect-error no such field
react.useView({ table: 'patients', filter: { eq: { field: 'wrd', value: 1 } } })
// @ts-expect-error no such figure
void react.useView({ table: 'patients', figures: { mean: { average: 'age' } } }).figures.total
// @ts-expect-error no such table
react.useRealtime({ table: 'patientz' })
// @ts-expect-error no such field
react.useRealtime({ table: 'patients' }, { onInsert: ({ record }) => record.colour })
// @ts-expect-error no such field
void react.useRealtimePatients().patients[0]?.colour
// @ts-expect-error no such table
react.useStore().get('patientz', 'p')
// @ts-expect-error no such field
void react.useOwnProfile()?.colour
// @ts-expect-error nobody has patients
react.useAssignmentState({ entityType: 'patients', entityId: 'p' })
// @ts-expect-error nobody has patients
react.useRealtimeAssignmentSync({ entityTypes: ['patients'], onAssignmentChange: () => {} })
// @ts-expect-error nobody has patients
react.useAssignment().canAssign('patients', 'p', null)
// @ts-expect-error no table of interactions
react.useLiveInteraction({ table: 'patients' })
// @ts-expect-error a game has no line
void react.useLiveInteraction({ table: 'games' }).activeInteractions[0]?.line
// @ts-expect-error no such field
react.useLiveInteraction({ table: 'games' }).optimisticUpdate('g', { colour: 1 })
// @ts-expect-error no table of forms
react.useRealtimeForms({ table: 'patients' })
// @ts-expect-error no such field
react.useRealtimeForms({ message: (form) => form.colour })
// @ts-expect-error a slot needs its times
react.useAvailability().createAvailability({ user_id: 'maya' })
// @ts-expect-error nobody has patients
void createElement(react.UserAssignmentDisplay, { entityType: 'patients', entityId: 'p' })
