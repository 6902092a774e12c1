/** The rules of time zones, found by asking the browser's own table of them. */

/** What the engine knows a zone by: the offset in force from each moment on, in seconds east of UTC. */
export interface ZoneRules {
  /** In milliseconds since 1970, as all moments here. */
  readonly until: number
  readonly transitions: readonly (readonly [atMs: number, offsetSeconds: number])[]
}

const DAY_MS = 86_400_000

/** The years that slots may be in, and what of the years beside them may have their local times. */
const FROM_MS = Date.UTC(1970, 0, 1) - 7 * DAY_MS
const UNTIL_MS = Date.UTC(2200, 0, 1) + 7 * DAY_MS

/** How far apart offsets are looked at: no zone has left one and come back to it within this time, nor will, by rules that are known. */
const STEP_MS = 7 * DAY_MS
const LATE_STEP_MS = 28 * DAY_MS
const LATE_MS = Date.UTC(2038, 0, 1)

/** Nearly all changes are on one of these, which are fewer to look at. */
const QUARTER_S = 900

const known = new Map<string, ZoneRules | undefined>()

/** Returns the rules of a zone; nothing where there is no such zone. */
export function zoneRules(name: string): ZoneRules | undefined {
  if (!known.has(name)) known.set(name, findRules(name))
  return known.get(name)
}

function findRules(name: string): ZoneRules | undefined {
  const offsetAt = offsets(name)
  if (!offsetAt) return undefined
  let offset = offsetAt(FROM_MS)
  const transitions: [number, number][] = [[FROM_MS, offset]]
  for (let from = FROM_MS, to = FROM_MS; from < UNTIL_MS; from = to) {
    to = Math.min(from + (from < LATE_MS ? STEP_MS : LATE_STEP_MS), UNTIL_MS)
    const next = offsetAt(to)
    if (next === offset) continue
    transitions.push([changeBetween(offsetAt, from, to, offset), next])
    offset = next
  }
  return { until: UNTIL_MS, transitions }
}

/** Returns the first moment, to the second, that no longer has the offset from before it. */
function changeBetween(offsetAt: (ms: number) => number, from: number, to: number, before: number): number {
  const bisect = (still: number, changed: number, step: number): number => {
    const middle = still + Math.floor((changed - still) / step / 2) * step
    if (middle === still) return changed
    return offsetAt(middle * 1_000) === before ? bisect(middle, changed, step) : bisect(still, middle, step)
  }
  const quarter = bisect(from / 1_000, to / 1_000, QUARTER_S)
  const isOnIt = offsetAt((quarter - 1) * 1_000) === before
  return (isOnIt ? quarter : bisect(quarter - QUARTER_S, quarter - 1, 1)) * 1_000
}

/** Returns what says a zone's offset at a whole second, in seconds. */
function offsets(name: string): ((ms: number) => number) | undefined {
  // Browsers take offsets for zones, too; servers' tables of zones don't have them.
  if (!/^[A-Za-z]/.test(name)) return undefined
  try {
    const parts = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' } as const
    const format = new Intl.DateTimeFormat('en-US', { ...parts, timeZone: name, hourCycle: 'h23', calendar: 'gregory', numberingSystem: 'latn' })
    return (ms) => {
      const [month = 1, day = 1, year = 1970, hour = 0, minute = 0, second = 0] = (format.format(ms).match(/\d+/g) ?? []).map(Number)
      return (Date.UTC(year, month - 1, day, hour, minute, second) - ms) / 1_000
    }
  } catch {
    return undefined
  }
}
