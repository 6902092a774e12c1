/**
 * One WebSocket: reads frames in order, keeps its channels, and writes what they say. Whatever comes in is answered or
 * closes the socket with a reason; whatever piles up unread cuts it off.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket, type RawData } from 'ws'
import type { Database } from '../database.js'
import { takeFault, type Faults } from '../faults.js'
import type { Counters, Limits } from '../options.js'
import { TokenError, type Tokens } from '../tokens.js'
import { readBindings, readPresenceKey } from './bindings.js'
import { Channel } from './channel.js'
import type { Feed } from './feed.js'
import { JoinRefused } from './filters.js'
import { decodeBinary, decodeText, encode, encodeWithPayload, isObject, type Frame, type Vsn } from './frames.js'
import type { Rooms } from './rooms.js'

export interface SocketParts {
  db: Database
  tokens: Tokens
  feed: Feed
  rooms: Rooms
  faults: Faults
  limits: Limits
  counters: Counters
  log: (line: string) => void
}

type Envelope = Omit<Frame, 'payload'>

const JOIN_WINDOW_MS = 60_000
const PRESENCE_WINDOW_MS = 30_000
/** A slow reader holds up the others no longer than this, a few times, and is then cut off. */
const RELIEF_MS_MAX = 50
const RELIEF_STEP_MS = 5
const POLICY_VIOLATION = 1008
const UNSUPPORTED_DATA = 1003
const INTERNAL_ERROR = 1011

export class Socket {
  readonly #channels = new Map<string, Channel>()
  #work: Promise<void> = Promise.resolve()
  #pending = 0
  #heardAt = performance.now()
  #joins: number[] = []
  #presenceCalls: number[] = []

