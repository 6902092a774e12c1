import type { Changes, ConflictChoice } from 'rota-engine'
import { describe, expect, test } from 'vitest'
import { ableSeeded, ableTables, lead, openAble, openAbleLive } from './able.js'
import { refusal, until } from './world.js'

/** Changes the same field in two places: here, and on the server, which then says so. */
async function inConflict(set: Record<string, unknown> = { city: 'Ulm' }, theirs: Record<string, unknown> = { city: 'Bonn' }) {
  const world = await openAbleLive()
  const { store, backend } = world
  const judged = new Set<string>()
  backend.judge = ({ id, base, table, key }) => {
    const row = backend.row(table, key)
    const fields = Object.keys(base).filter((field) => JSON.stringify(row?.[field]) !== JSON.stringify(base[field]))
    judged.add(id)
    return fields.length > 0 ? { outcome: 'conflicted', code: 'changed', message: 'somebody was faster', fields } : undefined
  }
  backend.put('leads', { ...lead('a', { city: 'Bremen', value: 10, status: 'open' }), ...theirs }, { silently: true })
  const mutated = store.mutate({ name: 'patch', table: 'leads', key: 'a', set })
  return { ...world, ...mutated }
}

async function waiting(...args: Parameters<typeof inConflict>) {
  const world = await inConflict(...args)
  await until(() => expect(world.store.conflicts()).toHaveLength(1))
  return { ...world, conflict: world.store.conflicts()[0]! }
}

describe('a conflict', () => {
  test('waits for a person with its three sides, and what each decision would come to', async () => {
    const { store, id, conflict } = await waiting()
    expect(conflict).toMatchObject({
      id,
      table: 'leads',
      key: 'a',
      mine: true,
      isGone: false,
      fields: [{ field: 'city', base: 'Bremen', ours: 'Ulm', theirs: 'Bonn', rule: 'person' }],
      previews: { local: { city: 'Ulm' }, server: { city: 'Bonn' } },
    })
    expect(store.get('leads', 'a')?.city).toBe('Bonn')
    expect(store.status().conflicts).toBe(1)
    expect(store.conflicts()).toBe(store.conflicts())
    expect([Object.isFrozen(store.conflicts()), Object.isFrozen(conflict.fields)]).toEqual([true, true])
  })

  test('follows the record while it waits, and the list changes only then', async () => {
    const { store, backend, conflict } = await waiting()
    const before = store.conflicts()
    backend.put('leads', lead('c'))
    expect(store.conflicts()).toBe(before)
    backend.put('leads', lead('a', { city: 'Essen', value: 10, status: 'open' }))
    expect(store.conflicts()).not.toBe(before)
    expect(store.conflicts()[0]).toMatchObject({ id: conflict.id, fields: [{ theirs: 'Essen' }] })
    expect(conflict.fields[0]?.theirs).toBe('Bonn')
  })

  test.each<[ConflictChoice, string, string]>([
    ['local', 'Ulm', 'local'],
    ['merge', 'Ulm', 'merge'],
    [{ city: 'Hamm' }, 'Hamm', 'manual'],
  ])('decided as %o is carried out by an operation like any other, and noted', async (choice, city, decided) => {
    const { store, backend, conflict } = await waiting()
    const preview = choice === 'merge' ? conflict.previews.merge['city'] : city
    const heard: Changes[] = []
    store.subscribe((changes) => heard.push(changes))
    const resolution = store.resolve(conflict.id, choice)
    if (preview === 'Bonn') return expect(resolution).toBeUndefined()
    expect(store.get('leads', 'a')?.city).toBe(preview)
    expect(await resolution!.settled).toEqual({ id: resolution!.id, outcome: 'confirmed' })
    expect(backend.row('leads', 'a')?.['city']).toBe(preview)
    expect([store.conflicts(), store.status().conflicts]).toEqual([[], 0])
    expect(heard.flatMap(({ conflicts = [] }) => conflicts).at(-1)).toEqual({ id: conflict.id, conflict: null })
    expect(heard.flatMap(({ decisions = [] }) => decisions)).toMatchObject([{ operation: conflict.id, resolution: resolution!.id, decided }])
    expect(store.audit()).toMatchObject({ dropped: 0, entries: [{ operation: conflict.id, table: 'leads', key: 'a', decided, fields: [{ field: 'city', base: 'Bremen', ours: 'Ulm', theirs: 'Bonn', merged: preview }] }] })
  })

  test('decided for the server needs no operation, and is noted all the same', async () => {
    const { store, backend, conflict } = await waiting()
    const pushes = backend.pushes.length
    expect(store.resolve(conflict.id, 'server')).toBeUndefined()
    expect([store.get('leads', 'a')?.city, store.conflicts(), backend.pushes.length]).toEqual(['Bonn', [], pushes])
    expect(store.audit().entries).toMatchObject([{ operation: conflict.id, resolution: null, decided: 'server', fields: [{ merged: 'Bonn' }] }])
  })

  test('is decided once', async () => {
    const { store, conflict } = await waiting()
    store.resolve(conflict.id, 'server')
    expect(refusal(() => store.resolve(conflict.id, 'local')).code).toBe('unknown-conflict')
  })

  test.each<[string, unknown, string]>([
    ['a word of no meaning', 'mine', 'invalid-value'],
    ['nothing', undefined, 'invalid-operation'],
    ['null', null, 'invalid-operation'],
    ['a list', [1], 'invalid-operation'],
    ['values that leave a field in conflict out', {}, 'invalid-operation'],
    ['a field that is not declared', { city: 'x', town: 'y' }, 'unknown-field'],
    ['a value that is none', { city: new Date() }, 'invalid-value'],
  ])('decided as %s goes on waiting', async (_, choice, code) => {
    const { store, conflict } = await waiting()
    expect(refusal(() => store.resolve(conflict.id, choice as ConflictChoice)).code).toBe(code)
    expect(store.conflicts()).toEqual([conflict])
  })

  test.each([['no id'], ['019aa5e3-f1c0-7a3b-9c1d-2e4f60718293']])('under "%s" there is none', async (id) => {
    const { store } = await openAbleLive()
    expect(refusal(() => store.resolve(id, 'local')).code).toBe('unknown-conflict')
    expect(refusal(() => store.resolve(5 as never, 'local')).code).toBe('invalid-operation')
  })
})

