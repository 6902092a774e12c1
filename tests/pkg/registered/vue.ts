// Not run: compiled by types.test.ts. The lines below "@ts-expect-error" must fail.
import * as vue from 'rota-engine/vue'
import { table } from 'rota-engine'
import type { Call, Slot } from './tables.js'

// Names and records are known without being said again.
export const ward = (): string | null | undefined => vue.useRecord('patients', 'p').value?.ward
export const names = (): string[] => vue.useRecords('companies').value.map(({ name }) => name)
export const mean = (): number | null => vue.useView({ table: 'patients', figures: { mean: { average: 'age' } } }).value.figures.mean
export const rows = (): number | undefined => vue.useView({ table: 'patients', filter: { eq: { field: 'ward', value: 'north' } } }).value.rows[0]?.age
export const live = () => vue.useRealtime({ table: 'patients' }, { onInsert: ({ record }) => record.ward, onUpdate: ({ before }) => before?.age.toFixed() })
export const patients = (): number | undefined => vue.useRealtimePatients().patients.value[0]?.age
export const named = (): string | undefined => vue.useRealtimePatients({ table: 'companies' }, { onDelete: ({ record }) => record.owner_id }).patients.value[0]?.name
export const inStore = (): string | undefined => vue.useStore().get('companies', 'c')?.name
export const role = (): string | undefined => vue.useOwnProfile().value?.role
export const heard = () => vue.useProfileUpdates(({ profile, before }) => [profile.role, before?.role])
export const submitted = () => vue.useFormSubmissionUpdates(({ submission, isOwn }) => [submission.note, isOwn])
export const forms = (): string | undefined => vue.useRealtimeForms({ table: 'forms', message: (form, key) => `${key} ${form.status}` }).submissions.value[0]?.status
export const either = (): string | undefined => vue.useLiveInteraction().activeInteractions.value[0]?.status
export const call = (): string | undefined => vue.useLiveInteraction({ table: 'calls' }).activeInteractions.value[0]?.line
export const score = () => vue.useLiveInteraction({ table: 'games' }).optimisticUpdate('g', { score: 1 })
export const turns = () => vue.useInteractionEvents(({ interaction }) => interaction.score, { table: 'games' })
export const slots = () => vue.useSyncEventHandlers({ availability_created: ({ time_zone }) => time_zone })
declare const slot: Omit<Slot, 'id'>
export const made = () => vue.useAvailability().createAvailability(slot)
export const owner = () => vue.useAssignmentState({ entityType: 'companies', entityId: 'c', onSuccess: ({ userId }) => userId, onError: ({ winner }) => winner?.user }).assignToUser(null)
export const told = () => vue.useRealtimeAssignmentSync({ entityTypes: ['companies'], onAssignmentChange: ({ to }) => to })
export const assigned = () => vue.useAssignment().canAssign('companies', 'c', null)

// A component of another application's says which tables it means.
const others = { orders: table<{ id: string; total: number }>({ key: 'id', fields: ['id', 'total'] }) }
export const order = (): number | undefined => vue.useRecord<typeof others, 'orders'>('orders', 'o').value?.total
export const own = (): Call | undefined => vue.useLiveInteraction<Call>().activeInteractions.value[0]

// @ts-expect-error no such table
vue.useRecord('patientz', 'p')
// @ts-expect-error no such field
void vue.useRecord('patients', 'p').value?.colour
// @ts-expect-error no such table
vue.useRecords('patientz')
// @ts-expect-error no such field
vue.useView({ table: 'patients', filter: { eq: { field: 'wrd', value: 1 } } })
// @ts-expect-error no such figure
void vue.useView({ table: 'patients', figures: { mean: { average: 'age' } } }).value.figures.total
// @ts-expect-error no such table
vue.useRealtime({ table: 'patientz' })
// @ts-expect-error no such field
vue.useRealtime({ table: 'patients' }, { onInsert: ({ record }) => record.colour })
// @ts-expect-error no such field
void vue.useRealtimePatients().patients.value[0]?.colour
// @ts-expect-error no such table
vue.useStore().get('patientz', 'p')
// @ts-expect-error no such field
void vue.useOwnProfile().value?.colour
// @ts-expect-error nobody has patients
vue.useAssignmentState({ entityType: 'patients', entityId: 'p' })
// @ts-expect-error nobody has patients
vue.useRealtimeAssignmentSync({ entityTypes: ['patients'], onAssignmentChange: () => {} })
// @ts-expect-error nobody has patients
vue.useAssignment().canAssign('patients', 'p', null)
// @ts-expect-error no table of interactions
vue.useLiveInteraction({ table: 'patients' })
// @ts-expect-error a game has no line
void vue.useLiveInteraction({ table: 'games' }).activeInteractions.value[0]?.line
// @ts-expect-error no such field
vue.useLiveInteraction({ table: 'games' }).optimisticUpdate('g', { colour: 1 })
// @ts-expect-error no table of forms
vue.useRealtimeForms({ table: 'patients' })
// @ts-expect-error no such field
vue.useRealtimeForms({ message: (form) => form.colour })
// @ts-expect-error a slot needs its times
vue.useAvailability().createAvailability({ user_id: 'maya' })

// What is reactive is typed alike.
export const reactive = (): string | null | undefined => vue.useRecord(() => 'patients' as const, () => 'p').value?.ward
// @ts-expect-error no such table
vue.useRecord(() => 'patientz' as const, 'p')
