/**
 * Fields that the database works out by itself, which a stream may leave out: PostgreSQL's own does, of generated columns. What was pulled says
 * which they are. A record that comes without them shows what they were before until it has been pulled.
 */
export class DerivedFields {
  /** The declared fields of each table. */
  readonly #declared: ReadonlyMap<string, readonly string[]>
  readonly #derived = new Map<string, ReadonlySet<string>>()
  /** Tables of which something came incomplete before it was known what is derived in them. */
  readonly #early = new Set<string>()

  constructor(declared: ReadonlyMap<string, readonly string[]>) {
    this.#declared = declared
  }

  /** Takes what a pull told. Returns the tables of which something came too early to be known for incomplete. */
  learn(told: unknown): string[] {
    if (typeof told !== 'object' || told === null) return []
    const late: string[] = []
    for (const [table, declared] of this.#declared) {
      const fields: unknown = Object.hasOwn(told, table) ? (told as Record<string, unknown>)[table] : undefined
      if (!Array.isArray(fields)) continue
      const derived = new Set(declared.filter((field) => fields.includes(field)))
      if (!this.#derived.has(table) && derived.size > 0 && this.#early.delete(table)) late.push(table)
      this.#derived.set(table, derived)
    }
    return late
  }

  /** True for a row of the stream that lacks what only a pull tells. */
  isLacking(table: string, row: object): boolean {
    const derived = this.#derived.get(table)
    const lacks = (field: string) => !Object.hasOwn(row, field)
    if (derived === undefined) {
      if (this.#declared.get(table)?.some(lacks)) this.#early.add(table)
      return false
    }
    return [...derived].some(lacks)
  }
}
