// Fields that the database works out by itself: a stream that leaves them out is not believed about them.
import { beforeEach, expect, test } from 'vitest'
import type { PullResponse } from 'rota-engine'
import { chat, DomainBackend, openDomainsLive } from './domains.js'
import { pause, until } from './world.js'

let backend: DomainBackend
beforeEach(() => {
  backend = new DomainBackend()
  backend.put('leads', { id: 'l', name: 'One', owner_id: null, department: 'Sales' })
  backend.put('chats', chat('c', { last_message_at: '2026-11-01T08:00:00Z' }))
  backend.spoilResponse = (response) => ({ ...(response as PullResponse), generated: { leads: ['department', 'of no interest'] } })
})

/** A change as PostgreSQL's stream tells it: without what is generated. */
function changeSilently(table: string, row: Record<string, unknown>, without: string): object {
  const { [without]: _, ...rest } = backend.put(table, row as never, { silently: true }) as Record<string, unknown>
  return { table, kind: 'changed', row: rest }
}
const byKey = () => backend.pulls.flatMap(({ keys }) => (keys ? [keys] : []))

test('a record that comes without them is pulled, and one that comes with them is not', async () => {
  const { store } = await openDomainsLive(backend)
  backend.tell(changeSilently('leads', { id: 'l', name: 'Two', owner_id: null, department: 'Support' }, 'department'))
  await until(() => store.get('leads', 'l')?.department === 'Support')
  expect([store.get('leads', 'l')?.name, byKey()]).toEqual(['Two', [{ leads: ['l'] }]])
  backend.put('leads', { id: 'l', name: 'Three', owner_id: null, department: 'Sales' })
  await until(() => store.get('leads', 'l')?.name === 'Three')
  expect(byKey()).toHaveLength(1)
})

test('what else a stream leaves out, as it has not changed, is filled in as before', async () => {
  const { store } = await openDomainsLive(backend)
  backend.tell(changeSilently('chats', { ...backend.row('chats', 'c'), is_active: false }, 'last_message_at'))
  await until(() => store.get('chats', 'c')?.is_active === false)
  expect([store.get('chats', 'c')?.last_message_at, byKey()]).toEqual(['2026-11-01T08:00:00Z', []])
})

test('one that came before it was known which they are is looked at once more', async () => {
  let [isTold, held] = [false, 0]
  let answer = () => {}
  const answered = new Promise<void>((resolve) => (answer = resolve))
  const pull = backend.pull.bind(backend)
  backend.pull = async (request) => {
    const response = await pull(request)
    if (!isTold) return { ...response, generated: {} }
    held += 1
    await answered
    return response
  }
  const { store } = await openDomainsLive(backend)
  isTold = true
  backend.cut()
  await until(() => held > 0 && backend.connects === 2)
  await pause(5)
  backend.tell(changeSilently('leads', { id: 'l', name: 'Two', owner_id: null, department: 'Support' }, 'department'))
  await until(() => store.get('leads', 'l')?.name === 'Two')
  expect(store.get('leads', 'l')?.department).toBe('Sales')
  answer()
  await until(() => store.get('leads', 'l')?.department === 'Support')
})
