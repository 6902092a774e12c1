import type { RotaError } from './errors.js'
import { assignmentRules } from './init.js'
import { callSafely, type Mirror } from './mirror.js'
import type { Key, Mutated, OperationView, Settlement } from './types.js'

/** How far many assignments have come. What was given up may be tried again, so it still counts as on its way. */
export interface BulkProgress {
  readonly total: number
  /** How many the server has done. */
  readonly done: number
  /** How many will never be done. */
  readonly failed: number
}

/** What became of one of many. */
export type BulkResult =
  | { readonly key: Key; readonly settlement: Settlement }
  /** It made no sense, and was never taken. */
  | { readonly key: Key; readonly error: RotaError }

/** Many assignments that were made together. */
export interface Bulk {
  /** The operations: one of all, where they are all or nothing; else one for each record that was taken. */
  readonly operations: readonly Mutated[]
  /** Resolves with one result for each record, in the order in which they were named. Never rejects. */
  readonly settled: Promise<readonly BulkResult[]>
  /** Returns how far they have come. */
  progress(): BulkProgress
}

/** How to assign many records. */
export interface BulkOptions {
  /** All or nothing, as one operation. */
  readonly atomic?: boolean
  /** Called whenever one more is over, or, given up, is tried again. */
  readonly onProgress?: (progress: BulkProgress) => void
}

type State = OperationView['state']

/** Follows many that were taken, or not, to their end. */
export function follow(keys: readonly Key[], taken: readonly (Mutated | RotaError)[], mirror: Mirror, onProgress?: (progress: BulkProgress) => void): Bulk {
  const states = taken.map((one): State => (one instanceof Error ? 'refused' : 'queued'))
  const shareOf = (state: State) => assignmentRules.progress([state]) as BulkProgress
  let progress = assignmentRules.progress(states) as BulkProgress
  const tell = () => onProgress && callSafely(() => onProgress(progress))
  /** Those that were given up, and may still end otherwise, by id. */
  const given = new Map<string, number[]>()
  let stop: (() => void) | undefined
  const become = (places: readonly number[], state: State) => {
    // Of each that has moved, and not all of them anew: there may be thousands.
    for (const place of places) {
      const [before, after] = [shareOf(states[place] as State), shareOf(state)]
      progress = { total: progress.total, done: progress.done - before.done + after.done, failed: progress.failed - before.failed + after.failed }
      states[place] = state
    }
    tell()
  }
  const watch = () => {
    stop ??= mirror.watch(({ operations }) => {
      for (const { id, state } of operations) {
        const places = given.get(id)
        if (!places || states[places[0] as number] === state) continue
        if (state !== 'dead' && state !== 'queued' && state !== 'sent' && state !== 'acknowledged') given.delete(id)
        become(places, state)
      }
      if (given.size > 0) return
      stop?.()
      stop = undefined
    })
  }
  const results = keys.map(async (key, place): Promise<BulkResult> => {
    const one = taken[place] as Mutated | RotaError
    // Nobody hears of it before this returns.
    await Promise.resolve()
    if (one instanceof Error) {
      tell()
      return { key, error: one }
    }
    const settlement = await one.settled
    if (settlement.outcome === 'dead') {
      given.set(one.id, [...(given.get(one.id) ?? []), place])
      watch()
    }
    become([place], settlement.outcome)
    return { key, settlement }
  })
  const operations = [...new Set(taken)].filter((one): one is Mutated => !(one instanceof Error))
  return { operations, settled: Promise.all(results), progress: () => progress }
}
