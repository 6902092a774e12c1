import { init } from 'rota-engine'
import { beforeAll, describe, expect, test } from 'vitest'
import { openDomainsLive, slot } from './domains.js'
import { openLive, refusal } from './world.js'

beforeAll(init)

describe('what was read can be written back', () => {
  test('with changes: only those are sent, and not what the server keeps', async () => {
    const { store, backend } = await openLive()
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Bremen', owner_id: null, extra: null, created_at: '2026-11-01' })
    const read = store.get('companies', 'c1')!
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { ...read, extra: null, city: 'Kiel' } })
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    expect(backend.pushes.at(-1)?.set).toEqual({ name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: null })
  })

  test('as another record, without what the server keeps of the first', async () => {
    const { store, backend } = await openLive()
    const read = store.get('companies', 'c1')!
    expect(await store.mutate({ name: 'insert', table: 'companies', record: { ...read, extra: null, id: 'copy' } }).settled).toMatchObject({ outcome: 'confirmed' })
    expect(Object.keys(backend.pushes.at(-1)?.set ?? {}).sort()).toEqual(['city', 'extra', 'id', 'name', 'owner_id'])
  })

  test('of a composite key, and of numbers', async () => {
    const { store, backend } = await openLive()
    await store.mutate({ name: 'patch', table: 'shifts', key: ['north', 42], set: { ...store.get('shifts', ['north', 42])!, who: 'maya' } }).settled
    await store.mutate({ name: 'patch', table: 'counters', key: 7, set: { ...store.get('counters', 7)!, n: 2 } }).settled
    expect(backend.pushes.map(({ set }) => set)).toEqual([{ who: 'maya' }, { n: 2 }])
  })

  test('in a transaction, and where it is only asked whether it would be taken', async () => {
    const { store, backend } = await openLive()
    const [one, two] = [store.get('companies', 'c1')!, store.get('companies', 'c2')!]
    expect(store.can({ name: 'patch', table: 'companies', key: 'c1', set: { ...one, extra: null } })).toBeUndefined()
    const { settled } = store.transact([
      { name: 'patch', table: 'companies', key: 'c1', set: { ...one, extra: null, city: 'Kiel' } },
      { name: 'insert', table: 'companies', record: { ...two, extra: null, id: 'c3' } },
    ])
    await settled
    expect(JSON.stringify(backend.pushes.at(-1))).not.toMatch(/"rota_(op|version)"/)
  })

  test('slots too', async () => {
    const { store, backend } = await openDomainsLive()
    backend.put('slots', slot('s1'))
    const read = store.get('slots', 's1')! as ReturnType<typeof slot>
    store.availability.create({ ...read, id: 's2', starts_at: '2026-11-03T09:00', ends_at: '2026-11-03T10:00' })
    expect(await store.availability.update('s1', { ...read, notes: 'n' }).settled).toMatchObject({ outcome: 'confirmed' })
    expect(store.get('slots', 's2')).toMatchObject({ starts_at: '2026-11-03T09:00' })
  })
})

test('another key, or a field that is not declared and would change, is refused as ever', async () => {
  const { store, backend } = await openLive()
  backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Bremen', owner_id: null, extra: null, created_at: '2026-11-01' })
  const patch = (set: object) => refusal(() => store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: set as never })).code
  expect([patch({ id: 'c2' }), patch({ created_at: '2026-12-01' }), patch({ nmae: 'typo' })]).toEqual(['invalid-operation', 'unknown-field', 'unknown-field'])
})
