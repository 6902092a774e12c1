import { RotaError } from './errors.js'
import type { NotificationKind } from './notifications.js'
import { PUSH_FORM, type PushNotice } from './push-notice.js'
import { isKnownPushService, PushServices, type Pushed, type PushUrgency, type VapidKeys } from './push-service.js'

export { isKnownPushService, type PushUrgency, type VapidKeys } from './push-service.js'

/** What a person is to be told, as the kit's outbox has it. */
export interface OutboxEntry {
  readonly id: string
  /** `assigned` and `unassigned`, from the kit. */
  readonly kind: string
  /** The person's id. */
  readonly recipient: string
  readonly payload: unknown
  /** In milliseconds since 1970. */
  readonly createdAtMs: number
  /** How often it was taken, this time included. */
  readonly attempts: number
}

/** What goes out, encrypted for one browser; of the entry nothing else does. What is shown may be seen on a locked screen. */
export interface PushMessage {
  /** The same as that of the notification in the application, so that it is shown once; the entry's own where nothing is said. */
  readonly id?: string
  readonly title: string
  readonly body?: string
  /** Where a click leads, on the application's own origin. */
  readonly url?: string
  readonly kind?: NotificationKind
  readonly silent?: boolean
  /** For how long it is worth anything, from when the entry was written; a day by default. */
  readonly ttlSeconds?: number
  readonly urgency?: PushUrgency
  /** Of what a push service keeps only the latest while a browser is away; at most 32 characters of `A–Z a–z 0–9 - _`. The id's own by default. */
  readonly topic?: string
}

/** Runs SQL, as the database's owner or whoever may call `rota.claim_outbox`. All parameters are text. */
export type Query = (sql: string, params: string[]) => PromiseLike<{ readonly rows: readonly unknown[] } | readonly unknown[]>

/** What a sender is made of. */
export interface PushSenderOptions {
  /** `(sql, params) => pool.query(sql, params)` with `pg`, `(sql, params) => client.unsafe(sql, params)` with `postgres`. */
  readonly query: Query
  readonly vapid: VapidKeys
  /** What to tell of an entry; null for nothing. What it throws is tried again. */
  readonly message: (entry: OutboxEntry) => PushMessage | null | PromiseLike<PushMessage | null>
  /** How many pushes may be on their way at once; 8 by default. */
  readonly concurrency?: number
  /** How many entries are taken at once; 100 by default, 1,000 at most. */
  readonly batch?: number
  /** For how long they are this sender's: if it dies, they are due again after that. Five minutes by default. */
  readonly leaseMs?: number
  /** How long a push may take; 10 s by default. */
  readonly timeoutMs?: number
  /** The first wait before another attempt, which doubles each time up to an hour; 30 s by default. A longer one that a service asks for counts. */
  readonly retryDelayMs?: number
  /** After how many attempts an entry is given up; 10 by default, 20 at most. */
  readonly attemptsMax?: number
  /** Which endpoints may be called at all; by default those of known browsers. */
  readonly isPushService?: (endpoint: URL) => boolean
  /** Sends; the platform's own by default. */
  readonly fetch?: typeof fetch
}

/** What a sender did. */
export interface PushFigures {
  /** Pushes that were taken by a push service. */
  readonly sent: number
  /** Entries that are done: everybody was reached, or there was nobody to reach. */
  readonly done: number
  /** Entries that are tried again. */
  readonly retried: number
  /** Entries that never will be, with the reason in `last_error`. */
  readonly givenUp: number
  /** Subscriptions that were deleted, as nobody is there any more. */
  readonly removed: number
}

interface Subscription {
  readonly endpoint: string
  readonly p256dh: string
  readonly auth: string
  readonly mark: string
}

interface Claimed {
  readonly entry: OutboxEntry
  readonly reached: ReadonlySet<string>
}

/** How one entry ends, for now. */
type Settled =
  | { readonly end: 'done' }
  | { readonly end: 'retried'; readonly reason: string; readonly afterMs: number; readonly reached: readonly string[] }
  | { readonly end: 'givenUp'; readonly reason: string }
  /** To whoever takes it when the lease is over. */
  | { readonly end: 'left' }

