import { RotaError, type AssignmentError, type Key, type Store } from '../index.js'

/** Somebody whom a record may be assigned to. */
export interface Assignable {
  readonly id: string
  readonly name: string
}

/** What the ready-made display says, in the application's language. */
export interface AssignmentTexts {
  readonly label: string
  readonly nobody: string
  readonly updating: string
  readonly loading: string
  readonly retry: string
}

export const ASSIGNMENT_TEXTS: AssignmentTexts = { label: 'Assigned to', nobody: 'Nobody', updating: 'Updating...', loading: 'Loading...', retry: 'Try again' }

/** What went wrong last, as the display says it. */
export type AssignmentTrouble = Pick<AssignmentError, 'code' | 'message'>

/** The people of the table that owners' names come from, by name. */
export function peopleOf(store: Store, entityType: string): readonly Assignable[] {
  const names = store.tables[entityType]?.ownerName
  if (!names) return []
  const known = store.isClosed ? [] : (store.all(names.table) as readonly Record<string, unknown>[])
  const { key } = store.tables[names.table] ?? {}
  const field = typeof key === 'string' ? key : String(key?.[0])
  const people = known.map((person) => ({ id: String(person[field]), name: String(person[names.field] ?? person[field]) }))
  return people.sort((one, other) => one.name.localeCompare(other.name) || (one.id < other.id ? -1 : 1))
}

/** The choices of a display: these people, and whoever it is now, if they are none of these. */
export function choicesOf(people: readonly Assignable[], ownerId: string | null, ownerName: string | null): readonly Assignable[] {
  if (ownerId === null || people.some(({ id }) => id === ownerId)) return people
  return [...people, { id: ownerId, name: ownerName ?? ownerId }]
}

/** Who of these may not be chosen, and why; by id, nobody as ''. */
export function refusalsOf(store: Store, entityType: string, entityId: Key, people: readonly Assignable[]): ReadonlyMap<string, string> {
  const refusals = new Map<string, string>()
  if (store.isClosed) return refusals
  for (const to of [null, ...people.map(({ id }) => id)]) {
    const refusal = store.can({ name: 'assign', table: entityType, key: entityId, to })
    if (refusal) refusals.set(to ?? '', refusal.message)
  }
  return refusals
}

/** Runs what may be refused before anything has changed; returns what was refused. */
export function troubleOf(run: () => unknown): AssignmentTrouble | null {
  try {
    run()
    return null
  } catch (error) {
    if (error instanceof RotaError) return { code: error.code, message: error.reason }
    throw error
  }
}

/** What a display is doing, for its style. */
export function displayState(isLoading: boolean, isUpdating: boolean, trouble: AssignmentTrouble | null): string {
  if (isLoading) return 'loading'
  if (isUpdating) return 'updating'
  return trouble ? 'error' : 'settled'
}

/** The same, in words; nothing when all is well. */
export function displayStatus(isLoading: boolean, isUpdating: boolean, { loading, updating }: AssignmentTexts): string {
  if (isLoading) return loading
  return isUpdating ? updating : ''
}
