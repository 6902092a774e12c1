import type { Tables } from './tables.js'

/** Who may do what to the records of a table. Nothing is allowed that no rule allows. */
export interface Policy<T extends Tables, N extends keyof T & string = keyof T & string> {
  readonly table: N
  /** The field with whose a record is, and the one with whose department's. */
  readonly owner?: T[N]['fields'][number]
  readonly department?: T[N]['fields'][number]
  /**
   * Where people are, and in which fields their id (`id` by default), role (`role` by default), department, and whether they are active: who is not does nothing,
   * and is given nothing. The server gives nothing to somebody who is not there.
   */
  readonly people: { readonly table: keyof T & string; readonly key?: string; readonly role?: string; readonly department?: string; readonly active?: string }
  readonly rules: readonly PolicyRule[]
}

/** Allows something. */
export interface PolicyRule {
  /** Names of operations, and `read`. A `patch` that changes the owner needs what `assign` needs, too. */
  readonly actions: readonly string[]
  /** Who: people of these roles; everybody, where none are named. */
  readonly roles?: readonly string[]
  /** To which records; to any, where nothing is said. */
  readonly scope?: 'any' | 'own' | 'unowned' | 'department'
  /** To whom something may be given; to anyone, where nothing is said. */
  readonly to?: 'anyone' | 'oneself' | 'department'
}