  constructor(
    readonly ws: WebSocket,
    readonly vsn: Vsn,
    readonly parts: SocketParts,
  ) {
    ws.on('message', (data, isBinary) => this.#received(data, isBinary))
    ws.on('error', (error) => this.parts.log(`socket: ${error.message}`))
    ws.on('close', () => this.#closeChannels())
  }

  get channels(): number {
    return this.#channels.size
  }

  /** Called every now and then: a client that has gone without a word is not kept. */
  closeIfSilent(): void {
    if (this.parts.faults.halfOpen) return
    if (performance.now() - this.#heardAt > this.parts.limits.socketSilenceMs) this.#close(1000, 'silent for too long')
  }

  #received(data: RawData, isBinary: boolean): void {
    if (this.parts.faults.halfOpen) return
    this.#heardAt = performance.now()
    const bytes = toBuffer(data)
    if (isBinary) return this.#receivedBinary(bytes)
    const frame = decodeText(bytes.toString('utf8'), this.vsn)
    if (frame === undefined) return this.#close(UNSUPPORTED_DATA, 'malformed frame')
    // Answered at once: a heartbeat must not wait for a join that waits for the database.
    if (frame.topic === 'phoenix') return this.#heartbeat(frame)
    this.#pending += 1
    if (this.#pending > this.parts.limits.pendingFrames) return this.#close(POLICY_VIOLATION, 'too many frames at once')
    this.#work = this.#work
      .then(() => this.#handle(frame))
      .catch((error: unknown) => {
        this.parts.log(`socket: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
        this.#close(INTERNAL_ERROR, 'the frame could not be handled')
      })
      .finally(() => {
        this.#pending -= 1
      })
  }

  #receivedBinary(bytes: Buffer): void {
    const push = this.vsn === '2.0.0' ? decodeBinary(bytes) : undefined
    if (push === undefined) return this.#close(UNSUPPORTED_DATA, 'malformed binary frame')
    this.#refuse(push, 'Unsupported: broadcast is not served here')
  }

  #heartbeat(frame: Frame): void {
    if (frame.event === 'heartbeat') this.#reply(frame, 'ok', {})
    else this.#refuse(frame, `unknown event ${frame.event}`)
  }

  async #handle(frame: Frame): Promise<void> {
    if (this.ws.readyState !== WebSocket.OPEN) return
    if (frame.event === 'phx_join') return this.#join(frame)
    const channel = this.#channels.get(frame.topic)
    if (channel === undefined) return this.#refuse(frame, 'unmatched topic')
    switch (frame.event) {
      case 'phx_leave':
        this.#drop(frame.topic)
        this.#reply(frame, 'ok', {})
        return this.#send(encode({ ...frame, ref: frame.joinRef, event: 'phx_close', payload: {} }, this.vsn))
      case 'access_token':
        if (!isObject(frame.payload)) return this.#refuse(frame, 'access_token needs an object')
        return channel.replaceToken(frame.payload['access_token'])
      case 'presence':
        return this.#present(channel, frame)
      case 'broadcast':
        return this.#refuse(frame, 'Unsupported: broadcast is not served here')
      default:
        return this.#refuse(frame, `unknown event ${frame.event.slice(0, 64)}`)
    }
  }

  #present(channel: Channel, frame: Frame): void {
    const { rooms, limits } = this.parts
    const { event, payload } = isObject(frame.payload) ? frame.payload : {}
    if (!rooms.has(channel)) return this.#refuse(frame, 'presence is not enabled for this channel')
    const now = performance.now()
    this.#presenceCalls = this.#presenceCalls.filter((at) => now - at < PRESENCE_WINDOW_MS)
    if (this.#presenceCalls.length >= limits.presenceCalls) return this.#refuse(frame, 'ClientPresenceRateLimitReached: Too many presence messages')
    this.#presenceCalls.push(now)
    if (event === 'track' && isObject(payload)) rooms.track(channel, payload)
    else if (event === 'untrack') rooms.untrack(channel)
    else return this.#refuse(frame, 'presence is track with an object, or untrack')
    this.#reply(frame, 'ok', {})
  }

  async #join(frame: Frame): Promise<void> {
    try {
      this.#checkJoin(frame)
      // Joining a topic again replaces the first join, as in Phoenix.
      this.#replaceJoined(frame.topic)
      const channel = await this.#newChannel(frame)
      if (this.ws.readyState !== WebSocket.OPEN) return channel.close()
      this.#channels.set(frame.topic, channel)
      this.#reply(frame, 'ok', { postgres_changes: channel.bindings.map(({ echo }) => echo) })
      channel.open()
    } catch (error) {
      if (error instanceof JoinRefused) return this.#refuse(frame, error.message)
      if (error instanceof TokenError) return this.#refuse(frame, `InvalidJWTToken: ${error.message}`)
      this.parts.log(`join: ${error instanceof Error ? error.message : String(error)}`)
      this.#refuse(frame, 'InitializingProjectConnection: the database could not be reached')
    }
  }

  #checkJoin({ topic }: Frame): void {
    const { channelsPerSocket, joinsPerMinute } = this.parts.limits
    const now = performance.now()
    this.#joins = this.#joins.filter((at) => now - at < JOIN_WINDOW_MS)
    if (this.#joins.length >= joinsPerMinute) throw new JoinRefused('ClientJoinRateLimitReached: Too many joins per minute')
    this.#joins.push(now)
    if (!/^realtime:./.test(topic)) throw new JoinRefused('TopicNameRequired: a topic is realtime: and a name')
    if (this.#channels.size >= channelsPerSocket && !this.#channels.has(topic)) {
      throw new JoinRefused('ChannelRateLimitReached: Too many channels')
    }
  }

  async #newChannel({ topic, payload, joinRef }: Frame): Promise<Channel> {
    const { tokens, db, limits } = this.parts
    const given = isObject(payload) ? payload['access_token'] : undefined
    const token = typeof given === 'string' ? given : tokens.anonKey
    const caller = await tokens.verify(token)
    const presenceKey = readPresenceKey(payload)
    const bindings = await readBindings(payload, db, limits)
    const { ws } = this
    const congestedBytes = limits.bufferedBytes / 4
    const isCongested = (): boolean => ws.bufferedAmount > congestedBytes
    const channel: Channel = new Channel(
      topic,
      bindings,
      caller,
      token,
      {
        push: (event, body) => this.#push({ joinRef: null, ref: null, topic, event }, body),
        pushToJoin: (event, body) => this.#push({ joinRef, ref: joinRef, topic, event }, body),
        pushChange: (ids, data) => this.#pushChange(topic, ids, data),
        get congested() {
          return isCongested()
        },
        relief: async () => {
          for (let waited = 0; waited < RELIEF_MS_MAX && isCongested(); waited += RELIEF_STEP_MS) await sleep(RELIEF_STEP_MS)
        },
        ended: () => {
          if (this.#channels.get(topic) === channel) this.#channels.delete(topic)
        },
      },
      this.parts,
      presenceKey,
    )
    return channel
  }

  #replaceJoined(topic: string): void {
    const old = this.#channels.get(topic)
    if (old === undefined) return
    this.#drop(topic)
    old.port.pushToJoin('phx_close', {})
  }

  #pushChange(topic: string, ids: readonly number[], data: string): void {
    const { faults, counters } = this.parts
    if (takeFault(faults, 'dropFrames')) {
      counters.framesDropped += 1
      return
    }
    const envelope = { joinRef: null, ref: null, topic, event: 'postgres_changes' }
    const text = encodeWithPayload(envelope, `{"ids":${JSON.stringify(ids)},"data":${data}}`, this.vsn)
    this.#send(text)
    if (takeFault(faults, 'duplicateFrames')) this.#send(text)
  }

  #push(envelope: Envelope, payload: unknown): void {
    this.#send(encode({ ...envelope, payload }, this.vsn))
  }

  #refuse(to: Envelope, reason: string): void {
    this.#reply(to, 'error', { reason })
  }

  #reply({ joinRef, ref, topic }: Envelope, status: 'ok' | 'error', response: unknown): void {
    this.#push({ joinRef, ref, topic, event: 'phx_reply' }, { status, response })
  }

  #send(text: string): void {
    const { faults, limits, counters, log } = this.parts
    if (faults.halfOpen || this.ws.readyState !== WebSocket.OPEN) return
    if (this.ws.bufferedAmount > limits.bufferedBytes) {
      counters.slowConsumersClosed += 1
      log(`socket: closed, ${this.ws.bufferedAmount} bytes unread`)
      // A goodbye would only join the queue that nobody reads.
      this.#closeChannels()
      this.ws.terminate()
      return
    }
    counters.framesSent += 1
    this.ws.send(text)
  }

  #drop(topic: string): void {
    this.#channels.get(topic)?.close()
    this.#channels.delete(topic)
  }

  #closeChannels(): void {
    for (const topic of this.#channels.keys()) this.#drop(topic)
  }

  #close(code: number, reason: string): void {
    this.#closeChannels()
    this.ws.close(code, reason)
  }
}

function toBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
}
