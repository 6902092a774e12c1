import { readdirSync, readFileSync } from 'node:fs'
import type { Answer } from 'rota-engine'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Row } from './backend.js'
import { openLive, pause, until, type World } from './world.js'

const FIXTURES = new URL('../fixtures/protocol/', import.meta.url)
const fixture = (name: string): Row => JSON.parse(readFileSync(new URL(name, FIXTURES), 'utf8')) as Row
const named = (start: string) => readdirSync(FIXTURES).filter((name) => name.startsWith(start))

let store: World['store']
let backend: World['backend']
let problems: World['problems']

beforeEach(async () => {
  ;({ store, backend, problems } = await openLive())
  backend.echo = 'none'
  backend.put('companies', { id: 'c-0017', name: 'Harbour Optics', city: 'Bremen', owner_id: null, extra: null })
})

const operate = () => store.assignments.assign('companies', 'c-0017', '11111111-1111-4111-8111-111111111111')

/** The fixture as an answer to this operation, newer than whatever is known. */
function answerOf(name: string, id: string): Row {
  const answer = { ...fixture(name), id }
  if ('version' in answer) answer['version'] = '5000'
  return answer
}

test('there are fixtures of every outcome and of every kind of pull', () => {
  expect(named('answer.')).toHaveLength(11)
  expect(named('pull-response.')).toHaveLength(5)
})

describe('every answer of the protocol is understood', () => {
  test.each(named('answer.'))('%s', async (name) => {
    let once = true
    backend.spoilAnswer = (answer) => {
      if (!once) return answer
      once = false
      return answerOf(name, answer.id)
    }
    const { id, settled } = operate()
    const { outcome, code, message, record, table, chosen, winner } = fixture(name) as unknown as Answer & {
      code?: string
      message?: string
      record?: Row | null
      chosen?: string
      winner?: object
    }
    if (outcome === 'retry') {
      expect(await settled).toMatchObject({ outcome: 'confirmed' })
      expect(backend.pushes).toHaveLength(2)
      return
    }
    expect(await settled).toMatchObject({ id, outcome, ...(code ? { code, message } : {}), ...(chosen ? { chosen } : {}), ...(winner ? { winner } : {}) })
    const seen = store.get('companies', 'c-0017')
    // What is told of another record says nothing of this one, which is looked up.
    if (table !== 'companies') expect(seen).toMatchObject({ owner_id: null })
    else if (record === null) expect(seen).toBeUndefined()
    else if (record) expect(seen).toMatchObject({ owner_id: record['owner_id'] })
    // An acknowledgement says that it was done, and the row is fetched.
    else if (outcome === 'confirmed') expect(seen).toMatchObject({ owner_id: '11111111-1111-4111-8111-111111111111' })
    else expect(seen).toMatchObject({ owner_id: null })
    expect(problems).toEqual([])
  })
})

describe('an answer that lacks something required, or has it of the wrong type, is a failed call with a reason', () => {
  const required: Record<string, readonly string[]> = {
    confirmed: ['version', 'record'],
    refused: ['code', 'message'],
    conflicted: ['code', 'message', 'fields', 'version', 'record'],
    retry: ['code', 'message', 'afterMs'],
  }
  const cases = named('answer.').flatMap((name) => {
    const members = ['protocol', 'id', 'table', 'key', 'replayed', 'outcome', ...required[String(fixture(name)['outcome'])]!]
    return members
      .filter((member) => member in fixture(name))
      .flatMap((member) => [
        // A confirmation without a record is an acknowledgement.
        ...(member === 'record' && fixture(name)['outcome'] === 'confirmed' ? [] : [[name, member, undefined]]),
        [name, member, Symbol('of the wrong type')],
      ]) as [string, string, unknown][]
  })

  test.each(cases)('%s, %s', async (name, member, value) => {
    let once = true
    backend.spoilAnswer = (answer) => {
      if (!once) return answer
      once = false
      const spoiled = answerOf(name, answer.id)
      if (value === undefined) delete spoiled[member]
      // Nothing in JSON is of the right type everywhere but for this.
      else spoiled[member] = member === 'protocol' || member === 'afterMs' ? 'one' : 7.5
      return spoiled
    }
    const failed: unknown[] = []
    const owners = new Set<unknown>()
    store.subscribe(({ operations }) => {
      failed.push(...operations.filter(({ tries, state }) => tries === 1 && state === 'queued').map(({ code, message }) => [code, message]))
      owners.add(store.get('companies', 'c-0017')?.owner_id)
    })
    expect(await operate().settled).toMatchObject({ outcome: 'confirmed' })
    expect(failed).toEqual([['unknown', expect.stringContaining(member)]])
    expect(owners).toEqual(new Set(['11111111-1111-4111-8111-111111111111']))
  })
})

