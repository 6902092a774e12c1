// @vitest-environment happy-dom
import { act, cleanup, render as renderReact, screen } from '@testing-library/react'
import { RotaProvider, useRecord as useReactRecord } from 'rota-engine/react'
import { provideRota, rotaPlugin, useAssignmentState, useOperations, useRecord, useRecords, useStatus, useStore, type UseAssignmentState } from 'rota-engine/vue'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createApp, createSSRApp, defineComponent, effectScope, h, nextTick, ref, type App, type Component } from 'vue'
import { renderToString } from 'vue/server-renderer'
import { openLive, type World } from './world.js'

;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true

type Tables = World['store']['tables']
let store: World['store']
let backend: World['backend']
let idle: number
const apps: App[] = []

beforeEach(async () => {
  ;({ store, backend } = await openLive())
  idle = store.stats().listeners
})
afterEach(() => {
  for (const app of apps.splice(0)) app.unmount()
  cleanup()
})

function mount(component: Component): { app: App; text: () => string | null } {
  const root = document.createElement('div')
  const app = createApp(component)
  app.use(rotaPlugin(store))
  app.mount(root)
  apps.push(app)
  return { app, text: () => root.textContent }
}

const patch = (key: string, city: string) => store.mutate({ name: 'patch', table: 'companies', key, set: { city } })

describe('composables', () => {
  test('a record, a list, the status and the operations stay current', async () => {
    backend.hold()
    const { text } = mount({
      setup() {
        const [record, people, status, operations] = [useRecord<Tables, 'companies'>('companies', 'c1'), useRecords('people'), useStatus(), useOperations()]
        return () => [record.value?.city, people.value.length, status.value.unsent, operations.value.pending.length].join(' ')
      },
    })
    expect(text()).toBe('Bremen 2 0 0')
    patch('c1', 'Kiel')
    backend.put('people', { id: 'lena', name: 'Lena' })
    await nextTick()
    expect(text()).toBe('Kiel 3 1 1')
  })

  test('a record is the store’s own object', () => {
    mount({
      setup() {
        expect(useRecord('companies', 'c1').value).toBe(store.get('companies', 'c1'))
        return () => null
      },
    })
  })

  test('a component renders only for what it reads', async () => {
    let renders = 0
    mount({
      setup() {
        const record = useRecord<Tables, 'companies'>('companies', 'c1')
        return () => {
          renders++
          return record.value?.city
        }
      },
    })
    patch('c2', 'Kiel')
    backend.put('people', { id: 'lena', name: 'Lena' })
    await nextTick()
    expect(renders).toBe(1)
  })

  test('a reactive key switches the subscription, a composite one too', async () => {
    const id = ref('c1')
    const day = ref(42)
    const { text } = mount({
      setup() {
        const [company, shift] = [useRecord<Tables, 'companies'>('companies', id), useRecord<Tables, 'shifts'>('shifts', () => ['north', day.value])]
        return () => `${company.value?.name} ${shift.value?.day}`
      },
    })
    expect(text()).toBe('Harbour Optics 42')
    id.value = 'c2'
    day.value = 43
    await nextTick()
    expect(text()).toBe('North Mill undefined')
    expect(store.stats().listeners).toBe(idle + 2)
    store.mutate({ name: 'insert', table: 'shifts', record: { site: 'north', day: 43, who: null } })
    await nextTick()
    expect(text()).toBe('North Mill 43')
  })

  test('an unmounted component and a stopped scope leave nothing behind', () => {
    const { app } = mount({
      setup() {
        useRecord('companies', 'c1')
        useRecords('people')
        useStatus()
        useOperations()
        useAssignmentState({ entityType: 'companies', entityId: 'c1' })
        return () => null
      },
    })
    expect(store.stats().listeners).toBe(idle + 7)
    const scope = effectScope()
    app.runWithContext(() => scope.run(() => useRecord('companies', 'c2')))
    expect(store.stats().listeners).toBe(idle + 8)
    scope.stop()
    expect(store.stats().listeners).toBe(idle + 7)
    apps.pop()
    app.unmount()
    expect(store.stats().listeners).toBe(idle)
  })

  test('without a store says what is missing', () => {
    const app = createApp({ setup: () => (useStore(), () => null) })
    app.config.errorHandler = (error) => {
      throw error
    }
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    expect(() => app.mount(document.createElement('div'))).toThrowError(expect.objectContaining({ code: 'no-provider' }))
  })

  test('provideRota gives a store to what is below', () => {
    const Below = defineComponent({ setup: () => { const given = useStore(); return () => String(given.isClosed) } })
    const root = document.createElement('div')
    const app = createApp({ setup: () => (provideRota(store), () => h(Below)) })
    apps.push(app)
    app.mount(root)
    expect(root.textContent).toBe('false')
  })

  test('rendering on a server shows what is there, and leaves nothing behind', async () => {
    const app = createSSRApp({
      setup() {
        const [record, status, { ownerName }] = [useRecord<Tables, 'companies'>('companies', 'c2'), useStatus(), useAssignmentState({ entityType: 'companies', entityId: 'c2' })]
        return () => h('p', [record.value?.name, status.value.link.state, ownerName.value].join(' '))
      },
    })
    app.use(rotaPlugin(store))
    expect(await renderToString(app)).toBe('<p>North Mill offline Jonas</p>')
    expect(store.stats().listeners).toBe(idle)
  })
})