describe('rules', () => {
  test('decide by field what the table declares, and nobody is asked', async () => {
    const { store, backend, settled } = await inConflict(
      { tags: ['ours'], status: null, value: 15, seen_at: '2026-05-01T09:00:00Z', extra: { a: 'ours' } },
      { tags: ['theirs'], status: 'won', value: 11, seen_at: '2026-05-01T12:00:00+02:00', extra: { b: 'theirs' } },
    )
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    await until(() => expect(store.status().unsent).toBe(0))
    const expected = { tags: ['theirs', 'ours'], status: 'won', value: 16, seen_at: '2026-05-01T12:00:00+02:00', extra: { a: 'ours', b: 'theirs' } }
    expect(backend.row('leads', 'a')).toMatchObject(expected)
    expect(store.get('leads', 'a')).toMatchObject(expected)
    expect(store.conflicts()).toEqual([])
    expect(store.audit().entries).toMatchObject([{ decided: 'auto', by: null, table: 'leads', key: 'a' }])
  })

  test('of a name that is none are refused with the table', () => {
    const merge = { city: 'newest' }
    const open = (leads: object) => openAble(ableSeeded(), { tables: { ...ableTables, leads: { ...ableTables.leads, ...leads } as typeof ableTables.leads } })
    expect(refusal(() => open({ merge })).code).toBe('invalid-configuration')
    expect(refusal(() => open({ merge: { town: 'ours' } })).code).toBe('invalid-configuration')
    expect(refusal(() => open({ merge: 'ours' })).code).toBe('invalid-configuration')
    expect(refusal(() => open({ temporaryKeys: 'yes' })).code).toBe('invalid-configuration')
  })
})

describe('the audit', () => {
  test('is the same object until there is a further decision, and frozen', async () => {
    const { store, conflict } = await waiting()
    const before = store.audit()
    expect(before).toEqual({ entries: [], dropped: 0 })
    expect(store.audit()).toBe(before)
    store.resolve(conflict.id, 'server')
    expect(store.audit()).not.toBe(before)
    expect(Object.isFrozen(store.audit().entries[0])).toBe(true)
  })

  test('is exported as JSON text that reads back as it was', async () => {
    const { store, conflict } = await waiting()
    store.resolve(conflict.id, 'server')
    expect(JSON.parse(store.exportAudit())).toEqual(store.audit())
  })

  test('and the conflicts of a closed store are empty', async () => {
    const { store, conflict } = await waiting()
    store.resolve(conflict.id, 'server')
    store.close()
    expect([store.conflicts(), store.audit()]).toEqual([[], { entries: [], dropped: 0 }])
    expect(refusal(() => store.resolve(conflict.id, 'local')).code).toBe('closed')
  })
})