describe('every pull response of the protocol is understood', () => {
  const spoilNext = (make: (response: Row) => unknown) => {
    let once = true
    backend.spoilResponse = (response) => {
      if (!once) return response
      once = false
      return make(response as unknown as Row)
    }
  }

  test.each(named('pull-response.'))('%s', async (name) => {
    const response = fixture(name)
    spoilNext(() => response)
    if (response['cursor'] === null) backend.tell({ table: 'companies', kind: 'deleted', row: { id: 'c-0017' } })
    else store.reconnect()
    if (response['cursor'] === null) {
      await until(() => expect(backend.pulls.at(-1)?.keys).toEqual({ companies: ['c-0017'] }))
      await until(() => expect(store.get('companies', 'c-0017')?.name).toBe(response['gone'] ? undefined : 'Harbour Optics'))
    } else {
      await until(() => expect(store.get('companies', 'c-0017')?.owner_id).toMatch(/^(1111|2222)/))
      // Before the last page nothing is gone.
      if (response['whole'] && response['next'] === undefined) expect(store.all('companies')).toHaveLength(1)
    }
    // A part of a table that this store does not know is no part of it.
    expect(problems.filter(({ code }) => !(response['covers'] && code === 'malformed-pull'))).toEqual([])
  })

  test('what a pull says is settled, is', async () => {
    backend.hold()
    const { id, settled } = operate()
    await until(() => expect(backend.pushes).toHaveLength(1))
    const response = fixture('pull-response.whole.json')
    const answer = (response['settled'] as Row[])[0]!
    spoilNext(() => ({ ...response, settled: [{ ...answer, id, version: '5000' }] }))
    store.reconnect()
    expect(await settled).toEqual({ id, outcome: 'confirmed' })
    expect(backend.pulls.map(({ pending }) => pending)).toContainEqual([id])
    expect(store.get('companies', 'c-0017')?.owner_id).toMatch(/^1111/)
  })

  const spoiled = named('pull-response.').flatMap((name) => ['protocol', 'cursor', 'whole', 'records', 'gone', 'settled'].map((member) => [name, member] as const))

  test.each(spoiled)('%s with a "%s" of the wrong type is a failed call', async (name, member) => {
    const before = [store.all('companies'), store.status().lastSyncMs]
    const pulls = backend.pulls.length
    await pause(2)
    spoilNext(() => ({ ...fixture(name), [member]: 7.5 }))
    store.reconnect()
    await until(() => expect(backend.pulls).toHaveLength(pulls + 1))
    await pause(2)
    expect(store.all('companies')).toBe(before[0])
    expect(store.status().lastSyncMs).toBe(before[1])
  })
})

describe('what goes out has the shape of the protocol', () => {
  test('operations have the members of their fixtures', async () => {
    store.mutate({ name: 'insert', table: 'companies', record: { id: 'c-1', name: 'New', city: null, owner_id: null } })
    store.mutate({ name: 'patch', table: 'people', key: 'maya', set: { name: 'M' } })
    store.mutate({ name: 'delete', table: 'companies', key: 'c2' })
    store.assignments.assign('companies', 'c-0017', 'maya')
    store.mutate({ name: 'patch', table: 'counters', key: 7, set: { n: 1 } })
    await until(() => expect(backend.pushes).toHaveLength(5))
    for (const operation of backend.pushes) {
      const told = fixture(`operation.${operation.name}.json`)
      expect(Object.keys(operation).sort()).toEqual(Object.keys(told).sort())
      for (const [member, value] of Object.entries(told)) {
        if (value !== null && member !== 'baseVersion') expect(Array.isArray(operation[member as 'id'])).toBe(Array.isArray(value))
        if (value !== null && member !== 'baseVersion') expect(typeof operation[member as 'id']).toBe(typeof value)
      }
      expect(operation.hlc).toMatch(/^[0-9a-f]{12}-[0-9a-f]{4}$/)
    }
    expect(backend.pushes.find(({ name }) => name === 'assign')).toMatchObject({ args: { to: 'maya' }, set: { owner_id: 'maya' }, base: { owner_id: null } })
  })

  test('pull requests have the members of their fixtures', () => {
    const whole = backend.pulls.find(({ cursor, keys }) => cursor === null && !keys)
    const since = backend.pulls.find(({ cursor }) => cursor !== null)
    expect(Object.keys(whole!).sort()).toEqual(Object.keys(fixture('pull-request.whole.json')).sort())
    expect(Object.keys(since!).sort()).toEqual(Object.keys(fixture('pull-request.since.json')).sort())
  })
})
