/** Whose a browser's subscription is: the browser itself does not know people. */

interface Owned {
  readonly user: string
  readonly endpoint: string
  readonly savedAtMs: number
}

/** A server that has lost a subscription has it again after a day. */
const DUE_MS = 86_400_000

export class PushOwner {
  readonly #name: string

  constructor(scope: string) {
    this.#name = `rota-push:${scope}`
  }

  /** What cannot be read is nobody's. */
  read(): Owned | undefined {
    try {
      const { user, endpoint, savedAtMs } = JSON.parse(localStorage.getItem(this.#name) ?? 'null') as Partial<Owned>
      return typeof user === 'string' && typeof endpoint === 'string' && typeof savedAtMs === 'number' ? { user, endpoint, savedAtMs } : undefined
    } catch {
      return undefined
    }
  }

  is(user: string, endpoint: string): boolean {
    const kept = this.read()
    return kept?.user === user && kept.endpoint === endpoint
  }

  isDue({ savedAtMs }: Owned): boolean {
    return Math.abs(Date.now() - savedAtMs) > DUE_MS
  }

  write(user: string, endpoint: string): void {
    try {
      localStorage.setItem(this.#name, JSON.stringify({ user, endpoint, savedAtMs: Date.now() }))
    } catch {
      // Full or blocked: then the next page takes it for somebody else's, and ends it.
    }
  }

  forget(): void {
    try {
      localStorage.removeItem(this.#name)
    } catch {
      // See above.
    }
  }
}
