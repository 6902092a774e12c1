// @vitest-environment happy-dom
// Counting renders is the point here.
/* oxlint-disable react/immutability, react/globals */
import { act, cleanup, render, screen } from '@testing-library/react'
import { RotaProvider, useConflicts, usePeers, useView } from 'rota-engine/react'
import { rotaPlugin, useConflicts as useVueConflicts, usePeers as useVuePeers, useView as useVueView } from 'rota-engine/vue'
import { StrictMode, type ReactNode } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createApp, nextTick, reactive, ref, type App, type Component } from 'vue'
import { lead, openAbleLive, type ableTables } from './able.js'
import { pause } from './world.js'

;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true

type Able = typeof ableTables
let store: Awaited<ReturnType<typeof openAbleLive>>['store']
let backend: Awaited<ReturnType<typeof openAbleLive>>['backend']
let idle: number
const apps: App[] = []

beforeEach(async () => {
  ;({ store, backend } = await openAbleLive())
  idle = store.stats().listeners
})
afterEach(() => {
  for (const app of apps.splice(0)) app.unmount()
  cleanup()
})

const given = (children: ReactNode) => <RotaProvider store={store}>{children}</RotaProvider>

/** Makes somebody else win the race for a field. */
const conflict = async () => {
  backend.judge = ({ base }) => (base['city'] === 'Bremen' ? { outcome: 'conflicted', code: 'changed', message: 'no', fields: ['city'] } : undefined)
  backend.put('leads', lead('a', { city: 'Bonn' }), { silently: true })
  store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { city: 'Ulm' } })
  await vi.waitFor(() => expect(store.conflicts()).toHaveLength(1), { interval: 2 })
}

describe('useView in React', () => {
  const seen: string[] = []
  const List = ({ city }: { city: string }) => {
    const { rows, total, figures } = useView<Able, { readonly table: 'leads'; readonly filter: { readonly eq: { readonly field: 'city'; readonly value: string } }; readonly figures: { readonly sum: { readonly sum: 'value' } } }>({
      table: 'leads',
      filter: { eq: { field: 'city', value: city } },
      figures: { sum: { sum: 'value' } },
    })
    const text = `${rows.map(({ id }) => id).join('')} ${total} ${figures.sum}`
    seen.push(text)
    return <p data-testid={city}>{text}</p>
  }
  beforeEach(() => void seen.splice(0))

  test('shows the list at the first render, and renders again only when it changes', () => {
    render(given(<List city="Kiel" />))
    expect(seen).toEqual(['bc 2 50'])
    act(() => backend.put('leads', lead('a', { city: 'Ulm' })))
    expect(seen).toHaveLength(1)
    act(() => void store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { city: 'Kiel', value: 1 } }))
    expect(screen.getByTestId('Kiel').textContent).toBe('abc 3 51')
    expect(seen).toHaveLength(2)
  })

  test('shares one list between components, changes it with its spec, and closes it with the last', async () => {
    const { rerender, unmount } = render(given([<List key="1" city="Kiel" />, <List key="2" city="Kiel" />]))
    expect(store.stats().views).toBe(1)
    rerender(given([<List key="1" city="Kiel" />, <List key="2" city="Bremen" />]))
    expect(screen.getByTestId('Bremen').textContent).toBe('a 1 10')
    expect(store.stats().views).toBe(2)
    unmount()
    await pause(1_100)
    expect(store.stats()).toMatchObject({ views: 0, listeners: idle })
  })

  test('works in strict mode, and leaves nothing behind', async () => {
    const { unmount } = render(<StrictMode>{given(<List city="Kiel" />)}</StrictMode>)
    act(() => void store.mutate({ name: 'delete', table: 'leads', key: 'b' }))
    expect(screen.getByTestId('Kiel').textContent).toBe('c 1 20')
    unmount()
    await pause(1_100)
    expect(store.stats()).toMatchObject({ views: 0, listeners: idle })
  })

  test('a component that was rendered and never shown leaves no list behind', async () => {
    expect(renderToString(given(<List city="Kiel" />))).toContain('bc 2 50')
    expect(store.stats().views).toBe(1)
    await pause(1_100)
    expect(store.stats().views).toBe(0)
  })

  test('many renderings that nobody shows are bounded', () => {
    for (let at = 0; at < 300; at++) renderToString(given(<List city={`city ${at}`} />))
    expect(store.stats().views).toBe(100)
  })

  test('a store that was closed reads as an empty one', () => {
    render(given(<List city="Kiel" />))
    act(() => store.close())
    cleanup()
    expect(renderToString(given(<List city="Kiel" />))).toContain(' 0 ')
  })

  test('a spec that makes no sense throws while rendering', () => {
    const Wrong = () => <p>{useView({ table: 'nope' }).total}</p>
    expect(() => renderToString(given(<Wrong />))).toThrow(/unknown-table/)
  })
})

