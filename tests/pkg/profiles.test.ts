import { createStore, table, type ProfileEvent } from 'rota-engine'
import { expect, test, vi } from 'vitest'
import { FakeBackend } from './backend.js'
import { openDomainsLive, type Profile } from './domains.js'
import { isLive, pause, refusal, until } from './world.js'

const maya: Profile = { id: 'maya', role: 'agent', department: 'north', name: 'Maya' }
const zoe: Profile = { ...maya, id: 'zoe', name: 'Zoe' }

test('one’s own profile is at hand, and edits of it show at once and are sent', async () => {
  const { store, backend } = await openDomainsLive()
  expect(store.profiles.own()).toMatchObject({ id: 'maya' })
  const heard = vi.fn()
  const stop = store.profiles.subscribe(heard)
  const { settled } = store.profiles.update({ name: 'Maya O.' })
  expect([store.profiles.own()?.name, heard.mock.calls.length]).toEqual(['Maya O.', 1])
  expect(await settled).toMatchObject({ outcome: 'confirmed' })
  expect(backend.row('profiles', 'maya')?.['name']).toBe('Maya O.')
  backend.put('profiles', { ...zoe })
  await until(() => expect(store.get('profiles', 'zoe')).toBeDefined())
  await store.profiles.update({ name: 'Len' }, 'zoe').settled
  expect(backend.row('profiles', 'zoe')?.['name']).toBe('Len')
  stop()
  const calls = heard.mock.calls.length
  backend.put('profiles', { ...maya, name: 'Maya' })
  await until(() => expect(store.profiles.own()?.name).toBe('Maya'))
  expect(heard).toHaveBeenCalledTimes(calls)
})

test('an edit that is refused shows the confirmed profile again', async () => {
  const { store, backend } = await openDomainsLive()
  const before = store.profiles.own()
  backend.judge = ({ table: of }) => (of === 'profiles' ? { outcome: 'refused', code: 'forbidden', message: 'names are given' } : undefined)
  expect(await store.profiles.update({ name: 'Zoe' }).settled).toMatchObject({ outcome: 'refused', code: 'forbidden', message: 'names are given' })
  expect(store.profiles.own()).toEqual(before)
})

test('profiles come, change and go, and a change of rights is told apart from any other', async () => {
  const { store, backend } = await openDomainsLive()
  const heard: string[] = []
  store.profiles.watch(() => {
    throw new Error('a listener that throws harms nobody')
  })
  const silent = vi.spyOn(console, 'error').mockImplementation(() => {})
  const stop = store.profiles.watch(({ type, key, isOwn, profile, before }: ProfileEvent<Profile>) => heard.push([type, key, isOwn, profile.role, before?.role].join(' ')))
  backend.put('profiles', { ...zoe })
  await until(() => expect(heard).toEqual(['created zoe false agent ']))
  backend.put('profiles', { ...zoe, name: 'Len' })
  backend.put('profiles', { ...zoe, role: 'manager' })
  backend.remove('profiles', 'zoe')
  await until(() => expect(heard.slice(1)).toEqual(['updated zoe false agent agent', 'rights zoe false manager agent', 'deleted zoe false manager manager']))
  const own = store.profiles.own() as Profile
  backend.put('profiles', { ...own, role: 'chief' })
  await until(() => expect(heard.at(-1)).toBe(`rights maya true chief ${own.role}`))
  stop()
  backend.put('profiles', { ...zoe })
  await pause(5)
  expect(heard).toHaveLength(5)
  silent.mockRestore()
})

test('an own change is told once, though its row comes back from the server', async () => {
  const { store } = await openDomainsLive()
  const heard: string[] = []
  store.profiles.watch(({ type, profile }) => heard.push(`${type} ${profile.name}`))
  await store.profiles.update({ name: 'Maya O.' }).settled
  await pause(5)
  expect(heard).toEqual(['updated Maya O.'])
})

test('without a table of profiles, after the end, and with what is no function, it says so by name', async () => {
  const backend = new FakeBackend()
  const plain = createStore({ app: 'no-profiles', user: 'maya', tables: { counters: table<{ id: number }>({ key: 'id', fields: ['id'] }) }, backend, storage: 'memory' })
  await isLive(plain)
  for (const call of [() => plain.profiles.own(), () => plain.profiles.update({} as never), () => plain.profiles.watch(() => {}), () => plain.profiles.subscribe(() => {})]) {
    expect(refusal(call)).toMatchObject({ code: 'invalid-operation', message: expect.stringContaining('no table is declared with the domain of profiles') })
  }
  plain.close()
  const { store } = await openDomainsLive()
  expect(refusal(() => store.profiles.watch('x' as never)).code).toBe('invalid-operation')
  expect(refusal(() => store.profiles.subscribe(1 as never)).code).toBe('invalid-operation')
  store.close()
  expect(store.profiles.own()).toBeUndefined()
  expect(refusal(() => store.profiles.watch(() => {})).code).toBe('closed')
})
