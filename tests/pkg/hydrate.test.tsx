// @vitest-environment happy-dom
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { act, cleanup } from '@testing-library/react'
import { createStore, escapeSnapshot, init, type Snapshot } from 'rota-engine'
import * as react from 'rota-engine/react'
import * as vue from 'rota-engine/vue'
import { type ReactNode } from 'react'
import { hydrateRoot, type Root } from 'react-dom/client'
import { renderToString as renderReact } from 'react-dom/server'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createSSRApp, h, nextTick, type App } from 'vue'
import { renderToString as renderVue } from 'vue/server-renderer'
import { FakeBackend } from './backend.js'
import { isLive, open, openLive, pause, refusal, seeded, tables, until, type World } from './world.js'

;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true

type Tables = typeof tables
const USER = 'maya'

beforeAll(init)
afterEach(cleanup)

/** What travels from the server to the browser: markup, and the snapshot inside of it. */
interface Page {
  html: string
  json: string
}

/** Renders with a store of its own, as a server does, and closes it. */
async function onServer(render: (store: World['store']) => string | Promise<string>, backend = seeded()): Promise<Page> {
  const { store } = await openLive(backend, { user: USER })
  const html = await render(store)
  const json = escapeSnapshot(store.snapshot())
  store.close()
  return { html, json }
}

const inBrowser = (json: string, backend: FakeBackend = new FakeBackend()): World => open(backend, { user: USER, initialSnapshot: JSON.parse(json) as Snapshot })

/** A server that is there, and does not answer yet. */
function slow(backend = seeded()): FakeBackend {
  backend.delayMs = 60_000
  backend.comesUp = false
  return backend
}

const errors = vi.fn()
beforeEach(() => {
  errors.mockClear()
  vi.spyOn(console, 'error').mockImplementation((...words) => errors(...words))
  vi.spyOn(console, 'warn').mockImplementation((...words) => errors(...words))
})

