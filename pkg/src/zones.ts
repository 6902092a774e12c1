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

/** How far apart offsets are looked at: no zone has left one and come back to it within this time, which is less than a week of summer time. */
const STEP_MS = 6 * DAY_MS

/** Rules that are known for later years are the same each year, with half a year between their changes; but see {@link wanders}. */
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
  const early = changesBetween(offsetAt, FROM_MS, LATE_MS, STEP_MS)
  const late = changesBetween(offsetAt, LATE_MS, UNTIL_MS, LATE_STEP_MS)
  const changes = wanders(late) ? changesBetween(offsetAt, LATE_MS, UNTIL_MS, STEP_MS) : late
  return { until: UNTIL_MS, transitions: [[FROM_MS, offsetAt(FROM_MS)], ...early, ...changes] }
}

type Change = readonly [atMs: number, offsetSeconds: number]

function changesBetween(offsetAt: (ms: number) => number, fromMs: number, untilMs: number, stepMs: number): readonly Change[] {
  const changes: Change[] = []
  let offset = offsetAt(fromMs)
  for (let from = fromMs, to = fromMs; from < untilMs; from = to) {
    to = Math.min(from + stepMs, untilMs)
    const next = offsetAt(to)
    if (next === offset) continue
    changes.push([changeBetween(offsetAt, from, to, offset), next])
    offset = next
  }
  return changes
}

/** True where the clocks do not change in the same weeks of each year: they follow another calendar then, by which a change may be undone within a week. */
function wanders(changes: readonly Change[]): boolean {
  const first = new Map<number, number>()
  return changes.some(([atMs, offset]) => {
    const day = (atMs - Date.UTC(new Date(atMs).getUTCFullYear(), 0, 1)) / DAY_MS
    const earlier = first.get(offset) ?? day
    first.set(offset, earlier)
    return Math.abs(day - earlier) > 14
  })
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

/** The areas of the IANA database's names of zones, and the other names that it has: a browser knows more, in any case of letters, that servers do not. */
const AREAS = /^(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Canada|Chile|Etc|Europe|Indian|Mexico|Pacific|US)\//
const OTHERS = new Set(
  (
    'CET CST6CDT Cuba EET EST EST5EDT Egypt Eire GB GB-Eire GMT GMT+0 GMT-0 GMT0 Greenwich HST Hongkong Iceland Iran Israel Jamaica Japan Kwajalein Libya MET MST MST7MDT ' +
    'NZ NZ-CHAT Navajo PRC PST8PDT Poland Portugal ROC ROK Singapore Turkey UCT UTC Universal W-SU WET Zulu'
  ).split(' '),
)

/** Names that only browsers have. */
const FOREIGN = new Set(['Canada/East-Saskatchewan', 'Etc/Unknown', 'US/Pacific-New'])

/** True for a name in the spelling that a server's table of zones has, as far as can be told from here. */
function isSpelt(name: string, resolved: string): boolean {
  if (!AREAS.test(name)) return OTHERS.has(name)
  if (FOREIGN.has(name)) return false
  // Of a link, the browser says only where it leads.
  if (name.toLowerCase() === resolved.toLowerCase()) return name === resolved
  return name.split('/').every((part) => /^([A-Z]{3}|[A-Z][A-Za-z0-9]*([_+-][A-Za-z0-9]+)*)$/.test(part) && !/[A-Z]{4}/.test(part))
}

/** Returns what says a zone's offset at a whole second, in seconds. */
function offsets(name: string): ((ms: number) => number) | undefined {
  try {
    const parts = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' } as const
    const format = new Intl.DateTimeFormat('en-US', { ...parts, timeZone: name, hourCycle: 'h23', calendar: 'gregory', numberingSystem: 'latn' })
    if (!isSpelt(name, format.resolvedOptions().timeZone)) return undefined
    return (ms) => {
      const [month = 1, day = 1, year = 1970, hour = 0, minute = 0, second = 0] = (format.format(ms).match(/\d+/g) ?? []).map(Number)
      return (Date.UTC(year, month - 1, day, hour, minute, second) - ms) / 1_000
    }
  } catch {
    return undefined
  }
}
