import { useAssignmentState } from 'rota-engine/react'
import { memo, useSyncExternalStore, type ReactNode } from 'react'
import { dismiss, dismissedOperations, watchDismissed } from '../dismissed.js'
import { initials, ownerGroups } from '../owners.js'
import type { Company, Person } from '../tables.js'

interface CompanyRowProps {
  readonly company: Company
  readonly people: readonly Person[]
}

const employees = new Intl.NumberFormat('en')

/** Renders again only when this company, its assignment or the people change: a record is the same object until then. */
export const CompanyRow = memo(function CompanyRow({ company, people }: CompanyRowProps): ReactNode {
  const { ownerId, ownerName, isUpdating, error, canAssign, assignToUser } = useAssignmentState({ entityType: 'companies', entityId: company.id })
  const isDismissed = useSyncExternalStore(watchDismissed, () => error !== null && dismissedOperations().has(error.operationId))
  const groups = ownerGroups(people, company.department)
  const isKnown = ownerId === null || people.some(({ id }) => id === ownerId)
  return (
    <li className="row" data-testid="company-row" data-key={company.id} data-owner={ownerId ?? ''} data-updating={isUpdating}>
      <div className="row-what">
        <span className="row-name">{company.name}</span>
        <span className="row-more">
          {company.city} · {company.industry} · {employees.format(company.employees)} people
        </span>
      </div>
      <span className="tag" data-department={company.department}>
        {company.department}
      </span>
      <div className="owner">
        <span className="avatar" data-department={people.find(({ id }) => id === ownerId)?.department} data-nobody={ownerId === null} aria-hidden="true">
          {ownerName ? initials(ownerName) : ''}
        </span>
        {/* The select lies over the name and speaks for it. */}
        <span className="owner-name" data-testid="owner-name" aria-hidden="true">
          {ownerName ?? 'Unassigned'}
        </span>
        {isUpdating && <span className="spinner" data-testid="updating" role="img" aria-label="waiting for the server" />}
        <select
          className="owner-select"
          data-testid="owner-select"
          aria-label={`Owner of ${company.name}`}
          value={ownerId ?? ''}
          disabled={!canAssign}
          onChange={(event) => assignToUser(event.target.value || null)}
        >
          <option value="">Unassigned</option>
          {!isKnown && <option value={ownerId ?? ''}>{ownerName}</option>}
          {groups.map(({ label, people: members }) => (
            <optgroup key={label} label={label}>
              {members.map(({ id, name }) => (
                <option key={id} value={id}>
                  {name}
                </option>
              ))}
            </optgroup>
          ))}
        </select>
      </div>
      {error && !isDismissed && (
        <p className="row-error" data-testid="row-error" data-code={error.code}>
          <span>{error.message || 'The server did not accept this.'}</span>
          <button type="button" className="row-error-dismiss" data-testid="row-error-dismiss" aria-label={`Dismiss the message about ${company.name}`} onClick={() => dismiss(error.operationId)}>
            ×
          </button>
        </p>
      )}
    </li>
  )
})
