import type { RotaError } from './errors.js'
import type { Key, Mutated, Settlement } from './types.js'

/** How far many assignments have come. */
export interface BulkProgress {
  readonly total: number
  /** How many the server has done. */
  readonly done: number
  /** How many did not come true. */
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

/** Follows many that were taken, or not, to their end. */
export function follow(keys: readonly Key[], taken: readonly (Mutated | RotaError)[], onProgress?: (progress: BulkProgress) => void): Bulk {
  let progress: BulkProgress = { total: keys.length, done: 0, failed: 0 }
  const count = (isDone: boolean) => {
    progress = { ...progress, done: progress.done + (isDone ? 1 : 0), failed: progress.failed + (isDone ? 0 : 1) }
    onProgress?.(progress)
  }
  const results = keys.map(async (key, at): Promise<BulkResult> => {
    const one = taken[at] as Mutated | RotaError
    // Nobody hears of it before this returns.
    await Promise.resolve()
    if (one instanceof Error) {
      count(false)
      return { key, error: one }
    }
    const settlement = await one.settled
    count(settlement.outcome === 'confirmed')
    return { key, settlement }
  })
  const operations = [...new Set(taken)].filter((one): one is Mutated => !(one instanceof Error))
  return { operations, settled: Promise.all(results), progress: () => progress }
}
