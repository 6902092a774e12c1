/** What both panels do with their lists: filter, count, sort. Plain functions of records; the store knows nothing of them. */

export type Scope = 'all' | 'mine' | 'unassigned'

export interface Filter {
  readonly text: string
  readonly scope: Scope
  /** Empty: every department. */
  readonly department: string
}

interface Listed {
  readonly name: string
  readonly department: string
  readonly owner_id: string | null
}

export const SCOPES: readonly { readonly scope: Scope; readonly label: string }[] = [
  { scope: 'all', label: 'All' },
  { scope: 'mine', label: 'Mine' },
  { scope: 'unassigned', label: 'Unassigned' },
]

export const NO_FILTER: Filter = { text: '', scope: 'all', department: '' }

export type Counts = Readonly<Record<Scope, number>>

export function countOf(records: readonly Listed[], me: string): Counts {
  const counts = { all: records.length, mine: 0, unassigned: 0 }
  for (const { owner_id: owner } of records) {
    if (owner === null) counts.unassigned++
    else if (owner === me) counts.mine++
  }
  return counts
}

export function departmentsOf(records: readonly Listed[]): readonly string[] {
  return [...new Set(records.map(({ department }) => department))].sort(order.compare)
}

/** The records that pass, by name. `words` says what of a record the search looks at. */
export function listed<T extends Listed>(records: readonly T[], filter: Filter, me: string, words: (record: T) => string): readonly T[] {
  const wanted = plain(filter.text).split(' ').filter(Boolean)
  return records
    .filter((record) => isInScope(record, filter.scope, me))
    .filter(({ department }) => filter.department === '' || department === filter.department)
    .filter((record) => {
      const text = plain(words(record))
      return wanted.every((word) => text.includes(word))
    })
    .sort((one, other) => order.compare(one.name, other.name))
}

const order = new Intl.Collator('en', { numeric: true })

function isInScope({ owner_id: owner }: Listed, scope: Scope, me: string): boolean {
  switch (scope) {
    case 'all':
      return true
    case 'mine':
      return owner === me
    case 'unassigned':
      return owner === null
  }
}

/** Without case and accents: "zurich" finds Zürich. */
function plain(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase()
}
