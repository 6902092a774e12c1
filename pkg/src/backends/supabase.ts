import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import { BackendError, type Answer, type Backend, type Failure, type LinkListener, type Operation, type PullRequest, type PullResponse } from '../backend.js'
import { Frames } from './frames.js'
import { PresenceChannel } from './supabase-presence.js'

export { supabaseSubscriptions } from './supabase-subscriptions.js'

/** How to reach the tables. */
export interface SupabaseOptions {
  /** The schema of the synced tables; `public` by default. */
  readonly schema?: string
  /**
   * The name of the room in which people see each other (`store.presence`), the same for all who are to meet; without it nobody is seen. Uses
   * Realtime's presence: whoever may join the room can say anything of themselves.
   */
  readonly presence?: string
}

/** What the client's `rpc` resolves to, as far as it is read here. */
interface Reply {
  readonly data: unknown
  readonly error: { readonly message: string; readonly code?: string } | null
  readonly status: number
}

/**
 * A backend on a Supabase client of yours: its session, its connection. The database needs the server kit of `rota-engine/sql`.
 *
 * Changes come over `postgres_changes`. Supabase reports a subscription before changes flow, so the stream counts as live only at
 * the server's `system` message, and the engine pulls once more after it.
 */
export function supabaseBackend(client: SupabaseClient, options: SupabaseOptions = {}): Backend {
  const schema = options.schema ?? 'public'
  const room = options.presence === undefined ? undefined : new PresenceChannel(client, options.presence)
  return {
    ...(room ? { presence: (peers) => room.say(peers) } : {}),
    pull: (request, signal) => call(client, 'rota_pull', { request }, signal) as Promise<PullResponse>,
    push: (operation, signal) => call(client, 'apply_operation', { op: operation }, signal) as Promise<Answer>,
    pushAll: (operations, signal) => pushAll(client, operations, signal),
    active: (table, key, signal) => active(client, table, key, signal),
    connect: (tables, listener) => connect(client, schema, tables, listener, room),
    refreshToken: () => refreshToken(client),
    onToken: (listener) => {
      const { data } = client.auth.onAuthStateChange((event) => {
        if (event === 'TOKEN_REFRESHED' || event === 'SIGNED_IN') listener()
      })
      return () => data.subscription.unsubscribe()
    },
  }
}

type Arguments = { request: PullRequest } | { op: Operation } | { ops: readonly Operation[] }

async function call(client: SupabaseClient, name: string, args: Arguments, signal: AbortSignal): Promise<unknown> {
  return dataOf(await client.rpc(name, args).abortSignal(signal))
}

/** The kit knows of one table of chats. */
async function active(client: SupabaseClient, table: string, key: string, signal: AbortSignal): Promise<boolean> {
  if (table !== 'chats') throw new BackendError('invalid', `the server kit has its chats in "chats", not in "${table}"`)
  return dataOf(await client.rpc('record_operator_activity', { p_chat_id: key }).abortSignal(signal)) === true
}

/** A database whose server kit is of an earlier release has no such function. */
async function pushAll(client: SupabaseClient, operations: readonly Operation[], signal: AbortSignal): Promise<readonly Answer[] | undefined> {
  const reply: Reply = await client.rpc('apply_operations', { ops: operations }).abortSignal(signal)
  if (reply.status === 404 || reply.error?.code === 'PGRST202') return undefined
  return dataOf(reply) as readonly Answer[]
}

function dataOf(reply: Reply): unknown {
  if (!reply.error) return reply.data
  throw new BackendError(failureOf(reply), reply.error.message || `the server answered ${reply.status}`)
}

/** PostgREST's codes for a database that is away, or for no free connection to it: nothing was done. */
const AWAY = new Set(['PGRST000', 'PGRST001', 'PGRST002', 'PGRST003'])

/**
 * Tells what a failed call means by its status; the client gives 0 where no answer came. A server that is away is no other matter than a
 * line that is down. How long it asks to wait (`Retry-After`) is not among what the client gives, so `afterMs` stays open.
 */
