/**
 * Which refusals the person has read and put away. One list for the page, so that the notice and the row agree, whether
 * React or Vue shows them.
 */
let dismissed: ReadonlySet<string> = new Set()
const listeners = new Set<() => void>()

export function dismiss(...operationIds: readonly string[]): void {
  dismissed = new Set([...dismissed, ...operationIds])
  for (const listener of listeners) listener()
}

/** The operations' ids. The same set until one is added. */
export function dismissedOperations(): ReadonlySet<string> {
  return dismissed
}

export function watchDismissed(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}