describe('useAssignmentState', () => {
  let state: UseAssignmentState
  const onSuccess = vi.fn()
  const onError = vi.fn()
  const read = () => ({ ownerId: state.ownerId.value, ownerName: state.ownerName.value, isUpdating: state.isUpdating.value, error: state.error.value, canAssign: state.canAssign.value, isLoading: state.isLoading.value })
  const owner = (id = 'c1') =>
    mount({
      setup() {
        state = useAssignmentState({ entityType: 'companies', entityId: id, onSuccess, onError })
        return () => state.ownerName.value
      },
    })

  beforeEach(() => {
    onSuccess.mockClear()
    onError.mockClear()
  })

  test('shows the new owner at once, and calls onSuccess once', async () => {
    const { text } = owner()
    expect(read()).toEqual({ ownerId: null, ownerName: null, isUpdating: false, error: null, canAssign: true, isLoading: false })
    const { id, settled } = state.assignToUser('maya')
    expect(read()).toMatchObject({ ownerId: 'maya', ownerName: 'Maya', isUpdating: true })
    await nextTick()
    expect(text()).toBe('Maya')
    await settled
    expect(read()).toMatchObject({ ownerId: 'maya', isUpdating: false })
    expect(onSuccess.mock.calls).toEqual([[{ id, outcome: 'confirmed', entityType: 'companies', entityId: 'c1', userId: 'maya' }]])
    expect(onError).not.toHaveBeenCalled()
  })

  test('a refusal brings the confirmed owner back and says why, until the next try; unassigning reads as nobody at once', async () => {
    owner('c2')
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
    await state.assignToUser('lena').settled
    expect(read()).toMatchObject({ ownerName: 'Jonas', isUpdating: false, error: { code: 'forbidden', message: 'no' } })
    expect(onError).toHaveBeenCalledTimes(1)
    backend.judge = undefined
    const { settled } = state.assignToUser(null)
    expect(read()).toMatchObject({ ownerId: null, ownerName: null, isUpdating: true, error: null })
    await settled
    expect(onSuccess).toHaveBeenCalledTimes(1)
  })

  test('the name reads as updating until it is known', () => {
    owner()
    state.assignToUser('lena')
    expect(state.ownerName.value).toBe('Updating...')
    backend.put('people', { id: 'lena', name: 'Lena' })
    expect(state.ownerName.value).toBe('Lena')
  })
})

test('a React and a Vue component share one store, and each sees at once what the other does', async () => {
  let vue: UseAssignmentState | undefined
  const { text } = mount({
    setup() {
      vue = useAssignmentState({ entityType: 'companies', entityId: 'c1' })
      return () => vue?.ownerName.value ?? 'nobody'
    },
  })
  const ReactOwner = () => <p data-testid="react">{useReactRecord<Tables, 'companies'>('companies', 'c1')?.owner_id ?? 'nobody'}</p>
  backend.hold()
  renderReact(<RotaProvider store={store}><ReactOwner /></RotaProvider>)
  act(() => void vue?.assignToUser('maya'))
  expect(screen.getByTestId('react').textContent).toBe('maya')
  act(() => void store.assignments.assign('companies', 'c1', 'jonas'))
  await nextTick()
  expect(text()).toBe('Jonas')
  expect(screen.getByTestId('react').textContent).toBe('jonas')
})
