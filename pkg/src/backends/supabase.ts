import type { RealtimeChannel, SupabaseClient } from '@supabase/supabase-js'
import { BackendError, type Answer, type Backend, type Failure, type LinkListener, type Operation, type PullRequest, type PullResponse } from '../backend.js'
import { Frames } from './frames.js'
import { PresenceChannel } from './supabase-presence.js'
import { Sessions, type Claims } from './supabase-session.js'

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
  /**
   * Whose a token is, in the words of the store's `user`, by the token's claims; its `sub` by default. For applications that know people by other ids than
   * those they sign in with. With the token of anybody else no call is made.
   */
  readonly userOf?: (claims: Claims) => unknown
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
  const sessions = new Sessions(client, options.userOf)
  const call = async (name: string, args: Arguments, user: string, signal: AbortSignal): Promise<Reply> => {
    const token = await sessions.tokenFor(user)
    const made = client.rpc(name, args)
    return (token === undefined ? made : made.setHeader('Authorization', `Bearer ${token}`)).abortSignal(signal)
  }
  return {
    ...(room ? { presence: (peers) => room.say(peers) } : {}),
    pull: async (request, signal, user) => dataOf(await call('rota_pull', { request }, user, signal)) as PullResponse,
    push: async (operation, signal, user) => dataOf(await call('apply_operation', { op: operation }, user, signal)) as Answer,
    pushAll: async (operations, signal, user) => answersOf(await call('apply_operations', { ops: operations }, user, signal)),
    active: async (table, key, signal, user) => {
      if (table !== 'chats') throw new BackendError('invalid', `the server kit has its chats in "chats", not in "${table}"`)
      return dataOf(await call('record_operator_activity', { p_chat_id: key }, user, signal)) === true
    },
    connect: (tables, listener, user) => connect(client, sessions, { schema, tables, user }, listener, room),
    refreshToken: (user) => sessions.refresh(user),
    onToken: (listener) => sessions.watch(listener),
  }
}

type Arguments = { request: PullRequest } | { op: Operation } | { ops: readonly Operation[] } | { p_chat_id: string }

/** A database whose server kit is of an earlier release has no such function. */
function answersOf(reply: Reply): readonly Answer[] | undefined {
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

/** Topics must differ: the client hands out the same channel for the same topic, and leaving one takes a round trip. */
let topics = 0

/** What a link is for. */
interface Wanted {
  readonly schema: string
  readonly tables: readonly string[]
  readonly user: string
}

function connect(client: SupabaseClient, sessions: Sessions, { schema, tables, user }: Wanted, listener: LinkListener, room: PresenceChannel | undefined): () => void {
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
  /** The socket is the client's, and gets the token of whoever signs in next: from then on it brings what they may see. */
  const isOurs = () => {
    if (isOpen && sessions.isOthers(client.realtime.accessTokenValue, user)) close('auth', 'the connection is of somebody else by now')
    return isOpen
  }
  for (const table of tables) {
    channel.on('postgres_changes', { event: '*', schema, table }, (payload) => {
      if (!isOurs()) return
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
    if (payload.extension !== 'postgres_changes' || !isOurs()) return
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
  void subscribe(client, channel, () => sessions.tokenFor(user), isOurs, joined, close)
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
  look: () => Promise<unknown>,
  isWanted: () => boolean,
  joined: () => void,
  close: (failure: Failure, message: string) => void,
): Promise<void> {
  try {
    await look()
    // A fresh token first: a socket that joins with an expired one is shut out.
    await client.realtime.setAuth()
  } catch (error) {
    return close(error instanceof BackendError ? error.failure : 'auth', error instanceof Error ? error.message : String(error))
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