const RETRY_DELAY_MS_MAX = 3_600_000
const TTL_SECONDS = 86_400
const TTL_SECONDS_MAX = 28 * 86_400
/** What every push service takes (4,096 bytes), less what encryption adds. */
const PAYLOAD_BYTES_MAX = 3_900
/** So that nobody can have one entry sent to any number of addresses. */
const SUBSCRIPTIONS_MAX = 20
const URGENCIES: ReadonlySet<unknown> = new Set<PushUrgency>(['very-low', 'low', 'normal', 'high'])
const KINDS: ReadonlySet<unknown> = new Set<NotificationKind>(['turn', 'action', 'status'])

// Every parameter is text, and so is every column: drivers differ in how they write and read all else.
const CLAIM = `select o.id::text as id, o.kind, o.recipient, o.payload::text as payload, o.attempts::text as attempts,
  (extract(epoch from o.created_at) * 1000)::text as created_at_ms, array_to_json(o.reached)::text as reached
  from rota.claim_outbox($1::text::int, $2::text::interval) o order by o.id`
const SUBSCRIPTIONS = `select s.user_id, s.endpoint, s.p256dh, s.auth, md5(s.endpoint) as mark from (
    select p.*, row_number() over (partition by p.user_id order by p.created_at desc, p.endpoint) as place from public.push_subscriptions p
    where p.user_id in (select jsonb_array_elements_text($1::text::jsonb)) and (p.expires_at is null or p.expires_at > now())
  ) s where s.place <= ${SUBSCRIPTIONS_MAX} order by s.place`
const REMOVE = 'delete from public.push_subscriptions where endpoint = $1::text and p256dh = $2::text returning 1'
const DONE = 'select rota.outbox_done(array[$1::text::bigint])'
const FAILED = 'select rota.outbox_failed($1::text::bigint, $2::text, $3::text::interval, array(select jsonb_array_elements_text($4::text::jsonb)))'
const GAVE_UP = 'select rota.outbox_gave_up($1::text::bigint, $2::text)'

/** Drains the kit's outbox by Web Push. Any number of senders may share one outbox. */
export class PushSender {
  readonly #options: Required<PushSenderOptions>
  readonly #services: PushServices

  /** @internal Use {@link createPushSender}. */
  constructor(options: Required<PushSenderOptions>) {
    this.#options = options
    this.#services = new PushServices(options)
  }

  /** Sends what is due, and resolves when nothing is any more. Rejects where the database can't be asked. */
  async drain(options: { readonly signal?: AbortSignal } = {}): Promise<PushFigures> {
    const figures = { sent: 0, done: 0, retried: 0, givenUp: 0, removed: 0 }
    await this.#services.ready()
    while (!options.signal?.aborted) {
      const lateMs = performance.now() + this.#options.leaseMs - this.#options.timeoutMs
      const claimed = await this.#claim()
      if (claimed.length === 0) break
      await this.#deliverAll(claimed, lateMs, figures, options.signal)
    }
    return figures
  }

  /** Drains again and again, until the signal says stop. What goes wrong, a database that is away say, is told and tried again. */
  async run(options: { readonly signal: AbortSignal; readonly everyMs?: number; readonly onProblem?: (problem: unknown) => void }): Promise<void> {
    const { signal, everyMs = 5_000, onProblem } = options
    while (!signal.aborted) {
      await this.drain({ signal }).catch((problem: unknown) => onProblem?.(problem))
      await pause(everyMs, signal)
    }
  }

