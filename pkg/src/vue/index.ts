export type { AssignmentFailure, UseAssignment } from '../bindings/assigning.js'
export type { AssignmentCallbacks, AssignmentTold } from '../bindings/owning.js'
export type { AuthHandlers, AuthState } from '../bindings/auth.js'
export type { Assignable, AssignmentTexts } from '../bindings/displaying.js'
export type { BoundaryTexts, Caught, ErrorReport } from '../bindings/failing.js'
export type { Editors } from '../bindings/forms.js'
export type { NoticeSettings } from '../bindings/notices.js'
export type { Waiting } from '../bindings/opening.js'
export type { RealtimeHandlers, RealtimeState } from '../bindings/realtime.js'
export type { AvailabilityActions } from '../bindings/slots.js'
export { AssignmentProvider, useAssignment, useAssignmentError } from './assignment-context.js'
export { UserAssignmentDisplay } from './assignment-display.js'
export { useAssignmentState, useRealtimeAssignmentSync, type AssignmentOptions, type AssignmentSyncOptions, type UseAssignmentState } from './assignments.js'
export { useAvailability, useSyncEventHandlers } from './availability.js'
export { ErrorBoundary, useErrorHandler, withErrorBoundary } from './boundary.js'
export { useRealtimeForms, type RealtimeForms, type RealtimeFormsOptions, type UseRealtimeForms } from './forms.js'
export { LiveInteractionProvider, useInteractionEvents, useLiveInteraction, type InTable, type UseLiveInteraction } from './interactions.js'
export { useLiveInteractionNotifications, useNotifications, type InteractionNotificationsOptions, type UseLiveInteractionNotifications } from './notifications.js'
export {
  useFormSubmissionUpdates,
  useOwnProfile,
  useProfileUpdates,
  useRealtime,
  useRealtimeAuth,
  useRealtimePatients,
  useStale,
  type Enabled,
  type RealtimePatients,
  type UseRealtimeAuth,
} from './realtime.js'
export { useRecord, useRecords, useView } from './records.js'
export { useConflicts, useOperations, usePeers, useStatus } from './status.js'
export { provideRota, RotaProvider, rotaPlugin, useRotaStore, useStore } from './store.js'
export type { RefsOf } from './stored.js'