function failureOf({ status, error }: Reply): Failure {
  if (status === 0 || status === 502 || status === 503 || AWAY.has(error?.code ?? '')) return 'network'
  // PostgREST's words for a token that is expired or wrong.
  if (status === 401 || error?.code?.startsWith('PGRST30')) return 'auth'
  if (status === 403) return 'forbidden'
  if (status === 408 || status === 504) return 'timeout'
  if (status === 410) return 'gone'
  if (status === 429) return 'rate-limit'
  if (status >= 400 && status < 500) return 'invalid'
  if (status >= 500) return 'server'
  return 'unknown'
}

async function refreshToken(client: SupabaseClient): Promise<void> {
  const { error } = await client.auth.refreshSession()
  // Nobody was reached: that says nothing about the session.
  if (error) throw new BackendError(error.name === 'AuthRetryableFetchError' ? 'network' : 'auth', error.message)
}

/** Topics must differ: the client hands out the same channel for the same topic, and leaving one takes a round trip. */
let topics = 0

function connect(client: SupabaseClient, schema: string, tables: readonly string[], listener: LinkListener, room: PresenceChannel | undefined): () => void {
  const channel = client.channel(`rota-${Date.now().toString(36)}-${(topics++).toString(36)}`)
  let isOpen = true
  let leaveRoom: (() => void) | undefined
  const frames = new Frames((events) => isOpen && listener.changed(events))
  const close = (failure: Failure, message: string) => {
    if (!isOpen) return
    frames.flush()
    isOpen = false
    leaveRoom?.()
    frames.end()
    listener.closed(new BackendError(failure, message))
  }
  for (const table of tables) {
    channel.on('postgres_changes', { event: '*', schema, table }, (payload) => {
      if (!isOpen) return
      if (payload.errors?.length) {
        // The server could not show the row; a fresh start pulls it.
        close('server', payload.errors.join(', '))
      } else if (payload.eventType === 'DELETE') {
        frames.add({ table, kind: 'deleted', row: payload.old })
      } else {
        // On an update the old key comes with it, so that a row that changed its key leaves nothing behind.
        frames.add({ table, kind: 'changed', row: payload.new, ...(payload.eventType === 'UPDATE' ? { old: payload.old } : {}) })
      }
    })
  }
  channel.on('system', {}, (payload: { extension?: string; status?: string; message?: string }) => {
    if (!isOpen || payload.extension !== 'postgres_changes') return
    if (payload.status === 'ok') {
      frames.flush()
      listener.live()
      leaveRoom ??= room?.open((peers) => {
        frames.flush()
        if (isOpen) listener.present?.(peers)
      })
    } else close(isAboutToken(payload.message) ? 'auth' : 'server', payload.message ?? 'the stream failed')
  })
  const joined = () => {
    frames.flush()
    listener.joined()
  }
  void subscribe(client, channel, () => isOpen, joined, close)
  return () => {
    isOpen = false
    frames.end()
    leaveRoom?.()
    void client.removeChannel(channel)
  }
}

async function subscribe(
  client: SupabaseClient,
  channel: RealtimeChannel,
  isWanted: () => boolean,
  joined: () => void,
  close: (failure: Failure, message: string) => void,
): Promise<void> {
  try {
    // A fresh token first: a socket that joins with an expired one is shut out.
    await client.realtime.setAuth()
  } catch (error) {
    return close('auth', error instanceof Error ? error.message : String(error))
  }
  if (!isWanted()) return
  try {
    // After a lost connection the client waits, up to ten seconds, before it opens the next one, and a new channel waits with
    // it. When to try is the engine's to decide, so the dead socket is laid down first. Channels of others rejoin as ever.
    if (client.realtime.connectionState() === 'closed') await client.realtime.disconnect()
    if (!isWanted()) return
    channel.subscribe((status, error) => {
      if (status === 'SUBSCRIBED') {
        if (isWanted()) joined()
      } else if (isAboutToken(error?.message)) {
        close('auth', error?.message ?? '')
      } else {
        close(status === 'TIMED_OUT' ? 'timeout' : 'network', error?.message ?? `the channel reported ${status}`)
      }
    })
  } catch (error) {
    close('unknown', error instanceof Error ? error.message : String(error))
  }
}

/** Only what a fresh token may mend: many another message has the word "token" in it. */
function isAboutToken(message: string | undefined): boolean {
  return /jwt (has )?expired|token (has |is )?expired|expired (jwt|token)|(invalid|malformed) ?(jwt|token)|not a valid jwt|unauthorized|signature/i.test(message ?? '')
}
