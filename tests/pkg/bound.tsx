// Counting renders, and handing out what a hook returned, is the point here.
/* oxlint-disable react/immutability, react/globals */
/** Runs the same hooks in React and in Vue: same names, same shapes, where a ref counts as what is in it. */
import { act, cleanup, render, waitFor } from '@testing-library/react'
import { createStore, init, table, type Store, type StoreOptions } from 'rota-engine'
import * as react from 'rota-engine/react'
import * as vue from 'rota-engine/vue'
import { createElement, Fragment, StrictMode, type ComponentType, type ReactNode } from 'react'
import { afterEach } from 'vitest'
import { createApp, h, isRef, nextTick, shallowRef, type Component } from 'vue'
import { FakeBackend } from './backend.js'
import { isLive } from './world.js'

;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true

export type Bindings = typeof react
export type Form = { id: string; status: string; note: string | null }
export type Patient = { id: string; name: string; ward: string | null }
export type Session = { id: string; status: string; campaign_id: string | null; turn_id: string | null; last_action: string | null; note: string | null }
export type Profile = { id: string; role: string; name: string }
export type Company = { id: string; name: string; owner_id: string | null }

export const boundTables = {
  people: table<{ id: string; name: string }>({ key: 'id', fields: ['id', 'name'] }),
  companies: table<Company>({ key: 'id', fields: ['id', 'name', 'owner_id'], owner: 'owner_id', ownerName: { table: 'people', field: 'name' } }),
  leads: table<Company>({ key: 'id', fields: ['id', 'name', 'owner_id'], owner: 'owner_id' }),
  patients: table<Patient>({ key: 'id', fields: ['id', 'name', 'ward'], indexed: ['name', 'ward'] }),
  tickets: table<{ id: number; title: string }>({ key: 'id', fields: ['id', 'title'], temporaryKeys: true }),
  forms: table<Form>({ key: 'id', fields: ['id', 'status', 'note'], domain: { kind: 'form' } }),
  sessions: table<Session>({
    key: 'id',
    fields: ['id', 'status', 'campaign_id', 'turn_id', 'last_action', 'note'],
    domain: { kind: 'interaction', active: ['live', 'paused'], turn: 'turn_id', action: 'last_action' },
  }),
  profiles: table<Profile>({ key: 'id', fields: ['id', 'role', 'name'], domain: { kind: 'profile' } }),
}

export type BoundStore = Store<typeof boundTables>

let opened = 0
const stores: BoundStore[] = []
const unmounts: (() => void)[] = []

afterEach(async () => {
  for (const unmount of unmounts.splice(0)) unmount()
  cleanup()
  for (const store of stores.splice(0)) store.close()
  await new Promise((resolve) => setTimeout(resolve, 2))
})

export const session = (id: string, fields: Partial<Session> = {}): Session => ({ id, status: 'live', campaign_id: 'k1', turn_id: null, last_action: null, note: null, ...fields })

export function boundSeeded(): FakeBackend {
  const backend = new FakeBackend()
  for (const [id, name] of [['maya', 'Maya'], ['jonas', 'Jonas']]) backend.put('people', { id, name })
  backend.put('companies', { id: 'c1', name: 'Harbour Optics', owner_id: null })
  backend.put('companies', { id: 'c2', name: 'North Mill', owner_id: 'jonas' })
  backend.put('leads', { id: 'l1', name: 'Fair', owner_id: null })
  backend.put('patients', { id: 'p1', name: 'Ada', ward: 'north' })
  backend.put('patients', { id: 'p2', name: 'Bo', ward: 'south' })
  backend.put('forms', { id: 'f1', status: 'new', note: null })
  backend.put('sessions', session('s1'))
  backend.put('profiles', { id: 'maya', role: 'agent', name: 'Maya' })
  return backend
}

export function boundOptions(backend: FakeBackend = boundSeeded(), options: Partial<StoreOptions<typeof boundTables>> = {}): StoreOptions<typeof boundTables> {
  return { app: `bound-${opened++}`, user: 'maya', tables: boundTables, backend, retry: { maxRetries: 1, retryDelay: 2, timeout: 5_000 }, storage: 'memory', ...options }
}

export async function openBound(backend = boundSeeded(), options: Partial<StoreOptions<typeof boundTables>> = {}): Promise<{ store: BoundStore; backend: FakeBackend; idle: number }> {
  await init()
  const store = createStore(boundOptions(backend, options))
  stores.push(store)
  await isLive(store)
  return { store, backend, idle: store.stats().listeners }
}

/** A component around the one that is tried, of the bindings' own, and what it takes. */
export type Around = readonly [name: 'RotaProvider' | 'AssignmentProvider' | 'LiveInteractionProvider' | 'ErrorBoundary', props?: Readonly<Record<string, unknown>>]

export interface Mounted<S> {
  /** What the hook returned at the last rendering. */
  state(): S
  renders(): number
  readonly element: HTMLElement
  unmount(): void
  /** Renders anew with other words for the hook. */
  again(words: unknown): Promise<void>
}

