import { useRecords, useStatus, useStore } from 'rota-engine/react'
import { useDeferredValue, useMemo, useState, type ReactNode } from 'react'
import { NO_FILTER, SCOPES, countOf, departmentsOf, listed, type Counts, type Filter } from '../list.js'
import { loadOf } from '../load.js'
import type { Company } from '../tables.js'
import { CompanyRow } from './CompanyRow.js'

const wordsOf = ({ name, city, industry }: Company): string => `${name} ${city} ${industry}`

export function CompaniesPanel({ me }: { readonly me: string }): ReactNode {
  const companies = useRecords('companies')
  const people = useRecords('people')
  const [filter, setFilter] = useState<Filter>(NO_FILTER)
  const text = useDeferredValue(filter.text)
  const shown = useMemo(() => listed(companies, { ...filter, text }, me, wordsOf), [companies, filter, text, me])
  const counts = useMemo(() => countOf(companies, me), [companies, me])
  const departments = useMemo(() => departmentsOf(companies), [companies])
  return (
    <section className="panel" id="companies" data-testid="companies-panel" aria-labelledby="companies-title" tabIndex={-1}>
      <div className="panel-head">
        <h2 id="companies-title">Companies</h2>
        <span className="framework">React</span>
      </div>
      <Filters filter={filter} change={setFilter} counts={counts} departments={departments} />
      <Listing isEmpty={companies.length === 0} found={shown.length} clear={() => setFilter(NO_FILTER)}>
        {shown.map((company) => (
          <CompanyRow key={company.id} company={company} people={people} />
        ))}
      </Listing>
    </section>
  )
}

interface FiltersProps {
  readonly filter: Filter
  readonly change: (filter: Filter) => void
  readonly counts: Counts
  readonly departments: readonly string[]
}

function Filters({ filter, change, counts, departments }: FiltersProps): ReactNode {
  return (
    <div className="filters" role="search" aria-label="Companies">
      <input
        type="search"
        className="search"
        data-testid="search"
        placeholder="Search companies"
        aria-label="Search companies by name, city or industry"
        value={filter.text}
        onChange={(event) => change({ ...filter, text: event.target.value })}
      />
      <select
        className="department"
        data-testid="department"
        aria-label="Department"
        value={filter.department}
        onChange={(event) => change({ ...filter, department: event.target.value })}
      >
        <option value="">All departments</option>
        {departments.map((department) => (
          <option key={department}>{department}</option>
        ))}
      </select>
      <fieldset className="scopes">
        <legend className="unseen">Which companies</legend>
        {SCOPES.map(({ scope, label }) => (
          <label key={scope} className="scope" data-testid={`scope-${scope}`}>
            <input type="radio" name="companies-scope" checked={filter.scope === scope} onChange={() => change({ ...filter, scope })} />
            <span>
              {label} <span className="count" data-testid={`count-${scope}`}>{counts[scope]}</span>
            </span>
          </label>
        ))}
      </fieldset>
    </div>
  )
}

interface ListingProps {
  readonly isEmpty: boolean
  readonly found: number
  readonly clear: () => void
  readonly children: ReactNode
}

function Listing({ isEmpty, found, clear, children }: ListingProps): ReactNode {
  const store = useStore()
  const status = useStatus()
  const load = loadOf(status, isEmpty)
  if (load.is === 'loading') {
    return (
      <div className="skeleton" data-testid="list-loading" role="status">
        <span className="unseen">Loading companies</span>
        {Array.from({ length: 8 }, (_, at) => (
          <div key={at} className="skeleton-row" />
        ))}
      </div>
    )
  }
  if (load.is === 'failed') {
    return (
      <div className="blank" data-testid="list-problem" role="alert">
        <p className="blank-title">The server can’t be reached</p>
        <p>The next attempt comes by itself. ({load.why})</p>
        <button type="button" className="button" onClick={() => store.reconnect()}>
          Try now
        </button>
      </div>
    )
  }
  if (found === 0) {
    return (
      <div className="blank" data-testid="list-empty" role="status">
        <p className="blank-title">No company fits</p>
        <button type="button" className="button" onClick={clear}>
          Show all
        </button>
      </div>
    )
  }
  return (
    <ul className="list" data-testid="list">
      {children}
    </ul>
  )
}
