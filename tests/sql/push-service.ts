// A push service as browsers have them: takes what is sent to an endpoint, reads it with the browser's keys (RFC 8291), and answers as
// it was told to.
import { createECDH, createPublicKey, randomBytes, verify } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import ece from 'http_ece'

/** A browser that has subscribed. */
export interface Browser {
  readonly endpoint: string
  readonly p256dh: string
  readonly auth: string
}

export interface Arrived {
  readonly endpoint: string
  readonly headers: IncomingMessage['headers']
  readonly notice: Record<string, unknown>
}

export interface Answering {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body?: string
}

export class PushService {
  static readonly origin = 'https://push.test'
  /** What was taken, in the order of its arrival. */
  readonly arrived: Arrived[] = []
  /** Every call, taken or not. */
  readonly calls: string[] = []
  /** How many calls there were at one time. */
  most = 0
  #now = 0
  /** How calls to an endpoint are answered; where nothing is said, with 201. The last answer stays. */
  readonly answers = new Map<string, Answering[]>()
  delayMs = 0
  readonly #keys = new Map<string, { readonly ecdh: ReturnType<typeof createECDH>; readonly auth: string }>()
  readonly #server = createServer((request, response) => void this.#answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error))))

  static async start(): Promise<PushService> {
    const service = new PushService()
    await new Promise<void>((resolve) => service.#server.listen(0, '127.0.0.1', resolve))
    return service
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  subscribe(name: string): Browser {
    const ecdh = createECDH('prime256v1')
    const p256dh = ecdh.generateKeys('base64url')
    const auth = randomBytes(16).toString('base64url')
    const endpoint = `${PushService.origin}/${name}`
    this.#keys.set(endpoint, { ecdh, auth })
    return { endpoint, p256dh, auth }
  }

  /** For senders: the way to this service. */
  readonly fetch: typeof fetch = (input, init) => {
    const { port } = this.#server.address() as AddressInfo
    return fetch(String(input).replace(PushService.origin, `http://127.0.0.1:${port}`), init)
  }

  readonly isPushService = ({ origin }: URL): boolean => origin === PushService.origin

  taken(name: string): Arrived[] {
    return this.arrived.filter(({ endpoint }) => endpoint === `${PushService.origin}/${name}`)
  }

  reset(): void {
    this.arrived.length = 0
    this.calls.length = 0
    this.answers.clear()
    Object.assign(this, { delayMs: 0, most: 0 })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const endpoint = PushService.origin + (request.url ?? '')
    this.calls.push(endpoint)
    this.most = Math.max(this.most, ++this.#now)
    const isOver = new Promise<void>((resolve) => response.once('close', () => resolve()))
    void isOver.then(() => this.#now--)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (this.delayMs > 0) await Promise.race([isOver, new Promise((resolve) => setTimeout(resolve, this.delayMs))])
    if (response.destroyed) return
    const planned = this.answers.get(endpoint) ?? []
    const { status, headers = {}, body = '' } = (planned.length > 1 ? planned.shift() : planned[0]) ?? { status: 201 }
    if (status === 201) {
      const keys = this.#keys.get(endpoint)
      if (!keys) throw new Error(`nobody has subscribed at ${endpoint}`)
      const text = ece.decrypt(Buffer.concat(chunks), { version: 'aes128gcm', privateKey: keys.ecdh, authSecret: keys.auth }).toString()
      this.arrived.push({ endpoint, headers: request.headers, notice: JSON.parse(text) as Record<string, unknown> })
    }
    response.writeHead(status, headers).end(body)
  }
}

/** What a VAPID header says (RFC 8292), once its signature holds. */
export function vouched(authorization: string | undefined): { readonly publicKey: string; readonly claims: { aud: string; sub: string; exp: number } } {
  const [, token = '', publicKey = ''] = /^vapid t=([^,]+), k=(.+)$/.exec(authorization ?? '') ?? []
  const [head = '', body = '', signature = ''] = token.split('.')
  const point = Buffer.from(publicKey, 'base64url')
  const key = createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') } })
  if (!verify('sha256', Buffer.from(`${head}.${body}`), { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'))) throw new Error('nobody vouches for this')
  return { publicKey, claims: JSON.parse(Buffer.from(body, 'base64url').toString()) as { aud: string; sub: string; exp: number } }
}