describe('a snapshot', () => {
  test('shows before anything else is known, with nothing fetched, and is not taken for all there is', async () => {
    const { json } = await onServer(() => '')
    const { store } = inBrowser(json, slow())
    expect(store.get('companies', 'c1')).toMatchObject({ name: 'Harbour Optics', city: 'Bremen' })
    expect(store.get('shifts', ['north', 42])).toMatchObject({ who: null })
    expect(store.get('counters', 7)).toMatchObject({ n: 0 })
    expect(store.all('people')).toHaveLength(2)
    expect(store.assignments.state('companies', 'c2')).toMatchObject({ ownerName: 'Jonas', isLoading: false })
    expect(store.status().ready).toBe(false)
    expect(store.stats()).toMatchObject({ records: 6, operations: 0 })
  })

  test('is read in the form that is written down', () => {
    const written = JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/snapshot-1.json'), 'utf8')) as Snapshot
    const { store } = open(slow(), { user: USER, initialSnapshot: written })
    expect(store.snapshot()).toEqual({ ...written, ready: false })
  })

  test('is replaced by the first pull: what is the same stays the same object, nothing flickers, what has gone is gone', async () => {
    const backend = seeded()
    const { json } = await onServer(() => '', backend)
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: null })
    backend.remove('people', 'jonas')
    const pulls = backend.pulls.length
    const { store } = inBrowser(json, backend)
    const seen: unknown[] = []
    const unchanged = store.get('companies', 'c2')
    const heard = vi.fn()
    store.subscribe('companies', 'c2', heard)
    store.subscribe('companies', 'c1', () => seen.push(store.get('companies', 'c1')?.city))
    await isLive(store)
    expect(seen).toEqual(['Kiel'])
    expect(store.get('people', 'jonas')).toBeUndefined()
    expect(store.get('companies', 'c2')).toBe(unchanged)
    expect(heard).not.toHaveBeenCalled()
    expect(backend.pulls[pulls]?.cursor).toBeNull()
  })

  test('never beats what is newer', async () => {
    const backend = seeded()
    const { json } = await onServer(() => '', backend)
    const { store } = await openLive(backend, { user: 'lena' })
    const older = JSON.parse(json) as Snapshot
    backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Kiel', owner_id: null, extra: null })
    const newer = store.snapshot()
    expect(newer.tables['companies']!.find(([, record]) => (record as { id: string }).id === 'c1')?.[1]).toMatchObject({ city: 'Kiel' })
    store.close()
    const mixed = { ...newer, user: USER, tables: { ...newer.tables, people: older.tables['people']! } }
    expect(inBrowser(JSON.stringify(mixed), slow()).store.get('companies', 'c1')?.city).toBe('Kiel')
  })

  test('holds what the server has confirmed, and neither pending changes nor operations', async () => {
    const { store, backend } = await openLive()
    backend.hold()
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Kiel' } })
    expect(store.get('companies', 'c1')?.city).toBe('Kiel')
    const json = JSON.stringify(store.snapshot())
    expect(json).toContain('"city":"Bremen"')
    expect(json).not.toContain('Kiel')
    expect(JSON.parse(json)).toEqual(store.snapshot())
  })

  test('lies below what this browser has not sent yet', async () => {
    const { json } = await onServer(() => '')
    const { store } = inBrowser(json, slow())
    store.assignments.assign('companies', 'c1', 'maya')
    expect(store.assignments.state('companies', 'c1')).toMatchObject({ ownerName: 'Maya', isUpdating: true })
    store.close()
    expect(store.get('companies', 'c1')).toBeUndefined()
    expect(store.all('companies')).toEqual([])
  })

  test('is of one application and one person, and no other takes it', async () => {
    const { json } = await onServer(() => '')
    const snapshot = JSON.parse(json) as Snapshot
    for (const other of [{ user: 'jonas' }, { app: 'elsewhere', user: USER }]) {
      expect(refusal(() => open(undefined, { ...other, initialSnapshot: snapshot })).code).toBe('foreign-snapshot')
    }
    // And it stands in nobody's way.
    open(undefined, { user: 'jonas' })
  })

  const broken: [string, (snapshot: Snapshot) => unknown][] = [
    ['nothing', () => null],
    ['text', (snapshot) => JSON.stringify(snapshot)],
    ['another form', (snapshot) => ({ ...snapshot, v: 2 })],
    ['no word on whether it is whole', (snapshot) => ({ ...snapshot, ready: undefined })],
    ['no tables', (snapshot) => ({ ...snapshot, tables: undefined })],
    ['tables as a list', (snapshot) => ({ ...snapshot, tables: [] })],
    ['a table that is no list', (snapshot) => ({ ...snapshot, tables: { companies: {} } })],
    ['a row that is no list', (snapshot) => ({ ...snapshot, tables: { companies: [{ id: 'c1' }] } })],
    ['a version that is no text', (snapshot) => ({ ...snapshot, tables: { companies: [[1, { id: 'c1' }]] } })],
    ['a record without its key', (snapshot) => ({ ...snapshot, tables: { companies: [['1', { name: 'c1' }]] } })],
    ['a record that is none', (snapshot) => ({ ...snapshot, tables: { companies: [['1', 7]] } })],
    ['a record twice', (snapshot) => ({ ...snapshot, tables: { companies: [['1', { id: 'c1' }], ['2', { id: 'c1' }]] } })],
    ['a record that runs code', (snapshot) => ({ ...snapshot, tables: { companies: [['1', { get id() { throw new Error('ran') } }]] } })],
  ]
  test.each(broken)('of %s is refused', async (_what, spoil) => {
    const { json } = await onServer(() => '')
    const initialSnapshot = spoil(JSON.parse(json) as Snapshot) as Snapshot
    expect(refusal(() => createStore({ app: 'tests', user: USER, tables, backend: new FakeBackend(), storage: 'memory', initialSnapshot })).code).toBe('invalid-snapshot')
  })

  test('with a version that is none loses that record alone, and says so; tables of another release are passed over', () => {
    const { store, problems } = inBrowser(
      JSON.stringify({ v: 1, app: 'tests', user: USER, ready: true, tables: { people: [['x', { id: 'a', name: 'A' }], ['7', { id: 'b', name: 'B' }]], gadgets: [['1', {}]] } }),
      slow(),
    )
    expect(store.all('people')).toEqual([{ id: 'b', name: 'B' }])
    expect(problems).toMatchObject([{ code: 'invalid-version', place: 'people a' }])
  })

  test('inside of a script can not end it', async () => {
    const backend = seeded()
    const name = '</script><script>alert(1)</script><!-- \u2028\u2029 & ]]>'
    backend.put('people', { id: 'eve', name })
    const { json } = await onServer(() => '', backend)
    expect(json).not.toMatch(/[<>&\u2028\u2029]/)
    const root = document.createElement('div')
    root.innerHTML = `<script type="application/json">${json}</script>`
    expect(root.children).toHaveLength(1)
    expect(inBrowser(root.textContent!, slow()).store.get('people', 'eve')?.name).toBe(name)
  })
})

/** Everything that a component may read, as text. */
const words = (city: unknown, names: unknown[], status: { link: { state: string }; ready: boolean; durability: string; unsent: number }, pending: number, owner: unknown) =>
  [city, names.join('+'), status.link.state, status.ready, status.durability, status.unsent, pending, owner].join(' ')

const RENDERED = 'Bremen Maya+Jonas offline true memory 0 0 Jonas'

