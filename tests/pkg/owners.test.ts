import { createStore, init, table, UPDATING, type AssignmentEvent, type Store } from 'rota-engine'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { FakeBackend } from './backend.js'
import { isLive, pause, until } from './world.js'

beforeAll(init)

const stores: Store[] = []
afterEach(() => {
  for (const store of stores.splice(0)) store.close()
})

describe('a column of integers for owners', () => {
  type Task = { id: number; title: string; owner_id: number | null }
  const tables = {
    staff: table<{ id: number; name: string }>({ key: 'id', fields: ['id', 'name'] }),
    tasks: table<Task>({ key: 'id', fields: ['id', 'title', 'owner_id'], owner: 'owner_id', ownerName: { table: 'staff', field: 'name' } }),
  }

  /** As the server kit does: text into a column of integers. */
  class Integers extends FakeBackend {
    override async push(operation: Parameters<FakeBackend['push']>[0]) {
      const { owner_id: owner } = operation.set
      return super.push(typeof owner === 'string' ? { ...operation, set: { ...operation.set, owner_id: Number(owner) } } : operation)
    }
  }

  const opened = async () => {
    const backend = new Integers()
    for (const [id, name] of [[7, 'Seven'], [8, 'Eight']] as const) backend.put('staff', { id, name })
    backend.put('tasks', { id: 1, title: 'a', owner_id: 7 })
    backend.put('tasks', { id: 2, title: 'b', owner_id: null })
    const store = createStore({ app: 'owners', user: '7', tables, backend, storage: 'memory' })
    stores.push(store)
    await isLive(store)
    return { store, backend }
  }

  test('shows them by name, before and after the server has said what it is', async () => {
    const { store, backend } = await opened()
    expect(store.assignments.state('tasks', 1)).toMatchObject({ ownerId: '7', ownerName: 'Seven' })
    backend.hold()
    const { settled } = store.assignments.assign('tasks', 1, '8')
    const seen = [store.assignments.state('tasks', 1)]
    store.assignments.subscribe('tasks', 1, () => seen.push(store.assignments.state('tasks', 1)))
    backend.release()
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    await pause(5)
    expect(store.get('tasks', 1)?.owner_id).toBe(8)
    expect([...new Set(seen.map(({ ownerId, ownerName }) => `${ownerId} ${ownerName}`))]).toEqual(['8 Eight'])
  })

  test('tells who was handed what, once', async () => {
    const { store, backend } = await opened()
    const events: AssignmentEvent[] = []
    store.assignments.watch((event) => events.push(event))
    await store.assignments.assign('tasks', 2, '8').settled
    await pause(5)
    backend.put('tasks', { id: 1, title: 'a', owner_id: 8 })
    backend.put('tasks', { id: 1, title: 'a', owner_id: null })
    expect(events).toEqual([
      { table: 'tasks', key: '2', from: null, to: '8' },
      { table: 'tasks', key: '1', from: '7', to: '8' },
      { table: 'tasks', key: '1', from: '8', to: null },
    ])
  })
})

describe('an owner without a name', () => {
  type Company = { id: string; owner_id: string | null }

  test('is shown by id where no names are declared, once it is settled', async () => {
    const backend = new FakeBackend()
    backend.put('companies', { id: 'c1', owner_id: 'maya' })
    const tables = { companies: table<Company>({ key: 'id', fields: ['id', 'owner_id'], owner: 'owner_id' }) }
    const store = createStore({ app: 'nameless', user: 'maya', tables, backend, storage: 'memory' })
    stores.push(store)
    await isLive(store)
    expect(store.assignments.state('companies', 'c1').ownerName).toBe('maya')
    const { settled } = store.assignments.assign('companies', 'c1', 'jonas')
    expect(store.assignments.state('companies', 'c1')).toMatchObject({ ownerName: UPDATING, isUpdating: true })
    await settled
    expect(store.assignments.state('companies', 'c1')).toMatchObject({ ownerName: 'jonas', isUpdating: false })
  })

  test('is shown by id once all is here, and by name as soon as there is one; whoever watches is told', async () => {
    const backend = new FakeBackend()
    backend.put('companies', { id: 'c1', owner_id: 'lena' })
    backend.delayMs = 5
    const tables = {
      people: table<{ id: string; name: string }>({ key: 'id', fields: ['id', 'name'] }),
      companies: table<Company>({ key: 'id', fields: ['id', 'owner_id'], owner: 'owner_id', ownerName: { table: 'people', field: 'name' } }),
    }
    const store = createStore({ app: 'unnamed', user: 'maya', tables, backend, storage: 'memory' })
    stores.push(store)
    const names: (string | null)[] = []
    store.assignments.subscribe('companies', 'c1', () => names.push(store.assignments.state('companies', 'c1').ownerName))
    await isLive(store)
    await until(() => expect(names.at(-1)).toBe('lena'))
    backend.put('people', { id: 'lena', name: 'Lena' })
    expect(names.at(-1)).toBe('Lena')
  })
})
