/**
 * Waits until what the stream has shown can be seen. PostgreSQL sends a commit to the stream as soon as it is in the
 * log, and only a moment later lets other transactions see it: whoever asks in between is told that the row is not
 * there. A visibility check at that moment would hide a change for good, and a client that pulls right after its
 * `system` ok would miss it in both ways. So nothing is judged, and no ok is sent, before this says so.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Queryable } from '../database.js'

const WAIT_MS_MAX = 5_000
const RETRY_MS = 1
/** Without listeners nobody waits; the list is worked off when it is this long. */
const NOTED_MAX = 1_000

export class Horizon {
  readonly #noted = new Set<number>()

  constructor(readonly db: Queryable) {}

  /** A transaction whose commit came through the stream. */
  note(xid: number): void {
    this.#noted.add(xid)
  }

  get isLong(): boolean {
    return this.#noted.size >= NOTED_MAX
  }

  /** Resolves when every noted transaction is visible to a transaction that begins now. */
  async passed(): Promise<void> {
    const deadline = performance.now() + WAIT_MS_MAX
    while (this.#noted.size > 0) {
      const { rows } = await this.db.query<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot')
      const snapshot = parseSnapshot(rows[0]?.snapshot ?? '')
      for (const xid of this.#noted) if (isVisible(xid, snapshot)) this.#noted.delete(xid)
      if (this.#noted.size === 0) return
      if (performance.now() > deadline) {
        this.#noted.clear()
        throw new Error(`a commit of the stream was not visible within ${WAIT_MS_MAX} ms`)
      }
      await sleep(RETRY_MS)
    }
  }
}

interface Snapshot {
  /** The first transaction id not yet given out. */
  next: number
  running: ReadonlySet<number>
}

/** `xmin:xmax:running,running`, in 64 bits; the stream counts in 32. */
function parseSnapshot(text: string): Snapshot {
  const [, next = '', running = ''] = text.split(':')
  if (!/^\d+$/.test(next)) throw new Error(`not a snapshot: ${text}`)
  const ids = running === '' ? [] : running.split(',')
  return { next: lowBits(next), running: new Set(ids.map(lowBits)) }
}

function lowBits(xid: string): number {
  return Number(BigInt.asUintN(32, BigInt(xid)))
}

/** Ids wrap around: one precedes another when the difference, in 32 bits, is negative. */
function isVisible(xid: number, { next, running }: Snapshot): boolean {
  return ((xid - next) | 0) < 0 && !running.has(xid)
}
