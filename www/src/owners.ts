import type { Person } from './tables.js'

/** People to choose an owner from, as one group of a select. */
export interface OwnerGroup {
  readonly label: string
  readonly people: readonly Person[]
}

const known = new WeakMap<readonly Person[], Map<string, readonly OwnerGroup[]>>()

/** The people of the department first. The others are offered too: whether it is allowed, the server says. */
export function ownerGroups(people: readonly Person[], department: string): readonly OwnerGroup[] {
  let byDepartment = known.get(people)
  if (!byDepartment) known.set(people, (byDepartment = new Map()))
  let groups = byDepartment.get(department)
  if (!groups) {
    const sorted = [...people].sort((one, other) => one.name.localeCompare(other.name, 'en'))
    groups = [
      { label: department, people: sorted.filter((person) => person.department === department) },
      { label: 'Other departments', people: sorted.filter((person) => person.department !== department) },
    ].filter((group) => group.people.length > 0)
    byDepartment.set(department, groups)
  }
  return groups
}

export function initials(name: string): string {
  const parts = name.split(' ').filter(Boolean)
  return `${parts[0]?.[0] ?? ''}${parts.length > 1 ? (parts.at(-1)?.[0] ?? '') : ''}`.toUpperCase()
}
