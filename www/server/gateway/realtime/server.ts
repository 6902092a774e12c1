/**
 * The door of `/realtime/v1/websocket`: checks path, origin, key and version before a socket exists, refuses with a
 * status and a reason, and keeps the list of the sockets that were let in.
 */

import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { Socket, type SocketParts } from './socket.js'
import type { Vsn } from './frames.js'

export interface RealtimeParts extends SocketParts {
  isAllowedOrigin: (origin: string) => boolean
}

const PATH = '/realtime/v1/websocket'
const BASE = 'http://127.0.0.1'
const SWEEP_MS = 1_000
const GOODBYE_MS = 1_000
const REASONS: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  429: 'Too Many Requests',
}

export class RealtimeServer {
  readonly #sockets = new Set<Socket>()
  readonly #server: WebSocketServer
  readonly #sweep: NodeJS.Timeout

  constructor(readonly parts: RealtimeParts) {
    this.#server = new WebSocketServer({ noServer: true, maxPayload: parts.limits.frameBytes, perMessageDeflate: false })
    this.#sweep = setInterval(() => {
      for (const socket of this.#sockets) socket.closeIfSilent()
    }, SWEEP_MS)
    this.#sweep.unref()
  }

  get sockets(): number {
    return this.#sockets.size
  }

  get channels(): number {
    return [...this.#sockets].reduce((sum, socket) => sum + socket.channels, 0)
  }

  upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    // Until the handshake is over nobody else listens, and an unheard error would end the process.
    stream.on('error', () => stream.destroy())
    const admitted = this.#admit(request)
    if ('status' in admitted) return refuse(stream, admitted.status, admitted.error)
    this.#server.handleUpgrade(request, stream, head, (ws) => {
      const socket = new Socket(ws, admitted.vsn, this.parts)
      this.#sockets.add(socket)
      ws.on('close', () => this.#sockets.delete(socket))
    })
  }

  #admit(request: IncomingMessage): { vsn: Vsn } | { status: number; error: string } {
    const target = request.url ?? ''
    const url = URL.canParse(target, BASE) ? new URL(target, BASE) : undefined
    if (url?.pathname !== PATH) return { status: 404, error: `no WebSocket here: only ${PATH}` }
    const { origin } = request.headers
    if (origin !== undefined && !this.parts.isAllowedOrigin(origin)) return { status: 403, error: 'only pages of this machine may connect' }
    const key = url.searchParams.get('apikey') ?? request.headers['apikey']
    if (key !== this.parts.tokens.anonKey) return { status: 401, error: 'missing or invalid API key' }
    const vsn = url.searchParams.get('vsn') ?? '1.0.0'
    if (vsn !== '1.0.0' && vsn !== '2.0.0') return { status: 400, error: 'unsupported vsn: 1.0.0 and 2.0.0 are served' }
    if (this.#sockets.size >= this.parts.limits.sockets) return { status: 429, error: 'too many sockets' }
    return { vsn }
  }

  /** Says goodbye, and cuts off whoever does not answer. */
  async close(): Promise<void> {
    clearInterval(this.#sweep)
    const closing = [...this.#sockets].map(
      ({ ws }) =>
        new Promise<void>((resolve) => {
          ws.once('close', () => resolve())
          ws.close(1001, 'the gateway is going away')
          setTimeout(() => ws.terminate(), GOODBYE_MS).unref()
        }),
    )
    await Promise.all(closing)
  }

  kill(): void {
    clearInterval(this.#sweep)
    for (const { ws } of this.#sockets) ws.terminate()
  }
}

function refuse(stream: Duplex, status: number, error: string): void {
  const body = JSON.stringify({ error })
  stream.end(
    `HTTP/1.1 ${status} ${REASONS[status] ?? ''}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}
