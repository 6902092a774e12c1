import type { WebPush } from 'web-push'
import { RotaError } from './errors.js'

/** The keys by which push services know the application (RFC 8292): `npx web-push generate-vapid-keys` makes a pair. */
export interface VapidKeys {
  /** Whom a push service may turn to: `mailto:…` or `https://…`. */
  readonly subject: string
  readonly publicKey: string
  /** Whoever has it can push to everybody who subscribed. */
  readonly privateKey: string
}

/** How soon a push is worth waking a device for (RFC 8030). */
export type PushUrgency = 'very-low' | 'low' | 'normal' | 'high'

/** A push as it goes to one browser. */
export interface PushRequest {
  readonly endpoint: string
  readonly p256dh: string
  readonly auth: string
  readonly payload: string
  readonly ttlSeconds: number
  readonly urgency: PushUrgency
  /** What a push service may keep one of: a later one takes the place of one that it could not deliver yet. */
  readonly topic: string
}

/** What became of a push. */
export type Pushed =
  | { readonly outcome: 'sent' }
  /** Nobody is there any more. */
  | { readonly outcome: 'gone' }
  | { readonly outcome: 'retry'; readonly reason: string; readonly afterMs: number }
  | { readonly outcome: 'refused'; readonly reason: string }

/** What is needed to reach push services. */
export interface PushServiceOptions {
  readonly vapid: VapidKeys
  readonly timeoutMs: number
  readonly isPushService: (endpoint: URL) => boolean
  readonly fetch: typeof fetch
}

const ENCODING = 'aes128gcm'
const PUBLIC_KEY_BYTES = 65
const PRIVATE_KEY_BYTES = 32

/** A token is good for twelve hours, as web-push makes it. */
const TOKEN_MS = 11 * 3_600_000
const ORIGINS_MAX = 100

/** However long a service asks for, it is asked again in a day. */
const RETRY_AFTER_MS_MAX = 86_400_000

const ANSWER_LENGTH_MAX = 200

/** Those of today's browsers, by the ends of their hosts. Any signed-in person can store any address; nothing else is ever called. */
const SERVICES: readonly string[] = ['fcm.googleapis.com', 'jmt17.google.com', 'push.services.mozilla.com', 'push.apple.com', 'notify.windows.com']

/** Tells the push services of the known browsers. */
export function isKnownPushService({ protocol, hostname, port }: URL): boolean {
  return protocol === 'https:' && port === '' && SERVICES.some((service) => hostname === service || hostname.endsWith(`.${service}`))
}

/** The push services that browsers have chosen: encrypts for one browser (RFC 8291), signs, sends, and tells what the answer means. */
export class PushServices {
  readonly #options: PushServiceOptions
  /** By origin, until when a service wants to be left alone. */
  readonly #pausedUntilMs = new Map<string, number>()
  readonly #tokens = new Map<string, { readonly value: string; readonly untilMs: number }>()

  constructor(options: PushServiceOptions) {
    requireKeys(options.vapid)
    this.#options = options
  }

  /** Looks for what it sends with. */
  async ready(): Promise<void> {
    await webPush()
  }

