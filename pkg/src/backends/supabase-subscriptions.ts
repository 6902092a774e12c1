import type { SupabaseClient } from '@supabase/supabase-js'
import type { PushSubscriptions } from '../push.js'

/** Keeps push subscriptions in the server kit's table, for whoever the client is signed in as. */
export function supabaseSubscriptions(client: SupabaseClient): PushSubscriptions {
  return {
    async save({ endpoint, p256dh, auth, userAgent }) {
      const { error } = await client.rpc('save_push_subscription', { p_endpoint: endpoint, p_p256dh: p256dh, p_auth: auth, p_user_agent: userAgent })
      if (error) throw new Error(error.message, { cause: error })
    },
    async remove(endpoint) {
      const { error } = await client.from('push_subscriptions').delete().eq('endpoint', endpoint)
      if (error) throw new Error(error.message, { cause: error })
    },
  }
}
