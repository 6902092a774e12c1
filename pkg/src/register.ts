import type { Register } from './index.js'
import type { Domain, DomainName, InsertOf, OwnedName, RecordOf, Tables } from './tables.js'

/** The tables that {@link Register} names; any, where it names none. */
export type RegisteredTables = Register extends { readonly tables: infer T extends Tables } ? T : Tables

/** The names of the registered tables whose records have an owner. */
export type RegisteredOwned = OwnedName<RegisteredTables>

/** The names of the registered tables of a domain. */
export type RegisteredIn<K extends Domain['kind']> = string extends keyof RegisteredTables ? string : DomainName<RegisteredTables, K>

/** The records of a domain that a hook hands out: as the caller says, or of the registered tables. */
export type RegisteredRecord<K extends Domain['kind'], N = RegisteredIn<K>, R = never> = [R] extends [never]
  ? string extends keyof RegisteredTables
    ? object
    : RecordOf<RegisteredTables[N & keyof RegisteredTables]>
  : R

/** What makes a record of a domain, by the same. */
export type RegisteredInsert<K extends Domain['kind'], N = RegisteredIn<K>, R = never> = [R] extends [never]
  ? string extends keyof RegisteredTables
    ? object
    : InsertOf<RegisteredTables[N & keyof RegisteredTables]>
  : R
