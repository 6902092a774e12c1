/**
 * Rota: a state engine for live, shared work.
 *
 * @packageDocumentation
 */
export { Assignments, UPDATING, type AssignmentError, type AssignmentState } from './assignments.js'
export {
  BackendError,
  type Answer,
  type Backend,
  type Failure,
  type LinkListener,
  type Operation,
  type PullRequest,
  type PullResponse,
  type StreamEvent,
} from './backend.js'
export { RotaError, type RotaErrorCode } from './errors.js'
export { init, version } from './init.js'
export { escapeSnapshot, type Snapshot } from './snapshot.js'
export { createStore, Store, type Mutation, type StoreOptions } from './store.js'
export { table, type InputOf, type OwnedName, type RecordOf, type Table, type TableOptions, type Tables, type Unowned } from './tables.js'
export type {
  Changes,
  DeepReadonly,
  Durability,
  Key,
  LinkOptions,
  LinkState,
  LinkStatus,
  Mutated,
  Operations,
  OperationState,
  OperationView,
  PollingOptions,
  Problem,
  RetryOptions,
  Settlement,
  Stats,
  Status,
  Value,
} from './types.js'