describe('React takes over what a server rendered', () => {
  let root: Root | undefined
  afterEach(() => act(() => root?.unmount()))
  let renders = 0

  const Panel = () => {
    renders++
    const { ownerName } = react.useAssignmentState({ entityType: 'companies', entityId: 'c2' })
    const city = react.useRecord<Tables, 'companies'>('companies', 'c1')?.city
    const people = react.useRecords<Tables, 'people'>('people')
    return <p>{words(city, people.map(({ name }) => name), react.useStatus(), react.useOperations().pending.length, ownerName)}</p>
  }
  const page = (store: World['store']): ReactNode => <react.RotaProvider store={store}><Panel /></react.RotaProvider>

  async function hydrate(html: string, store: World['store']): Promise<HTMLElement> {
    const element = document.createElement('div')
    element.innerHTML = html
    renders = 0
    await act(async () => {
      root = hydrateRoot(element, page(store), { onRecoverableError: (error) => errors(error) })
    })
    return element
  }

  test('without a mismatch', async () => {
    const { html, json } = await onServer((store) => renderReact(page(store)))
    expect(html).toBe(`<p>${RENDERED}</p>`)
    const { store } = inBrowser(json, slow())
    const element = await hydrate(html, store)
    expect(errors).not.toHaveBeenCalled()
    expect(element.textContent).toBe('Bremen Maya+Jonas connecting false memory 0 0 Jonas')
    // The status is another one; the records are not.
    expect(renders).toBe(2)
  })

  test('without a mismatch even where this browser knows more already: what it knows shows right after', async () => {
    const { html, json } = await onServer((store) => renderReact(page(store)))
    const { store, backend } = inBrowser(json, seeded())
    await isLive(store)
    backend.hold()
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Ulm' } })
    store.assignments.assign('companies', 'c2', 'maya')
    backend.put('people', { id: 'lena', name: 'Lena' })
    const element = await hydrate(html, store)
    expect(errors).not.toHaveBeenCalled()
    expect(element.textContent).toBe('Ulm Maya+Jonas+Lena live true memory 2 2 Maya')
  })

  test('and a mismatch would be noticed', async () => {
    const { html, json } = await onServer((store) => renderReact(page(store)))
    await hydrate(html.replace('Bremen', 'Ulm'), inBrowser(json, slow()).store)
    expect(errors).toHaveBeenCalled()
  })
})

describe('Vue takes over what a server rendered', () => {
  let app: App | undefined
  afterEach(() => app?.unmount())

  const Panel = {
    setup() {
      const { ownerName } = vue.useAssignmentState({ entityType: 'companies', entityId: 'c2' })
      const [record, people, status, operations] = [vue.useRecord<Tables, 'companies'>('companies', 'c1'), vue.useRecords<Tables, 'people'>('people'), vue.useStatus(), vue.useOperations()]
      return () => h('p', words(record.value?.city, people.value.map(({ name }) => name), status.value, operations.value.pending.length, ownerName.value))
    },
  }
  const page = (store: World['store']): App => createSSRApp({ render: () => h('section', [h(Panel)]) }).use(vue.rotaPlugin(store))

  async function hydrate(html: string, store: World['store']): Promise<{ element: HTMLElement; first: string | null }> {
    const element = document.createElement('div')
    element.innerHTML = html
    app = page(store)
    app.mount(element)
    const first = element.textContent
    await nextTick()
    return { element, first }
  }

  test('without a mismatch', async () => {
    const { html, json } = await onServer((store) => renderVue(page(store)))
    expect(html).toBe(`<section><p>${RENDERED}</p></section>`)
    const { store } = inBrowser(json, slow())
    const { element, first } = await hydrate(html, store)
    expect(errors).not.toHaveBeenCalled()
    expect(first).toBe(RENDERED)
    expect(element.textContent).toBe('Bremen Maya+Jonas connecting false memory 0 0 Jonas')
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Ulm' } })
    await nextTick()
    expect(element.textContent).toContain('Ulm')
  })

  test('without a mismatch even where this browser knows more already: what it knows shows right after', async () => {
    const { html, json } = await onServer((store) => renderVue(page(store)))
    const { store, backend } = inBrowser(json, seeded())
    await isLive(store)
    backend.hold()
    store.mutate({ name: 'patch', table: 'companies', key: 'c1', set: { city: 'Ulm' } })
    store.assignments.assign('companies', 'c2', 'maya')
    const { element, first } = await hydrate(html, store)
    expect(errors).not.toHaveBeenCalled()
    expect(first).toBe(RENDERED)
    expect(element.textContent).toBe('Ulm Maya+Jonas live true memory 2 2 Maya')
  })

  test('and a mismatch would be noticed', async () => {
    const { html, json } = await onServer((store) => renderVue(page(store)))
    await hydrate(html.replace('Bremen', 'Ulm'), inBrowser(json, slow()).store)
    expect(errors).toHaveBeenCalled()
  })

  test('a component that comes later reads what is there now', async () => {
    const { json } = await onServer(() => '')
    const { store } = inBrowser(json, seeded())
    await isLive(store)
    const element = document.createElement('div')
    app = page(store)
    app.mount(element)
    expect(element.textContent).toContain('live true')
  })
})

test('a list that a server rendered is taken over in its order', async () => {
  const backend = seeded()
  const { store } = await openLive(backend, { user: USER })
  // Whoever watches a record before it is there makes its place in the list.
  store.subscribe('people', 'zoe', () => {})
  backend.put('people', { id: 'adam', name: 'Adam' })
  backend.put('people', { id: 'zoe', name: 'Zoe' })
  await until(() => expect(store.all('people')).toHaveLength(4))
  const order = store.all('people').map(({ id }) => id)
  const json = JSON.stringify(store.snapshot())
  store.close()
  expect(inBrowser(json, slow()).store.all('people').map(({ id }) => id)).toEqual(order)
  await pause(0)
})
