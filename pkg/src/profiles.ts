import { RotaError } from './errors.js'
import { happenings } from './init.js'
import type { Mirror } from './mirror.js'
import { RecordEvents } from './record-events.js'
import type { FirstReads } from './snapshot.js'
import type { DomainName, PatchOf, RecordOf, Tables } from './tables.js'
import type { Mutated } from './types.js'

/** What has become of a profile. `rights`: the person may do other things than before. */
export interface ProfileEvent<R> {
  readonly type: 'created' | 'rights' | 'updated' | 'deleted'
  readonly key: string
  /** True for the profile of the store's person. */
  readonly isOwn: boolean
  /** As it shows now; of one that is gone, as it was. */
  readonly profile: R
  /** As it showed before; nothing of one that is new. */
  readonly before: R | undefined
}

/** What profiles need of their store. @internal */
export interface ProfileHost {
  readonly mirror: Mirror
  readonly user: string
  readonly first: FirstReads
  mutate(mutation: object): Mutated
  requireOpen(): void
}

/**
 * Profiles: who people are, in a table declared with the domain. When the server changes what decides about the rights of the store's person, all that they see is
 * fetched anew, in all their tabs.
 */
export class Profiles<T extends Tables, N extends DomainName<T, 'profile'> = DomainName<T, 'profile'>> {
  readonly #host: ProfileHost
  readonly #name: string | undefined
  readonly #events: RecordEvents<ProfileEvent<object>>

  /** @internal */
  constructor(host: ProfileHost, tables: T) {
    this.#host = host
    const names = Object.entries(tables).map(([name, { domain }]) => (domain?.kind === 'profile' ? name : undefined))
    this.#name = names.find((name) => name !== undefined)
    this.#events = new RecordEvents(host.mirror, names, ({ table, key, before, after }) => {
      const type = happenings.profile(tables[table]?.domain ?? {}, before, after) as ProfileEvent<object>['type'] | undefined
      const profile = after ?? before
      return type && profile && { type, key, isOwn: key === host.user, profile, before }
    })
  }

  /** The profile of the store's person; nothing until it was fetched, or where there is none. The same object until it changes. */
  own(): RecordOf<T[N]> | undefined {
    return this.#host.mirror.get(this.#table(), this.#host.user) as RecordOf<T[N]> | undefined
  }

  /** @internal The same while a server renders, and in a browser until what it rendered was taken over. */
  firstOwn(): RecordOf<T[N]> | undefined {
    return this.#host.first.get(this.#table(), this.#host.user) as RecordOf<T[N]> | undefined
  }

  /** Changes fields of the person's own profile, at once; with a key, of somebody else's. */
  update(set: PatchOf<T[N]>, key: string = this.#host.user): Mutated {
    return this.#host.mutate({ name: 'patch', table: this.#table(), key, set })
  }

  /** Calls back when the person's own profile may have changed; returns how to stop. */
  subscribe(listener: () => void): () => void {
    this.#host.requireOpen()
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'profiles.subscribe takes a function')
    return this.#host.mirror.watchRecord(this.#table(), this.#host.user, listener)
  }

  /** Calls back when somebody's profile comes, changes or goes, as soon as it shows; returns how to stop. */
  watch(listener: (event: ProfileEvent<RecordOf<T[N]>>) => void): () => void {
    this.#host.requireOpen()
    if (typeof listener !== 'function') throw new RotaError('invalid-operation', 'profiles.watch takes a function')
    this.#table()
    return this.#events.watch(listener as (event: ProfileEvent<object>) => void)
  }

  #table(): string {
    if (this.#name === undefined) throw new RotaError('invalid-operation', 'no table is declared with the domain of profiles')
    return this.#name
  }
}
