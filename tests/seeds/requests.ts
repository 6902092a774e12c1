// What a session's client asks of the server, by name.
import type { SupabaseClient } from '@supabase/supabase-js'

/** Notes the names of the functions that a client calls, in order. */
export function calls(client: SupabaseClient): string[] {
  const names: string[] = []
  const call = client.rpc.bind(client)
  client.rpc = ((name: string, ...rest: never[]) => {
    names.push(name)
    return (call as (...given: unknown[]) => unknown)(name, ...rest)
  }) as typeof client.rpc
  return names
}