  async #claim(): Promise<Claimed[]> {
    const rows = await this.#ask(CLAIM, [String(this.#options.batch), `${this.#options.leaseMs} milliseconds`])
    return rows.map(({ id = '', kind = '', recipient = '', payload = 'null', attempts = '1', created_at_ms: createdAtMs, reached = '[]' }) => ({
      entry: { id, kind, recipient, payload: JSON.parse(payload) as unknown, createdAtMs: Number(createdAtMs), attempts: Number(attempts) },
      reached: new Set(JSON.parse(reached) as string[]),
    }))
  }

  async #deliverAll(claimed: readonly Claimed[], lateMs: number, figures: Mutable<PushFigures>, signal: AbortSignal | undefined): Promise<void> {
    const subscriptions = await this.#subscriptions(claimed.map(({ entry }) => entry.recipient))
    const waiting = [...claimed]
    const work = async (): Promise<void> => {
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        const { id, recipient } = next.entry
        // Told to stop, it gives back what it has not begun, and ends what it has.
        if (signal?.aborted) await this.#ask(FAILED, [id, 'the sender was stopped', '0 seconds', '[]'])
        else await this.#settle(id, await this.#deliver(next, subscriptions.get(recipient) ?? [], lateMs, figures), figures)
      }
    }
    const ends = await Promise.allSettled(Array.from({ length: Math.min(this.#options.concurrency, claimed.length) }, work))
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  async #subscriptions(people: readonly string[]): Promise<Map<string, Subscription[]>> {
    const found = new Map<string, Subscription[]>()
    const rows = await this.#ask(SUBSCRIPTIONS, [JSON.stringify([...new Set(people)])])
    for (const { user_id: user = '', endpoint = '', p256dh = '', auth = '', mark = '' } of rows) {
      const theirs = found.get(user) ?? []
      found.set(user, theirs)
      theirs.push({ endpoint, p256dh, auth, mark })
    }
    return found
  }

  /** After `lateMs` nothing is sent: the lease may be over before the answer is here, and somebody else's begun. */
  async #deliver({ entry, reached }: Claimed, subscriptions: readonly Subscription[], lateMs: number, figures: Mutable<PushFigures>): Promise<Settled> {
    let message: PushMessage | null
    try {
      message = await this.#options.message(entry)
    } catch (error) {
      return this.#retry(entry, `no message was made: ${String(error)}`, 0, [])
    }
    if (!message) return { end: 'done' }
    const wrong = faultOf(message)
    if (wrong) return { end: 'givenUp', reason: `the message can't be sent: ${wrong}` }
    const id = message.id ?? `outbox/${entry.id}`
    const payload = payloadOf(id, message)
    const bytes = new TextEncoder().encode(payload).length
    if (bytes > PAYLOAD_BYTES_MAX) return { end: 'givenUp', reason: `the message has ${bytes} bytes, and ${PAYLOAD_BYTES_MAX} can be sent` }
    const ttlSeconds = Math.floor((message.ttlSeconds ?? TTL_SECONDS) - (Date.now() - entry.createdAtMs) / 1_000)
    if (ttlSeconds < 0) return { end: 'givenUp', reason: 'its time was over before it could be sent' }
    const topic = message.topic ?? (await topicOf(id))
    const { urgency = 'normal' } = message
    const marks: string[] = []
    const failed: Pushed[] = []
    for (const subscription of subscriptions) {
      const { endpoint, p256dh, auth, mark } = subscription
      if (reached.has(mark)) continue
      if (performance.now() > lateMs) return marks.length === 0 ? { end: 'left' } : this.#retry(entry, 'there was no time for all', 0, marks)
      const pushed = await this.#services.push({ endpoint, p256dh, auth, payload, ttlSeconds, urgency, topic })
      if (pushed.outcome === 'sent') {
        marks.push(mark)
        figures.sent++
      } else if (pushed.outcome === 'gone') {
        figures.removed += (await this.#ask(REMOVE, [endpoint, p256dh])).length
      } else failed.push(pushed)
    }
    return this.#judge(entry, failed, marks)
  }

  #judge(entry: OutboxEntry, failed: readonly Pushed[], reached: readonly string[]): Settled {
    const retries = failed.filter((pushed) => pushed.outcome === 'retry')
    const refusals = failed.filter((pushed) => pushed.outcome === 'refused')
    const reason = [...refusals, ...retries].map((pushed) => pushed.reason).join('; ')
    if (retries.length > 0) return this.#retry(entry, reason, Math.min(...retries.map(({ afterMs }) => afterMs)), reached)
    return refusals.length > 0 ? { end: 'givenUp', reason } : { end: 'done' }
  }

  #retry({ attempts }: OutboxEntry, reason: string, atLeastMs: number, reached: readonly string[]): Settled {
    const { attemptsMax, retryDelayMs } = this.#options
    if (attempts >= attemptsMax) return { end: 'givenUp', reason: `after ${attempts} attempts: ${reason}` }
    const delayMs = Math.min(retryDelayMs * 2 ** (attempts - 1), RETRY_DELAY_MS_MAX)
    // Up to half as long again, so that what failed together does not come back together.
    return { end: 'retried', reason, afterMs: Math.max(delayMs, atLeastMs) * (1 + Math.random() / 2), reached }
  }

  async #settle(id: string, settled: Settled, figures: Mutable<PushFigures>): Promise<void> {
    if (settled.end === 'left') return
    if (settled.end === 'done') await this.#ask(DONE, [id])
    else if (settled.end === 'givenUp') await this.#ask(GAVE_UP, [id, storable(settled.reason)])
    else await this.#ask(FAILED, [id, storable(settled.reason), `${Math.ceil(settled.afterMs)} milliseconds`, JSON.stringify(settled.reached)])
    figures[settled.end]++
  }

  async #ask(sql: string, params: string[]): Promise<readonly Partial<Record<string, string>>[]> {
    const answer = await this.#options.query(sql, params)
    return ('rows' in answer ? answer.rows : answer) as Partial<Record<string, string>>[]
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Makes a sender of the kit's outbox. Throws where its options can't be used. */
export function createPushSender(options: PushSenderOptions): PushSender {
  const { query, vapid, message } = options
  if (typeof query !== 'function' || typeof message !== 'function') throw new RotaError('invalid-configuration', '"query" and "message" must be functions')
  const whole = {
    query,
    vapid,
    message,
    concurrency: numberIn('concurrency', options.concurrency ?? 8, 1, 256),
    batch: numberIn('batch', options.batch ?? 100, 1, 1_000),
    leaseMs: numberIn('leaseMs', options.leaseMs ?? 300_000, 1_000, 86_400_000),
    timeoutMs: numberIn('timeoutMs', options.timeoutMs ?? 10_000, 1, 300_000),
    retryDelayMs: numberIn('retryDelayMs', options.retryDelayMs ?? 30_000, 1, RETRY_DELAY_MS_MAX),
    attemptsMax: numberIn('attemptsMax', options.attemptsMax ?? 10, 1, 20),
    isPushService: options.isPushService ?? isKnownPushService,
    fetch: options.fetch ?? ((...given: Parameters<typeof fetch>) => fetch(...given)),
  }
  if (whole.timeoutMs * 2 > whole.leaseMs) throw new RotaError('invalid-configuration', '"leaseMs" must be at least twice "timeoutMs"')
  return new PushSender(whole)
}

