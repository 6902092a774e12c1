/**
 * Misbehaviour on request, for tests: a network that delays, drops, repeats and goes silent. All of it is off unless a
 * test holds the gateway's handle and switches it on; no request and no frame can reach this object.
 */

export interface Faults {
  /** Every REST request waits this long before it is looked at. */
  delayRestMs: number
  /** The next N REST requests are cut before anything is done: the caller sees a network error, and nothing happened. */
  dropNextRest: number
  /** The next N REST requests are carried out and then cut: the caller sees a network error, and it did happen. */
  dropNextRestAnswer: number
  /** The next N `postgres_changes` frames are sent twice. */
  duplicateFrames: number
  /** The next N `postgres_changes` frames are never sent. */
  dropFrames: number
  /** Sockets stay open, and nothing is read from them or written to them. */
  halfOpen: boolean
  /**
   * Time between the answer to a join and its `system` ok. As on the real server, what is committed in between is
   * never delivered: the client has been told SUBSCRIBED and not yet that the stream is live.
   */
  systemDelayMs: number
}

export function newFaults(given: Partial<Faults> = {}): Faults {
  return {
    delayRestMs: 0,
    dropNextRest: 0,
    dropNextRestAnswer: 0,
    duplicateFrames: 0,
    dropFrames: 0,
    halfOpen: false,
    systemDelayMs: 0,
    ...given,
  }
}

type CountedFault = 'dropNextRest' | 'dropNextRestAnswer' | 'duplicateFrames' | 'dropFrames'

/** Says whether this one is to be hit, and uses it up. `Infinity` never runs out. */
export function takeFault(faults: Faults, name: CountedFault): boolean {
  if (faults[name] <= 0) return false
  faults[name] -= 1
  return true
}