  async push(push: PushRequest): Promise<Pushed> {
    const library = await webPush()
    const url = URL.canParse(push.endpoint) ? new URL(push.endpoint) : undefined
    if (!url || !this.#options.isPushService(url)) return { outcome: 'refused', reason: `${url?.host ?? 'the endpoint'} is no push service that is known` }
    const { origin, host } = url
    const afterMs = (this.#pausedUntilMs.get(origin) ?? 0) - Date.now()
    if (afterMs > 0) return { outcome: 'retry', reason: `${host} has asked to wait`, afterMs }
    let request: RequestInit
    try {
      const { cipherText } = library.encrypt(push.p256dh, push.auth, push.payload, ENCODING)
      const headers = {
        authorization: this.#token(library, origin),
        'content-encoding': ENCODING,
        'content-type': 'application/octet-stream',
        ttl: String(push.ttlSeconds),
        urgency: push.urgency,
        topic: push.topic,
      }
      request = { method: 'POST', headers, body: cipherText }
    } catch (error) {
      return { outcome: 'refused', reason: `the subscription can't be used: ${String(error)}` }
    }
    return this.#send(url, request)
  }

  /** Follows no redirection: a service that is known must not lead to an address that is not. */
  async #send(url: URL, request: RequestInit): Promise<Pushed> {
    const { timeoutMs, fetch } = this.#options
    try {
      const response = await fetch(url.href, { ...request, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
      const { status } = response
      const said = status >= 200 && status < 300 ? '' : await startOf(response)
      await response.body?.cancel().catch(() => undefined)
      return this.#judge(url, status, said, response.headers.get('retry-after'))
    } catch (error) {
      return { outcome: 'retry', reason: `${url.host} could not be reached: ${reasonOf(error)}`, afterMs: 0 }
    }
  }

  #judge({ origin, host }: URL, status: number, said: string, retryAfter: string | null): Pushed {
    if (status >= 200 && status < 300) return { outcome: 'sent' }
    if (status === 404 || status === 410) return { outcome: 'gone' }
    const reason = `${host} answered ${status}${said && `: ${said}`}`
    if (status !== 408 && status !== 429 && status < 500) return { outcome: 'refused', reason }
    const afterMs = retryAfterMs(retryAfter)
    if (afterMs > 0) this.#pause(origin, afterMs)
    return { outcome: 'retry', reason, afterMs }
  }

  #pause(origin: string, forMs: number): void {
    const nowMs = Date.now()
    for (const [other, untilMs] of this.#pausedUntilMs) if (untilMs <= nowMs) this.#pausedUntilMs.delete(other)
    this.#pausedUntilMs.set(origin, Math.max(this.#pausedUntilMs.get(origin) ?? 0, nowMs + forMs))
  }

  #token(library: WebPush, origin: string): string {
    const known = this.#tokens.get(origin)
    if (known && known.untilMs > Date.now()) return known.value
    const { subject, publicKey, privateKey } = this.#options.vapid
    const { Authorization: value } = library.getVapidHeaders(origin, subject, publicKey, privateKey, ENCODING)
    if (this.#tokens.size >= ORIGINS_MAX) this.#tokens.clear()
    this.#tokens.set(origin, { value, untilMs: Date.now() + TOKEN_MS })
    return value
  }
}

/** Only who sends needs it. */
async function webPush(): Promise<WebPush> {
  try {
    return (await import('web-push')).default
  } catch (cause) {
    throw new RotaError('push-no-library', 'pushes are encrypted by the package "web-push", which is not installed', { cause })
  }
}

function requireKeys({ subject, publicKey, privateKey }: VapidKeys): void {
  if (!/^(?:mailto:.|https:\/\/.)/.test(subject)) throw new RotaError('invalid-configuration', '"vapid.subject" must be "mailto:…" or "https://…"')
  const isPair = bytesOf(publicKey) === PUBLIC_KEY_BYTES && bytesOf(privateKey) === PRIVATE_KEY_BYTES
  if (!isPair) throw new RotaError('invalid-configuration', '"vapid.publicKey" and "vapid.privateKey" must be a pair of keys as `npx web-push generate-vapid-keys` makes them')
}

function bytesOf(base64url: unknown): number {
  if (typeof base64url !== 'string' || !/^[\w-]+$/.test(base64url)) return 0
  return Math.floor((base64url.length * 3) / 4)
}

/** In seconds, or a date. */
function retryAfterMs(value: string | null): number {
  if (value === null || value.trim() === '') return 0
  const afterMs = /^\s*\d+\s*$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isFinite(afterMs) ? Math.min(Math.max(0, afterMs), RETRY_AFTER_MS_MAX) : 0
}

/** What a service says of a refusal, as far as it is worth keeping. */
async function startOf(response: Response): Promise<string> {
  const reader = response.body?.getReader()
  if (!reader) return ''
  const decoder = new TextDecoder()
  let text = ''
  try {
    while (text.length < ANSWER_LENGTH_MAX) {
      const { done, value } = await reader.read()
      if (done) break
      text += decoder.decode(value, { stream: true })
    }
    await reader.cancel()
  } catch {
    // The status says enough.
  } finally {
    reader.releaseLock()
  }
  // PostgreSQL stores no U+0000.
  return text.replace(/[\s\0]+/g, ' ').trim().slice(0, ANSWER_LENGTH_MAX)
}

/** `fetch` says why in the cause. */
function reasonOf(error: unknown): string {
  const { message = String(error), cause } = (error ?? {}) as { message?: string; cause?: { message?: string; code?: string } }
  const why = cause?.message || cause?.code
  return why ? `${message} (${why})` : message
}
