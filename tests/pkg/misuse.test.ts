import type { Mutation } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import { toRotaError } from '../../pkg/dist/errors.js'
import { openLive, refusal, type World } from './world.js'

let store: World['store']
let backend: World['backend']

beforeEach(async () => {
  ;({ store, backend } = await openLive())
})

class Money {
  amount = 5
}

const cycle: Record<string, unknown> = {}
cycle['self'] = cycle
cycle['again'] = cycle

const nested = (depth: number): unknown => (depth === 0 ? 1 : { in: nested(depth - 1) })

const insert = (record: object) => ({ name: 'insert', table: 'companies', record })
const patch = (set: unknown) => ({ name: 'patch', table: 'companies', key: 'c1', set })
const whole = { id: 'c9', name: 'New', city: null, owner_id: null }

describe('a mutation that makes no sense is refused: the message says what and where, and nothing changes', () => {
  const cases: [what: string, mutation: unknown, code: string, says: RegExp][] = [
    ['nothing', undefined, 'invalid-operation', /object/],
    ['null', null, 'invalid-operation', /object/],
    ['text', 'delete', 'invalid-operation', /object|name/],
    ['an empty object', {}, 'invalid-operation', /name and a table/],
    ['no table', { name: 'delete', key: 'c1' }, 'invalid-operation', /table/],
    ['an unknown table', { name: 'delete', table: 'nope', key: 'c1' }, 'unknown-table', /"nope"/],
    ['a table that every object has', { name: 'delete', table: 'toString', key: 'c1' }, 'unknown-table', /"toString"/],
    ['an unknown operation', { name: 'upsert', table: 'companies', key: 'c1' }, 'invalid-operation', /"upsert".*insert, patch, delete, assign, and those of chats/],
    ['an unknown record', { name: 'delete', table: 'companies', key: 'c9' }, 'unknown-record', /"companies".*"c9"/],
    ['a patch of an unknown record', { ...patch({ city: 'x' }), key: 'c9' }, 'unknown-record', /"c9"/],
    ['an unknown field in a patch', patch({ town: 'x' }), 'unknown-field', /"companies".*"town"/],
    ['an unknown field in an insert', insert({ ...whole, town: 'x' }), 'unknown-field', /"town"/],
    ["the server's own column", patch({ rota_version: '1' }), 'unknown-field', /"rota_version"/],
    ['no key', { name: 'delete', table: 'companies' }, 'missing-key', /key/],
    ['a key that is null', { name: 'delete', table: 'companies', key: null }, 'missing-key', /null/],
    ['a record without its key', insert({ name: 'New' }), 'missing-key', /"companies".*"id"/],
    ['a record with half its key', { name: 'insert', table: 'shifts', record: { site: 'north' } }, 'missing-key', /"day"/],
    ['a record whose key is empty', insert({ ...whole, id: '' }), 'missing-key', /"id"/],
    ['a record whose key is a fraction', { name: 'insert', table: 'counters', record: { id: 1.5, n: 0 } }, 'missing-key', /"id"/],
    ['a record that is there', insert({ ...whole, id: 'c1' }), 'record-exists', /"c1".*patch/],
    ['a key in a patch', patch({ id: 'c2' }), 'invalid-operation', /"id".*key/],
    ['an empty patch', patch({}), 'invalid-operation', /at least one field/],
    ['a patch without fields', patch(undefined), 'invalid-value', /set is not an object/],
    ['a patch that is a list', patch(['x']), 'invalid-value', /set is not an object/],
    ['an insert without a record', insert(undefined as never), 'invalid-value', /record is not an object/],
    ['assign where records have no owner', { name: 'assign', table: 'people', key: 'maya', to: 'jonas' }, 'invalid-operation', /"people".*owner/],
    ['assign to a number', { name: 'assign', table: 'companies', key: 'c1', to: 7 }, 'invalid-operation', /person's id of 1 to 256 bytes, or null/],
    ['assign to an empty name', { name: 'assign', table: 'companies', key: 'c1', to: '' }, 'invalid-operation', /person's id of 1 to 256 bytes, or null/],
    ['assign to nothing said', { name: 'assign', table: 'companies', key: 'c1' }, 'invalid-value', /assign\.to is undefined/],
    ['undefined as a value', patch({ city: undefined }), 'invalid-value', /set\.city is undefined; use null/],
    ['NaN', patch({ extra: NaN }), 'invalid-value', /set\.extra is NaN/],
    ['Infinity', patch({ extra: { a: [1, -Infinity] } }), 'invalid-value', /set\.extra\.a\[1\] is -Infinity/],
    ['an integer beyond what a number holds', patch({ extra: 2 ** 53 }), 'invalid-value', /set\.extra.*2\^53.*text/],
    ['a date', patch({ extra: new Date(0) }), 'invalid-value', /set\.extra is a Date/],
    ['a map', patch({ extra: new Map() }), 'invalid-value', /set\.extra is a Map/],
    ['an instance of a class', insert({ ...whole, extra: { price: new Money() } }), 'invalid-value', /record\.extra\.price is a Money/],
    ['a record of a class', insert(new Money()), 'invalid-value', /record is a Money/],
    ['a function', patch({ extra: () => 1 }), 'invalid-value', /set\.extra is a function/],
    ['a symbol', patch({ extra: Symbol('x') }), 'invalid-value', /set\.extra is a symbol/],
    ['a BigInt', patch({ extra: 5n }), 'invalid-value', /set\.extra is a bigint/],
    ['a circle', patch({ extra: cycle }), 'invalid-value', /circle/],
    ['too deep a nesting', patch({ extra: nested(64) }), 'invalid-value', /deeper than 64/],
    // oxlint-disable-next-line no-sparse-arrays
    ['a list with a hole', patch({ extra: [1, , 3] }), 'invalid-value', /set\.extra\[1\] is undefined/],
    ['a member called __proto__', patch({ extra: [JSON.parse('{"__proto__": {"polluted": true}}')] }), 'invalid-value', /set\.extra\[0\]\.__proto__/],
    ['text with U+0000', patch({ extra: { a: ['x\0y'] } }), 'invalid-value', /set\.extra\.a\[0\] is text with U\+0000/],
    ['text with half a pair of surrogates', insert({ ...whole, name: 'a\ud83d' }), 'invalid-value', /record\.name is text with half of a surrogate pair/],
    ['text with the other half', patch({ city: '\ude80a' }), 'invalid-value', /set\.city is text with half/],
    ['a name with U+0000', patch({ extra: { 'a\0': 1 } }), 'invalid-value', /a name in set\.extra is text with U\+0000/],
    ['assign to text with U+0000', { name: 'assign', table: 'companies', key: 'c1', to: 'x\0' }, 'invalid-value', /assign\.to is text with U\+0000/],
    ['a boxed text', patch({ extra: Object('x') }), 'invalid-value', /set\.extra is a String/],
  ]

  test.each(cases)('%s', async (_what, mutation, code, says) => {
    const before = [store.all('companies'), store.operations(), store.status(), store.stats()]
    let heard = 0
    const stop = store.subscribe(() => heard++)
    const error = refusal(() => store.mutate(mutation as Mutation<World['store']['tables']>))
    stop()
    expect(error).toMatchObject({ code })
    expect(error.message).toMatch(says)
    expect(error.message).toContain(`[${code}]`)
    expect(heard).toBe(0)
    const after = [store.all('companies'), store.operations(), store.status(), store.stats()]
    for (const at of [0, 1, 2]) expect(after[at]).toBe(before[at])
    expect(after[3]).toEqual(before[3])
    expect(await store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } }).settled).toMatchObject({ outcome: 'confirmed' })
    expect(backend.pushes).toHaveLength(1)
  })

  test('a getter that throws, throws out of mutate and changes nothing', () => {
    const set = {
      get city(): string {
        throw new Error('from the getter')
      },
    }
    expect(() => store.mutate({ name: 'patch', table: 'companies', key: 'c1', set })).toThrow('from the getter')
    expect(store.status().unsent).toBe(0)
  })

  test.each([
    ['cancel', 'no id'],
    ['cancel', '019aa5e3-f1c0-7a3b-9c1d-2e4f60718293'],
    ['retry', ''],
    ['retry', '019aa5e3-f1c0-7a3b-9c1d-2e4f60718293'],
  ] as const)('%s of "%s" says that there is no such operation', (call, id) => {
    expect(refusal(() => store[call](id)).code).toBe('unknown-operation')
  })

  test('only a dead operation can be retried', () => {
    backend.hold()
    const { id } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(refusal(() => store.retry(id)).code).toBe('invalid-operation')
  })

  const misused: [what: string, call: (store: Record<string, (...args: unknown[]) => unknown>) => unknown, says: RegExp][] = [
    ['cancel of a number', (any) => any['cancel']!(5), /cancel takes the id/],
    ['cancel of nothing', (any) => any['cancel']!(), /cancel takes the id/],
    ['retry of an object', (any) => any['retry']!({}), /retry takes the id/],
    ['batch of a number', (any) => any['batch']!(5), /batch takes a function/],
    ['subscribe to a number', (any) => any['subscribe']!(5), /subscribe takes/],
    ['subscribe to nothing', (any) => any['subscribe']!(), /subscribe takes/],
    ['subscribe to a table with a number', (any) => any['subscribe']!('companies', 5), /subscribe takes/],
    ['subscribe to a record with a number', (any) => any['subscribe']!('companies', 'c1', 5), /subscribe takes/],
    ['onProblem of a number', (any) => any['onProblem']!(5), /onProblem takes a function/],
    ['assignments.subscribe with a number', () => (store.assignments.subscribe as (...args: unknown[]) => unknown)('companies', 'c1', 5), /assignments\.subscribe takes/],
  ]

  test.each(misused)('%s is refused with words, and the store goes on', (_what, call, says) => {
    const { listeners } = store.stats()
    const error = refusal(() => call(store as never))
    expect(error).toMatchObject({ code: 'invalid-operation', message: expect.stringMatching(says) })
    expect(store.stats().listeners).toBe(listeners)
    backend.tell({ table: 'companies', kind: 'deleted', row: { id: 'c1', rota_version: '9000' } })
    expect(() => store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { city: 'Kiel' } })).not.toThrow()
  })

  test('an error that is neither a refusal nor a crash is thrown as it is', () => {
    const mine = new TypeError('mine')
    expect(toRotaError(mine, () => undefined)).toBe(mine)
    expect(toRotaError(mine, () => 'index out of bounds')).toMatchObject({ code: 'engine-crashed', cause: mine, message: expect.stringContaining('index out of bounds') })
    expect(toRotaError(new WebAssembly.RuntimeError('unreachable'), () => undefined)).toMatchObject({ code: 'engine-crashed' })
  })

  test('subscribe without a listener says what it takes', () => {
    expect(refusal(() => (store.subscribe as (...args: unknown[]) => unknown)('companies')).message).toContain('subscribe takes')
    expect(refusal(() => (store.subscribe as (...args: unknown[]) => unknown)('companies', 'c1')).message).toContain('subscribe takes')
  })
})

describe('everything that is data goes in and comes out as it was', () => {
  const values: [what: string, value: unknown][] = [
    ['null', null],
    ['zero', 0],
    ['negative numbers and fractions', [-1, 0.1, 1.5e-300, -5e-324]],
    ['the largest integers', [Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER]],
    ['text of all kinds', ['', '🚀', '\u0001', 'a"b\\']],
    ['empty lists and objects', [[], {}]],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 })],
    ['names that objects have', { constructor: 1, toString: null, hasOwnProperty: [], length: 3 }],
    ['a nesting just deep enough', nested(62)],
  ]

  test.each(values)('%s', async (_what, extra) => {
    const { settled } = store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { extra } })
    expect(store.get('companies', 'c1')?.extra).toStrictEqual(JSON.parse(JSON.stringify(extra)))
    expect(await settled).toMatchObject({ outcome: 'confirmed' })
    expect(backend.pushes[0]?.set['extra']).toStrictEqual(JSON.parse(JSON.stringify(extra)))
  })
})