export interface Framework {
  readonly name: 'React' | 'React in strict mode' | 'Vue'
  readonly bindings: Bindings
  /** Mounts a component that calls a hook, and shows something of what it returns. */
  mount<S>(use: (bindings: Bindings, words: any) => S, show: (state: S) => unknown, around?: readonly Around[], words?: unknown): Mounted<S>
  /** Mounts a ready-made component. */
  show(name: keyof Bindings, props: Readonly<Record<string, unknown>>, around?: readonly Around[]): { readonly element: HTMLElement; unmount(): void; with(props: Readonly<Record<string, unknown>>): Promise<void> }
  /** Does something, and lets the components follow. */
  after<R>(run: () => R | Promise<R>): Promise<R>
}

const part = (bindings: object, name: string) => (bindings as Record<string, unknown>)[name]

const inReactMode = (name: Framework['name'], Mode: ComponentType<{ children: ReactNode }> | typeof StrictMode): Framework => ({
  name,
  bindings: react,
  mount(use, show, around = [], words = undefined) {
    let [renders, last] = [0, undefined as never]
    const Tried = ({ given }: { given: unknown }) => {
      renders++
      const state = use(react, given)
      last = state as never
      return <>{String(show(state))}</>
    }
    const tree = (given: unknown) => <Mode>{wrapInReact(<Tried given={given} />, around)}</Mode>
    const { container, unmount, rerender } = render(tree(words))
    // Strict mode renders twice.
    const count = () => (Mode === StrictMode ? Number.NaN : renders)
    return { state: () => last, renders: count, element: container, unmount, again: async (given) => rerender(tree(given)) }
  },
  show(of, props, around = []) {
    const tree = (given: Readonly<Record<string, unknown>>) => <Mode>{wrapInReact(createElement(part(react, of) as ComponentType<any>, given), around)}</Mode>
    const { container, unmount, rerender } = render(tree(props))
    return { element: container, unmount, with: async (given) => rerender(tree(given)) }
  },
  async after(run) {
    let result: unknown
    await act(async () => {
      result = await run()
    })
    return result as never
  },
})

function wrapInReact(inner: ReactNode, around: readonly Around[]): ReactNode {
  return [...around].reverse().reduce<ReactNode>((below, [name, props]) => createElement(part(react, name) as ComponentType<any>, props, below), inner)
}

const inReact = inReactMode('React', Fragment)

/** In strict mode effects run, end and run again. */
export const inStrictReact = inReactMode('React in strict mode', StrictMode)

const inVue: Framework = {
  name: 'Vue',
  bindings: vue as never,
  mount(use, show, around = [], words = undefined) {
    let [renders, returned] = [0, undefined as unknown]
    const given = shallowRef(words)
    const Tried: Component = {
      setup() {
        returned = use(vue as never, given)
        return () => {
          renders++
          return String(show(unwrapped(returned) as never))
        }
      },
    }
    const { element, unmount } = mountInVue(Tried, {}, around)
    const again = async (next: unknown) => {
      given.value = next
      await nextTick()
    }
    return { state: () => unwrapped(returned) as never, renders: () => renders, element, unmount, again }
  },
  show(name, props, around = []) {
    const given = shallowRef(props)
    const shown = mountInVue({ setup: () => () => h(part(vue, name) as Component, given.value) }, {}, around)
    const change = async (next: Readonly<Record<string, unknown>>) => {
      given.value = next
      await nextTick()
    }
    return { ...shown, with: change }
  },
  async after(run) {
    const result = await run()
    await nextTick()
    return result
  },
}

function mountInVue(inner: Component, props: Readonly<Record<string, unknown>>, around: readonly Around[]): { element: HTMLElement; unmount(): void } {
  const element = document.createElement('div')
  document.body.append(element)
  const tree = (at: number): unknown => {
    const [name, given] = around[at] ?? []
    if (!name) return h(inner, props)
    const { fallback, ...others } = (given ?? {}) as Record<string, unknown>
    return h(part(vue, name) as Component, others, { default: () => [tree(at + 1)], ...(fallback === undefined ? {} : { fallback: (waiting: unknown) => [typeof fallback === 'function' ? (fallback as (given: unknown) => unknown)(waiting) : fallback] }) } as never)
  }
  const app = createApp({ render: () => tree(0) })
  let isThere = true
  const unmount = () => {
    if (isThere) app.unmount()
    isThere = false
    element.remove()
  }
  unmounts.push(unmount)
  app.mount(element)
  return { element, unmount }
}

/** Reads through refs, so that what Vue returns reads as what React does. */
function unwrapped(state: unknown): unknown {
  if (isRef(state)) return state.value
  if (typeof state !== 'object' || state === null) return state
  return new Proxy(state, {
    get: (target, name) => {
      const member = target[name as never] as unknown
      return isRef(member) ? member.value : member
    },
  })
}

/** Waits for what comes by itself. */
export const until = (condition: () => void): Promise<void> => waitFor(condition, { interval: 2, timeout: 5_000 })

export const frameworks: readonly Framework[] = [inReact, inVue]
