import { RotaError } from './errors.js'
import type { InputOf, Tables } from './tables.js'
import { givenObject } from './values.js'

/** One condition on a field of a record. */
type Term<R, Kind extends string> = { [F in keyof R & string]: { readonly [K in Kind]: { readonly field: F; readonly value: R[F] | null } } }[keyof R & string]

/**
 * Which records a view shows: an object of one member. Conditions are two-valued, and a missing field reads as null; `lt`, `lte`, `gt`,
 * `gte` and `between` compare booleans, numbers and text (by code point), and hold for nothing else.
 */
export type Filter<R> =
  | Term<R, 'eq'>
  | Term<R, 'neq'>
  | Term<R, 'lt'>
  | Term<R, 'lte'>
  | Term<R, 'gt'>
  | Term<R, 'gte'>
  /** Text with this text in it, or a list with an item that equals the value. */
  | { [F in keyof R & string]: { readonly contains: { readonly field: F; readonly value: ItemOf<R[F]> } } }[keyof R & string]
  | { [F in keyof R & string]: { readonly in: { readonly field: F; readonly values: readonly (R[F] | null)[] } } }[keyof R & string]
  | { readonly isNull: { readonly field: keyof R & string } }
  | { [F in keyof R & string]: { readonly between: { readonly field: F; readonly from: R[F]; readonly to: R[F] } } }[keyof R & string]
  | { readonly and: readonly Filter<R>[] }
  | { readonly or: readonly Filter<R>[] }
  | { readonly not: Filter<R> }

type ItemOf<V> = NonNullable<V> extends readonly (infer I)[] ? I : V

/** One field to sort by. Null comes last in both directions, and what ties is sorted by key. */
export type SortKey<F extends string> = F | { readonly field: F; readonly descending?: boolean }

/** A figure over records: how many there are, in how many a field is not null, the sum of a field's numbers, or their average. */
export type FigureDeclaration<F extends string> = 'count' | { readonly count: F } | { readonly sum: F } | { readonly average: F }

/** The figures of a view by name. An average over no numbers at all is null. */
export type Figures<F extends string> = { readonly [N in F]: number | null }

/** One group of a view's records, and its figures. */
export interface ViewGroup<F extends string, G> {
  /** The values that make the group; null: all records of groups beyond the ten thousandth together. */
  readonly group: G | null
  readonly figures: Figures<F>
}

/** The values that make the groups of a spec's view. */
export type GroupKey<R, S> = S extends { readonly groupBy: readonly (infer F)[] } ? { readonly [N in F & keyof R & string]: R[N] } : never

/** What a live list shows. Every field in it must be among the table's `indexed` ones, or of its key. */
export type ViewSpec<T extends Tables> = { [N in keyof T & string]: ViewSpecOf<N, Known<InputOf<T[N]>>> }[keyof T & string]

/** Of a table that is not known, any field will do. */
// oxlint-disable-next-line typescript/no-explicit-any
type Known<R> = [keyof R] extends [never] ? Record<string, any> : R

/** What a live list of one table shows. */
export interface ViewSpecOf<N extends string, R> {
  readonly table: N
  /** Which records; without it, all. */
  readonly filter?: Filter<R>
  /** By what they are sorted, at most 8 fields; without it, by key. */
  readonly sort?: readonly SortKey<keyof R & string>[]
  /** How many the window shows at most; without it, all. 0 is fine: figures and total are kept all the same. */
  readonly limit?: number
  /** How many come before the window. */
  readonly offset?: number
  /** What is counted over all records that pass the filter, inside the window or not; at most 16. */
  readonly figures?: Readonly<Record<string, FigureDeclaration<keyof R & string>>>
  /** The fields, at most 4, whose values make the groups that the figures are kept for too. */
  readonly groupBy?: readonly (keyof R & string)[]
}

/** A view as the engine is told of it; equal views have equal texts. */
export interface DescribedView {
  readonly table: string
  readonly filter?: unknown
  readonly sort: readonly { readonly field: string; readonly descending: boolean }[]
  readonly limit?: number
  readonly offset: number
  readonly figures: readonly { readonly name: string; readonly kind: 'count' | 'sum' | 'average'; readonly field?: string }[]
  readonly groupBy: readonly string[]
}

const MEMBERS: ReadonlySet<string> = new Set<keyof ViewSpecOf<string, object>>(['table', 'filter', 'sort', 'limit', 'offset', 'figures', 'groupBy'])

/** Copies a spec into the form that the engine reads. What it may hold, the engine says. */
export function describeView(spec: ViewSpec<Tables>): DescribedView {
  if (typeof spec !== 'object' || spec === null || Array.isArray(spec)) throw invalid('a view is described by an object: { table, … }')
  for (const name of Object.keys(spec)) if (!MEMBERS.has(name)) throw invalid(`a view has no "${name}"; there are ${[...MEMBERS].join(', ')}`)
  const { table, filter, sort, limit, offset, figures, groupBy } = spec
  if (typeof table !== 'string') throw invalid('a view needs the name of a table')
  for (const [name, count] of [['limit', limit], ['offset', offset]] as const) {
    if (count !== undefined && !(Number.isInteger(count) && count >= 0 && count < 2 ** 32)) throw invalid(`the ${name} of a view is a whole number from 0 on`)
  }
  return {
    table,
    ...(filter === undefined ? {} : { filter: sorted(givenObject(filter, 'filter')) }),
    sort: listed('sort', sort).map(describeSort),
    ...(limit === undefined ? {} : { limit }),
    offset: offset ?? 0,
    figures: describeFigures(figures),
    groupBy: listed('groupBy', groupBy).map((field) => textual('groupBy', field)),
  }
}

/** A live list that the rules describe, as an application would write it. */
export function ruledView(described: unknown): ViewSpec<Tables> {
  const { figures = [], ...spec } = described as DescribedView
  const declared = figures.map(({ name, kind, field }) => [name, typeof field === 'string' ? { [kind]: field } : kind])
  return { ...spec, figures: Object.fromEntries(declared) } as unknown as ViewSpec<Tables>
}

function describeSort(key: unknown): DescribedView['sort'][number] {
  if (typeof key === 'string') return { field: key, descending: false }
  const { field, descending = false } = givenObject(key, 'sort')
  if (typeof descending !== 'boolean') throw invalid('"descending" is true or false')
  return { field: textual('sort', field), descending }
}

const KINDS = ['count', 'sum', 'average'] as const

function describeFigures(figures: unknown): DescribedView['figures'] {
  if (figures === undefined) return []
  const declared = Object.entries(givenObject(figures, 'figures'))
  return declared.map(([name, figure]) => {
    if (figure === 'count') return { name, kind: 'count' }
    const [[kind, field] = [], ...others] = typeof figure === 'object' && figure !== null ? Object.entries(figure) : []
    const known = KINDS.find((one) => one === kind)
    if (!known || others.length > 0) throw invalid(`the figure "${name}" is neither 'count' nor { count, sum or average: field }`)
    return { name, kind: known, field: textual(`the figure "${name}"`, field) }
  })
}

function listed(name: string, given: unknown): readonly unknown[] {
  if (given === undefined) return []
  if (!Array.isArray(given)) throw invalid(`"${name}" is a list`)
  return given
}

function textual(place: string, field: unknown): string {
  if (typeof field !== 'string') throw invalid(`${place} takes the name of a field`)
  return field
}

/** Members in one order, so that equal filters have equal texts. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1))
  return Object.fromEntries(members.map(([name, item]) => [name, sorted(item)]))
}

function invalid(message: string): RotaError {
  return new RotaError('invalid-view', message)
}
