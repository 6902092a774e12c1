/**
 * One logical replication stream over a temporary slot: it is born with the connection and dies with it, so nothing
 * holds back the server's log after a crash. The price: what is committed while the connection is down is not
 * streamed, and whoever listens must be told. Reconnects for ever, with growing pauses.
 */

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'pg'
import { LogicalReplicationService, PgoutputPlugin, type Pgoutput } from 'pg-logical-replication'
import { destroyStream, SESSION_SETTINGS } from '../database.js'

export interface ReplicationEvents {
  /** Every commit from now on will come. */
  started(): void
  /** Awaited before the next message is read: a slow reader slows the server, and no queue grows. */
  message(message: Pgoutput.Message): Promise<void>
  /** What is committed from now on will not come, until `started`. */
  lost(why: string): void
}

export const PUBLICATION = 'supabase_realtime'
const PAUSES_MS = [100, 250, 500, 1_000, 2_000]
/** PostgreSQL says something every 30 s at the latest; a longer silence is a dead connection that nobody has closed. */
const SILENCE_MS_MAX = 75_000
const CONNECT_MS_MAX = 5_000
const asText = (text: string): string => text

class TextPlugin extends PgoutputPlugin {
  client: Client | undefined
  cancelled = false

  /** The slot must be made on the very connection that streams from it. This grammar knows its words in capitals only. */
  override async start(client: Client, slotName: string, lastLsn: string): Promise<unknown> {
    this.client = client
    if (this.cancelled) throw new Error('stopped while connecting')
    await client.query(`CREATE_REPLICATION_SLOT "${slotName}" TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT`)
    return super.start(client, slotName, lastLsn)
  }

  /** Values stay the text they are in the stream: a parsed timestamp would lose its microseconds. */
  override parse(buffer: Buffer): Pgoutput.Message {
    const message = super.parse(buffer)
    if (message.tag === 'relation') for (const column of message.columns) column.parser = asText
    return message
  }
}

export class Replication {
  #stopped = false
  #live = false
  #current: { plugin: TextPlugin } | undefined
  #lastHeardAt = 0
  readonly #wake = new AbortController()
  readonly #watch: NodeJS.Timeout
  #running: Promise<void> = Promise.resolve()

  constructor(
    readonly databaseUrl: string,
    readonly events: ReplicationEvents,
    readonly log: (line: string) => void,
  ) {
    this.#watch = setInterval(() => {
      if (this.#live && performance.now() - this.#lastHeardAt > SILENCE_MS_MAX) this.cut()
    }, 5_000)
    this.#watch.unref()
  }

  get live(): boolean {
    return this.#live
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Cuts the connection without a goodbye; unless stopped, a new one is made. */
  cut(): void {
    if (this.#current === undefined) return
    const { plugin } = this.#current
    // While it is still connecting there is nothing to cut yet: the flag ends it a moment later.
    plugin.cancelled = true
    if (plugin.client !== undefined) destroyStream(plugin.client)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#watch)
    this.#wake.abort()
    // The library's own goodbye waits for an answer that never comes while reading is paused.
    this.cut()
    await this.#running
  }

  async #run(): Promise<void> {
    for (let failures = 0; !this.#stopped; failures++) {
      const startedBefore = performance.now()
      const why = await this.#connectOnce()
      if (this.#live) {
        this.#live = false
        failures = 0
        this.events.lost(why)
      }
      if (this.#stopped) return
      const pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)] ?? 2_000
      this.log(`replication: ${why}; again in ${pause} ms (after ${Math.round(performance.now() - startedBefore)} ms)`)
      await sleep(pause, undefined, { signal: this.#wake.signal }).catch(() => {})
    }
  }

  /** Lasts as long as the connection; answers why it ended. */
  async #connectOnce(): Promise<string> {
    const plugin = new TextPlugin({ protoVersion: 1, publicationNames: [PUBLICATION], messages: true })
    const service = new LogicalReplicationService(
      { connectionString: this.databaseUrl, options: SESSION_SETTINGS, keepAlive: true, connectionTimeoutMillis: CONNECT_MS_MAX },
      { acknowledge: { auto: true, timeoutSeconds: 10 }, flowControl: { enabled: true } },
    )
    this.#current = { plugin }
    let why = 'the connection ended'
    service.on('start', () => {
      this.#live = true
      this.#lastHeardAt = performance.now()
      this.events.started()
    })
    service.on('heartbeat', (lsn: string, _time: number, shouldRespond: boolean) => {
      this.#lastHeardAt = performance.now()
      if (shouldRespond) service.acknowledge(lsn).catch(() => {})
    })
    service.on('data', async (_lsn: string, message: Pgoutput.Message) => {
      this.#lastHeardAt = performance.now()
      try {
        await this.events.message(message)
      } catch (error) {
        why = `a change could not be handled: ${messageOf(error)}`
        this.cut()
      }
    })
    service.on('error', (error: unknown) => {
      why = messageOf(error)
    })
    try {
      await service.subscribe(plugin, `rota_gateway_${randomBytes(8).toString('hex')}`)
    } catch (error) {
      if (why === 'the connection ended') why = messageOf(error)
    }
    this.cut()
    // Bounded: the library waits for a socket's end, which a connection that never came about may not report.
    await Promise.race([service.destroy().catch(() => {}), sleep(2_000, undefined, { ref: false })])
    this.#current = undefined
    return why
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
