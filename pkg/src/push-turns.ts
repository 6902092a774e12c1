/** Who looks at what the browser shows, and who shows something, worker or tab, one after the other. */

const LOCK = 'rota-push-show'

/** A frozen tab may hold the lock for ever, and a push must be shown while the browser waits for it. */
const WAIT_MS_MAX = 1_000

/**
 * Chromium forgets a notification that is just being shown while somebody asks which ones there are: it stays in sight, but a click on it says
 * nothing any more, and the same shown again stands beside it.
 */
export async function inShowingTurn<R>(run: () => Promise<R>): Promise<R> {
  const locks = globalThis.navigator?.locks as LockManager | undefined
  if (!locks) return run()
  let hasBegun = false
  const begin = () => {
    hasBegun = true
    return run()
  }
  try {
    return await locks.request(LOCK, { signal: AbortSignal.timeout(WAIT_MS_MAX) }, begin)
  } catch (error) {
    // Not its turn in time, or nobody may have locks here.
    if (hasBegun) throw error
    return run()
  }
}
