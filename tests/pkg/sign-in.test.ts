import { init, type TokenNews } from 'rota-engine'
import { beforeAll, expect, it } from 'vitest'
import type { FakeBackend } from './backend.js'
import { openTab, person, storage, stored } from './browser.js'
import { isLive, openLive, pause, seeded, until } from './world.js'

beforeAll(init)

const patch = (city: string) => ({ name: 'patch', table: 'companies', key: 'c1', set: { city } }) as const

function tell(backend: FakeBackend, news: TokenNews): void {
  for (const listener of backend.onTokenListeners) listener(news)
}

const ended: TokenNews = { user: null, hasExpired: false }

it('while somebody else is signed in nothing is sent, fetched or subscribed to, and it is said; all waits for the person', async () => {
  const { store, backend, problems } = await openLive(seeded(), { user: 'maya' })
  const { length: pulls } = backend.pulls
  const { connects, tokens } = backend
  tell(backend, { user: 'lena' })
  expect(store.status().link).toMatchObject({ state: 'paused', why: expect.stringContaining('somebody else') })
  expect(problems.map(({ code }) => code)).toEqual(['other-user'])
  expect([backend.disconnects, backend.listener]).toEqual([1, undefined])
  const { settled } = store.mutate(patch('Kiel'))
  store.reconnect()
  await pause(30)
  expect([backend.pushes.length, backend.pulls.length - pulls, backend.connects - connects, backend.tokens - tokens]).toEqual([0, 0, 0, 0])
  expect([store.get('companies', 'c1')?.city, store.status().unsent, store.isClosed]).toEqual(['Kiel', 1, false])
  tell(backend, { user: 'maya' })
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  await until(() => expect(store.status().link.state).toBe('live'))
})

it('what a pull brings after somebody else has signed in does not come in', async () => {
  const { store, backend } = await openLive(seeded(), { user: 'maya' })
  backend.delayMs = 10
  backend.put('companies', { id: 'secret', name: 'For Lena', city: null, owner_id: null }, { silently: true })
  store.rightsChanged()
  tell(backend, { user: 'lena' })
  await pause(40)
  expect(store.get('companies', 'secret')).toBeUndefined()
  tell(backend, { user: 'maya' })
  await until(() => expect(store.get('companies', 'secret')).toBeDefined())
})

it('adapters that say nothing of a person, or something else, tell of a fresh token', async () => {
  const { store, backend, problems } = await openLive(seeded(), { user: 'maya' })
  for (const listener of backend.onTokenListeners) for (const news of [undefined, 'token', 7, { user: { id: 'lena' } }, {}]) listener(news as TokenNews)
  expect([store.status().link.state, problems.filter(({ code }) => code === 'other-user')]).toEqual(['live', []])
})

it('a person who signs out at the backend is logged out, of every tab and of the disk', async () => {
  const backend = seeded()
  const { store } = openTab(backend)
  const other = openTab(seeded())
  await Promise.all([isLive(store), isLive(other.store)])
  await until(async () => expect((await stored('records')).length).toBeGreaterThan(4))
  const told: string[] = []
  store.onSignedOut(() => told.push('here'))
  other.store.onSignedOut(() => told.push('there'))
  tell(backend, ended)
  await until(() => expect([store.isClosed, other.store.isClosed, [...told].sort()]).toEqual([true, true, ['here', 'there']]))
  // An application that logs out itself afterwards has nothing left to do.
  await store.logout()
  expect([(await stored('records')).length, store.all('companies')]).toEqual([0, []])
  expect(storage.keys.filter((name) => !name.includes(':out:'))).toEqual([])
})

it('with something unsent it pauses instead, says so, and keeps it for the person', async () => {
  const backend = seeded()
  const { store, problems } = openTab(backend)
  await isLive(store)
  backend.online = false
  const { settled } = store.mutate(patch('Kiel'))
  await until(() => expect(store.operations().pending).toMatchObject([{ state: 'queued' }]))
  tell(backend, ended)
  await pause(20)
  expect([store.isClosed, store.get('companies', 'c1')?.city, store.status().link.state]).toEqual([false, 'Kiel', 'paused'])
  expect(problems.map(({ code }) => code)).toContain('unsent-operations')
  backend.online = true
  const { length } = backend.pushes
  await pause(20)
  expect(backend.pushes.length).toBe(length)
  tell(backend, { user: person() })
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  expect(store.isClosed).toBe(false)
})

it('what was on its way when they signed out is waited for, and then they are logged out', async () => {
  const backend = seeded()
  const { store } = openTab(backend)
  await isLive(store)
  backend.hold()
  const { settled } = store.mutate(patch('Kiel'))
  await until(() => expect(backend.pushes.length).toBe(1))
  tell(backend, ended)
  expect(store.isClosed).toBe(false)
  backend.release()
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  await until(() => expect(store.isClosed).toBe(true))
})

it('a session that ended by itself only pauses, and takes what is done meanwhile', async () => {
  const backend = seeded()
  const { store } = openTab(backend)
  await isLive(store)
  tell(backend, { user: null, hasExpired: true })
  const { settled } = store.mutate(patch('Kiel'))
  await pause(20)
  expect([store.isClosed, store.status().link.state, backend.pushes.length]).toEqual([false, 'paused', 0])
  tell(backend, { user: person() })
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
})

