// What supabase-js says went wrong, as it is thrown in applications, on the real backend.
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { openBackend, type Backend, type Session } from './backend.js'

let backend: Backend
let session: Session

beforeAll(async () => {
  backend = await openBackend(inject('serverUrl'))
  await backend.sql(`insert into companies values ('c-1', 'One')`)
  await backend.sql(`create function public.insert_again() returns void language sql security definer as $$ insert into public.companies values ('c-1', 'Again') $$`)
  await backend.sql('grant execute on function public.insert_again to authenticated')
  session = await backend.session(await backend.person('Maya'))
})
afterAll(() => backend.close())

const calls: [what: string, call: (of: Session['client']) => PromiseLike<{ error: unknown }>, failure: string][] = [
  ['a table that is not there', (client) => client.from('no_such_table').select(), 'invalid'],
  ['a function that is not there', (client) => client.rpc('no_such_function'), 'invalid'],
  ['a key that is there already', (client) => client.rpc('insert_again'), 'conflict'],
  ['a function that only the owner may call', (client) => client.rpc('assign_chat_to_operator', { p_operator_id: 'x' }), 'forbidden'],
]

test.each(calls)('%s is tried once, and said in words', async (_, call, failure) => {
  let tries = 0
  const run = async () => {
    tries++
    const { error } = await call(session.client)
    if (error) throw error
  }
  const error = await session.store.recovery.executeWithRetry(run, { retryDelay: 5 }).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ name: 'RetryError', failure })
  expect([tries, (error as Error).message.includes('[object')]).toEqual([1, false])
})
