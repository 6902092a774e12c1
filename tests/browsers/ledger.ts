/** What the database did, kept by triggers of the tests' own: in which order operations were decided, and which of them changed a row, how often. */

import type { Client } from 'pg'

export interface Decision {
  readonly id: string
  readonly table: string
  readonly key: string
  readonly outcome: string
  readonly code: string | null
  readonly hlc: string
  readonly tab: string
  /** When it was decided, in milliseconds since 1970. */
  readonly atMs: number
}

const WATCH = `
  drop schema if exists watched cascade;
  create schema watched;
  create table watched.effects (at bigserial primary key, table_name text not null, key text not null, op uuid);
  create table watched.decisions (at bigserial primary key, id uuid not null, at_ms float8 not null);
  create function watched.effect() returns trigger language plpgsql security definer set search_path = '' as $$
  begin
    insert into watched.effects (table_name, key, op) values (tg_table_name, new.id, new.rota_op);
    return null;
  end
  $$;
  create function watched.decision() returns trigger language plpgsql security definer set search_path = '' as $$
  begin
    insert into watched.decisions (id, at_ms) values (new.id, extract(epoch from clock_timestamp()) * 1000);
    return null;
  end
  $$;
  create trigger watched after update on public.companies for each row execute function watched.effect();
  create trigger watched after update on public.leads for each row execute function watched.effect();
  create trigger watched after update of answer on rota.ledger for each row execute function watched.decision();`

export class Ledger {
  readonly #client: Client

  constructor(client: Client) {
    this.#client = client
  }

  /** Begins to watch. What was watched before is forgotten. */
  async watch(): Promise<void> {
    await this.#client.query(WATCH)
  }

  /** Lets go of the database: the next suite finds it as it was. */
  async forget(): Promise<void> {
    await this.#client.query('drop schema if exists watched cascade')
  }

  /** What was decided, in the order in which it was: that of the row's lock, for operations on one record. */
  async decisions(): Promise<Decision[]> {
    const { rows } = await this.#client.query<Decision>(`
      select l.id, l.op ->> 'table' as table, l.op ->> 'key' as key, l.answer ->> 'outcome' as outcome, l.answer ->> 'code' as code, l.op ->> 'hlc' as hlc,
        l.op ->> 'tab' as tab, d.at_ms as "atMs"
      from watched.decisions d join rota.ledger l using (id) order by d.at`)
    return rows
  }

  /** How often each operation changed a row; those that changed none are not among them. */
  async effects(): Promise<ReadonlyMap<string, number>> {
    const { rows } = await this.#client.query<{ op: string; count: number }>(
      'select op, count(*)::int as count from watched.effects where op is not null group by op',
    )
    return new Map(rows.map(({ op, count }) => [op, count]))
  }

  /** The rows of a table by key, as a store would hold them. */
  async rows(table: 'companies' | 'leads', fields: readonly string[]): Promise<Record<string, Record<string, unknown>>> {
    const { rows } = await this.#client.query<{ row: Record<string, unknown> & { id: string } }>(`select to_jsonb(t) as row from ${table} t order by id`)
    return Object.fromEntries(rows.map(({ row }) => [row.id, Object.fromEntries(fields.map((field) => [field, row[field]]))]))
  }
}

/** Numbers from a seed, at random and always the same: `next()` is at least 0 and below 1. */
export function randomFrom(seed: number): { next(): number; pick<V>(of: readonly V[]): V } {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
  return { next, pick: (of) => of[Math.floor(next() * of.length)]! }
}