describe('useConflicts and usePeers in React', () => {
  test('stay current', async () => {
    const Waiting = () => <p data-testid="waiting">{[useConflicts().length, usePeers().map(({ user }) => user)].join(' ')}</p>
    const { unmount } = render(given(<Waiting />))
    expect(screen.getByTestId('waiting').textContent).toBe('0 ')
    await act(conflict)
    act(() => backend.listener?.present?.([{ user: 'jonas', tab: 't', presence: { place: 'board', doing: 'idle' } }]))
    expect(screen.getByTestId('waiting').textContent).toBe('1 jonas')
    act(() => void store.resolve(store.conflicts()[0]!.id, 'server'))
    expect(screen.getByTestId('waiting').textContent).toBe('0 jonas')
    unmount()
    expect(store.stats().listeners).toBe(idle)
  })
})

describe('in Vue', () => {
  function mount(component: Component): { app: App; text: () => string | null } {
    const root = document.createElement('div')
    const app = createApp(component)
    app.use(rotaPlugin(store))
    app.mount(root)
    apps.push(app)
    return { app, text: () => root.textContent }
  }

  test('a live list follows its records and its spec, and is closed with its component', async () => {
    const city = ref('Kiel')
    const { app, text } = mount({
      setup() {
        const view = useVueView<Able>(() => ({ table: 'leads', filter: { eq: { field: 'city', value: city.value } } }))
        return () => `${view.value.rows.map(({ id }) => id).join('')} ${view.value.total}`
      },
    })
    expect(text()).toBe('bc 2')
    store.mutate({ name: 'patch', table: 'leads', key: 'a', set: { city: 'Kiel' } })
    await nextTick()
    expect(text()).toBe('abc 3')
    city.value = 'Ulm'
    await nextTick()
    expect(text()).toBe(' 0')
    app.unmount()
    await pause(1_100)
    expect(store.stats()).toMatchObject({ views: 0, listeners: idle })
  })

  test('a spec that is reactive through and through is followed', async () => {
    const spec = reactive({ table: 'leads' as const, filter: { in: { field: 'city' as const, values: ['Kiel'] } } })
    const { text } = mount({
      setup() {
        const view = useVueView<Able>(spec)
        return () => view.value.rows.map(({ id }) => id).join('')
      },
    })
    expect(text()).toBe('bc')
    spec.filter.in.values.push('Bremen')
    await nextTick()
    expect(text()).toBe('abc')
  })

  test('conflicts and peers stay current', async () => {
    const { app, text } = mount({
      setup() {
        const [conflicts, peers] = [useVueConflicts(), useVuePeers()]
        return () => `${conflicts.value.length} ${peers.value.length}`
      },
    })
    await conflict()
    backend.listener?.present?.([{ user: 'jonas', tab: 't', presence: { place: 'board', doing: 'idle' } }])
    await nextTick()
    expect(text()).toBe('1 1')
    app.unmount()
    expect(store.stats().listeners).toBe(idle)
  })
})