function numberIn(name: string, value: unknown, least: number, most: number): number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number
  throw new RotaError('invalid-configuration', `"${name}" must be a whole number from ${least} to ${most}`)
}

function faultOf(message: PushMessage): string | undefined {
  const { id, title, body, url, kind, silent, ttlSeconds = TTL_SECONDS, urgency = 'normal', topic } = message
  if (typeof title !== 'string' || title === '') return 'it has no title'
  for (const [name, text] of Object.entries({ id, body, url, topic })) if (text !== undefined && typeof text !== 'string') return `"${name}" is no text`
  if (id === '') return '"id" is empty'
  if (kind !== undefined && !KINDS.has(kind)) return '"kind" is none of turn, action and status'
  if (silent !== undefined && typeof silent !== 'boolean') return '"silent" is neither true nor false'
  if (!(Number.isInteger(ttlSeconds) && ttlSeconds >= 0 && ttlSeconds <= TTL_SECONDS_MAX)) return `"ttlSeconds" is no whole number up to ${TTL_SECONDS_MAX}`
  if (!URGENCIES.has(urgency)) return '"urgency" is none of very-low, low, normal and high'
  if (topic !== undefined && !/^[\w-]{1,32}$/.test(topic)) return '"topic" is not 1 to 32 characters of A–Z a–z 0–9 - _'
  return undefined
}

function payloadOf(id: string, { title, body, url, kind, silent }: PushMessage): string {
  const notice: PushNotice & { readonly rota: number } = {
    rota: PUSH_FORM,
    id,
    title,
    ...(body === undefined ? {} : { body }),
    ...(url === undefined ? {} : { url }),
    ...(kind === undefined ? {} : { kind }),
    ...(silent === undefined ? {} : { silent }),
  }
  return JSON.stringify(notice)
}

/** Push services see a topic in clear, so it tells nothing of the id. */
async function topicOf(id: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(id)))
  return btoa(String.fromCharCode(...digest.subarray(0, 24))).replace(/\+/g, '-').replace(/\//g, '_')
}

/** PostgreSQL stores no U+0000, and neither half of a pair alone. */
function storable(text: string): string {
  return text.replaceAll('\0', ' ').replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, ' ')
}

function pause(forMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, forMs)
    signal.addEventListener('abort', end)
  })
}
