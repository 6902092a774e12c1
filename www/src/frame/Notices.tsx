import type { OperationView } from 'rota-engine'
import { useOperations, useStore } from 'rota-engine/react'
import { useMemo, useSyncExternalStore, type ReactNode } from 'react'
import { dismiss, dismissedOperations, watchDismissed } from '../dismissed.js'

const SHOWN_MAX = 4

/** What became of changes that did not come true: this tab's, and those of the browser's other tabs. */
export function Notices(): ReactNode {
  const { pending, recent } = useOperations()
  const dismissed = useSyncExternalStore(watchDismissed, dismissedOperations)
  const news = useMemo(
    () => [...pending, ...recent].filter((view) => view.state in TITLES && !dismissed.has(view.id)).reverse(),
    [pending, recent, dismissed],
  )
  const hidden = news.length - SHOWN_MAX
  return (
    <section className="notices" data-testid="notices" aria-label="Notices">
      {news.length > 1 && (
        <div className="notices-head">
          <span>{hidden > 0 ? `the ${SHOWN_MAX} newest of ${news.length}` : `${news.length} notices`}</span>
          <button type="button" className="button button-small" onClick={() => dismiss(...news.filter(({ state }) => state !== 'dead').map(({ id }) => id))}>
            Dismiss all
          </button>
        </div>
      )}
      <ul aria-live="polite" aria-relevant="additions">
        {news.slice(0, SHOWN_MAX).map((view) => (
          <Notice key={view.id} view={view} />
        ))}
      </ul>
    </section>
  )
}

const TITLES: Partial<Record<OperationView['state'], string>> = {
  refused: 'was not changed',
  conflicted: 'was changed by somebody else first',
  dead: 'could not be sent',
  unknown: 'may or may not have changed',
}

function Notice({ view }: { readonly view: OperationView }): ReactNode {
  const store = useStore()
  const record = store.get(view.table as 'companies' | 'leads', view.key)
  return (
    <li className="notice" data-testid="notice" data-operation={view.id} data-state={view.state} data-mine={view.mine}>
      <p className="notice-title">
        {record?.name ?? view.key} {TITLES[view.state]}
      </p>
      <p className="notice-message" data-testid="notice-message">
        {view.message || 'The server gave no reason.'}
      </p>
      <p className="notice-from">{view.mine ? 'Made in this tab' : 'Made in another tab of this browser'}</p>
      <div className="notice-buttons">
        {view.state === 'dead' ? (
          <>
            <button type="button" className="button button-small" data-testid="notice-retry" onClick={() => store.retry(view.id)}>
              Try again
            </button>
            <button type="button" className="button button-small" data-testid="notice-drop" onClick={() => store.cancel(view.id)}>
              Drop it
            </button>
          </>
        ) : (
          <button type="button" className="button button-small" data-testid="notice-dismiss" onClick={() => dismiss(view.id)}>
            Dismiss
          </button>
        )}
      </div>
    </li>
  )
}
