/**
 * Rota: a state engine for live, shared work.
 *
 * @packageDocumentation
 */
export type { AssignmentNews, AssignmentNotices } from './assignment-news.js'
export {
  assignmentHistory,
  Assignments,
  UPDATING,
  type AssignmentChange,
  type AssignmentError,
  type AssignmentEvent,
  type AssignmentHistory,
  type AssignmentState,
  type HistoryOptions,
} from './assignments.js'
export { Availability, type AvailabilityHandlers, type FreeSlot, type Moment, type Recurrence } from './availability.js'
export {
  BackendError,
  type Answer,
  type AnsweredRecord,
  type Backend,
  type Failure,
  type LinkListener,
  type Operation,
  type Peer,
  type Presence as PeerPresence,
  type PullRequest,
  type PullResponse,
  type StreamEvent,
  type TokenNews,
} from './backend.js'
export type { Bulk, BulkOptions, BulkProgress, BulkResult } from './bulk.js'
export { Chats, lostByMs, type ChatOperation, type ChatStanding, type ChatWaits, type OperatorHistory, type RepeatedAssignment } from './chats.js'
export { RotaError, type RotaErrorCode } from './errors.js'
export { init, version } from './init.js'
export { Interactions, type InteractionEvent, type InteractionState } from './interactions.js'
export type { InvalidationRule, QueryKey, Stale } from './invalidation.js'
export type { ChatMutation } from './mutations.js'
export { Notifications, type BrowserNotice, type BrowserNotifications, type NotificationGiven, type NotificationKind, type NotificationSettings, type NotificationShown } from './notifications.js'
export type { Policy, PolicyRule } from './policy.js'
export { escapeSnapshot, type Snapshot } from './snapshot.js'
export { Presence, type PlaceGiven } from './presence.js'
export { Profiles, type ProfileEvent } from './profiles.js'
export type { RegisteredIn, RegisteredInsert, RegisteredOwned, RegisteredRecord, RegisteredTables } from './register.js'
export { Recovery, RetryError } from './recovery.js'
export { createStore, Store, type After, type Mutation, type StoreOptions } from './store.js'
export { Submissions, type SubmissionEvent } from './submissions.js'
export type { RecordEvent, WatchSpec } from './table-events.js'
export { table, type Domain, type DomainName, type InputOf, type InsertOf, type OfDomain, type OwnedName, type PatchOf, type RecordOf, type Table, type TableOptions, type Tables, type Unkeyed, type Unowned } from './tables.js'
export type { FigureDeclaration, Figures, Filter, SortKey, ViewGroup, ViewSpec, ViewSpecOf } from './viewing.js'
export type { SnapshotOf, View, ViewOf, ViewSnapshot } from './views.js'
export type {
  Audit,
  AuditEntry,
  Changes,
  Conflict,
  ConflictChange,
  ConflictChoice,
  DeepReadonly,
  Durability,
  FieldConflict,
  Key,
  LinkOptions,
  LinkState,
  LinkStatus,
  MergeRule,
  Mutated,
  Operations,
  OperationState,
  OperationView,
  PollingOptions,
  Problem,
  Renamed,
  Refusal,
  RetryOptions,
  Settlement,
  Stats,
  Status,
  TemporaryKey,
  Value,
  Winner,
} from './types.js'

/**
 * Says once of which tables an application is, so that every hook knows their names and records:
 *
 * ```ts
 * declare module 'rota-engine' {
 *   interface Register {
 *     readonly tables: typeof tables
 *   }
 * }
 * ```
 */
// Each application adds to it.
// oxlint-disable-next-line typescript/no-empty-object-type, typescript/no-empty-interface
export interface Register {}
