// @vitest-environment happy-dom
import { act } from '@testing-library/react'
import { createStore, escapeSnapshot, init, type Snapshot, type StoreOptions } from 'rota-engine'
import * as react from 'rota-engine/react'
import * as vue from 'rota-engine/vue'
import { hydrateRoot, type Root } from 'react-dom/client'
import { renderToString as renderReact } from 'react-dom/server'
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createSSRApp, h, nextTick, type App } from 'vue'
import { renderToString as renderVue } from 'vue/server-renderer'
import { boundOptions, boundSeeded, openBound, type boundTables, type BoundStore, type Profile } from './bound.js'
import { isLive, pause } from './world.js'

beforeAll(init)

const errors = vi.fn()
const opened: BoundStore[] = []
let unmount = (): void => undefined
beforeEach(() => {
  errors.mockClear()
  vi.spyOn(console, 'error').mockImplementation((...words) => errors(...words))
  vi.spyOn(console, 'warn').mockImplementation((...words) => errors(...words))
})
afterEach(() => {
  act(() => unmount())
  unmount = () => undefined
  for (const store of opened.splice(0)) store.close()
})

/** What a panel that reads everything shows. */
function textOf(state: { isConnected: boolean; isLoading: boolean }, patients: readonly unknown[], profile: Profile | undefined, auth: { state: string; unsent: number }, session: { currentInteractionId: string | null; lastUpdate: number | null }, notices: readonly unknown[], forms: { notifications: readonly unknown[]; editors: object }): string {
  return [state.isConnected, state.isLoading, patients.length, profile?.name, auth.state, auth.unsent, session.currentInteractionId, session.lastUpdate, notices.length, forms.notifications.length, JSON.stringify(forms.editors)].join(' ')
}

const FIRST = 'false false 2 Maya signed-in 0   0 0 {}'

const ReactPanel = () => {
  const session = react.useLiveInteraction()
  react.useRealtimeAssignmentSync({ onAssignmentChange: () => {} })
  react.useFormSubmissionUpdates(() => {})
  react.useInteractionEvents(() => {})
  react.useStale(() => {})
  const text = textOf(react.useRealtime({ table: 'patients' }), react.useRealtimePatients().patients, react.useOwnProfile<Profile>(), react.useRealtimeAuth(), session, react.useLiveInteractionNotifications({ settings: { turn: { sound: false } } }).notifications, react.useRealtimeForms())
  return <p>{text}{react.useAssignmentError()?.code}<react.UserAssignmentDisplay entityType="companies" entityId="c2" /></p>
}
const reactPage = (store: BoundStore) => (
  <react.RotaProvider store={store}>
    <react.ErrorBoundary>
      <react.AssignmentProvider>
        <react.LiveInteractionProvider>
          <ReactPanel />
        </react.LiveInteractionProvider>
      </react.AssignmentProvider>
    </react.ErrorBoundary>
  </react.RotaProvider>
)

const VuePanel = {
  setup() {
    const session = vue.useLiveInteraction()
    vue.useRealtimeAssignmentSync({ onAssignmentChange: () => {} })
    vue.useFormSubmissionUpdates(() => {})
    vue.useInteractionEvents(() => {})
    vue.useStale(() => {})
    const [state, { patients }, profile, auth] = [vue.useRealtime({ table: 'patients' }), vue.useRealtimePatients(), vue.useOwnProfile<Profile>(), vue.useRealtimeAuth()]
    const [{ notifications }, forms] = [vue.useLiveInteractionNotifications({ settings: { turn: { sound: false } } }), vue.useRealtimeForms()]
    const plain = <S extends object>(refs: S) => Object.fromEntries(Object.entries(refs).map(([name, ref]) => [name, (ref as { value?: unknown }).value])) as never
    return () => h('p', [textOf(plain(state), patients.value, profile.value, plain(auth), plain(session), notifications.value, plain(forms)), h(vue.UserAssignmentDisplay, { entityType: 'companies', entityId: 'c2' })])
  },
}
const vuePage = (store: BoundStore): App =>
  createSSRApp({ render: () => h(vue.RotaProvider, { store }, { default: () => [h(vue.ErrorBoundary, {}, { default: () => [h(vue.AssignmentProvider, {}, { default: () => [h(vue.LiveInteractionProvider, {}, { default: () => [h(VuePanel)] })] })] })] }) })

const bindings = [
  {
    name: 'React',
    render: async (store: BoundStore) => renderReact(reactPage(store)),
    hydrate: async (element: HTMLElement, store: BoundStore) => {
      let root: Root | undefined
      unmount = () => root?.unmount()
      await act(async () => {
        root = hydrateRoot(element, reactPage(store), { onRecoverableError: (error) => errors(error) })
      })
    },
  },
  {
    name: 'Vue',
    render: async (store: BoundStore) => renderVue(vuePage(store)),
    hydrate: async (element: HTMLElement, store: BoundStore) => {
      const app = vuePage(store)
      unmount = () => app.unmount()
      app.mount(element)
      await nextTick()
    },
  },
]

describe.each(bindings)('$name', ({ render, hydrate }) => {
  async function onServer(): Promise<{ html: string; initialSnapshot: Snapshot }> {
    const { store } = await openBound(undefined, { app: 'served' })
    const html = await render(store)
    const initialSnapshot = JSON.parse(escapeSnapshot(store.snapshot())) as Snapshot
    store.close()
    return { html, initialSnapshot }
  }

  function inBrowser(initialSnapshot: Snapshot, options: Partial<StoreOptions<typeof boundTables>>): BoundStore {
    const store = createStore(boundOptions(boundSeeded(), { app: 'served', initialSnapshot, ...options }))
    opened.push(store)
    return store
  }

  test('renders everything on a server, and leaves nothing behind', async () => {
    const { store } = await openBound()
    store.interactions.subscribe(() => {})()
    const { listeners } = store.stats()
    const html = await render(store)
    expect(html).toContain(FIRST)
    expect(html).toMatch(/<option[^>]*selected[^>]*>Jonas/)
    expect(store.stats().listeners).toBe(listeners)
    await pause(1_100)
    expect(store.stats().views).toBe(1)
    expect(errors).not.toHaveBeenCalled()
  })

  test('takes over what a server rendered without a mismatch, though this browser knows more: that shows right after', async () => {
    const { html, initialSnapshot } = await onServer()
    const store = inBrowser(initialSnapshot, {})
    await isLive(store)
    store.notifications.createNotification({ kind: 'turn', message: 'x', id: 'x' })
    store.interactions.setCurrentInteraction('s1')
    store.profiles.update({ name: 'M.' })
    store.assignments.assign('companies', 'c2', 'maya')
    const element = document.createElement('div')
    element.innerHTML = html
    await hydrate(element, store)
    expect(errors).not.toHaveBeenCalled()
    expect(element.querySelector('p')?.textContent).toMatch(/^true false 2 M\. signed-in \d s1 \d* ?1 0 \{\}/)
    expect(element.querySelector('select')?.value).toBe('maya')
  })
})

test('a provider that opens a store renders its fallback on a server, and opens nothing', async () => {
  const backend = boundSeeded()
  const options = boundOptions(backend)
  expect(renderReact(<react.RotaProvider options={options} fallback="wait">never</react.RotaProvider>)).toBe('wait')
  expect(await renderVue(createSSRApp({ render: () => h(vue.RotaProvider, { options }, { default: () => ['never' as never], fallback: () => ['wait' as never] }) }))).toContain('wait')
  await pause(5)
  expect(backend.connects).toBe(0)
})
