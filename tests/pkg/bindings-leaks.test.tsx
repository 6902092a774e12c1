// @vitest-environment happy-dom
import { act } from '@testing-library/react'
import { createRoot } from 'react-dom/client'
import * as react from 'rota-engine/react'
import * as vue from 'rota-engine/vue'
import { expect, test } from 'vitest'
import { createApp, h, type Component, type VNode } from 'vue'
import { openBound, type BoundStore } from './bound.js'
import { pause } from './world.js'

const [ROUNDS, AT_ONCE] = [10, 1_000]

/** Calls every hook that subscribes to something. */
function useAll(bindings: typeof react): void {
  bindings.useAssignmentState({ entityType: 'companies', entityId: 'c1' })
  bindings.useRealtimeAssignmentSync({ onAssignmentChange: () => {} })
  bindings.useRealtime({ table: 'patients', filter: { eq: { field: 'ward', value: 'north' } } })
  bindings.useFormSubmissionUpdates(() => {})
  bindings.useProfileUpdates(() => {})
  bindings.useOwnProfile()
  bindings.useStale(() => {})
  bindings.useRealtimeAuth()
  bindings.useLiveInteraction()
  bindings.useInteractionEvents(() => {})
  bindings.useAssignment()
  bindings.useAssignmentError()
  bindings.useErrorHandler()
}

/** Those whose lists the engine keeps are many times dearer to open. */
function useLists(bindings: typeof react): void {
  bindings.useRealtimePatients()
  bindings.useRealtimeForms().edit('f1')
  bindings.useLiveInteractionNotifications({ settings: { turn: { sound: false } } })
}

const used = (at: number, bindings: typeof react) => (at % 50 === 0 ? useLists(bindings) : useAll(bindings))

const shown = { people: [{ id: 'maya', name: 'Maya' }], entityType: 'companies', entityId: 'c1' }

async function leavesNothing(mountAndUnmount: (store: BoundStore) => void): Promise<void> {
  const { store } = await openBound()
  store.interactions.subscribe(() => {})()
  const before = store.stats()
  const { gc } = globalThis as { gc?: () => void }
  const sizes: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    mountAndUnmount(store)
    // What was only rendered lingers for a second.
    await pause(1_100)
    expect(store.stats()).toEqual(before)
    gc?.()
    sizes.push(process.memoryUsage().heapUsed)
  }
  // A thousand components of each round would be some megabytes.
  expect(sizes.at(-1)! - sizes[2]!).toBeLessThan(5_000_000)
}

test('ten thousand components that came and went in React leave nothing behind', async () => {
  const Panel = ({ at }: { at: number }) => {
    used(at, react)
    return <react.UserAssignmentDisplay {...shown} />
  }
  await leavesNothing((store) => {
    // Not of the testing library, which remembers all that it has rendered.
    const root = createRoot(document.createElement('div'))
    const panels = (
      <react.RotaProvider store={store}>
        <react.AssignmentProvider>
          <react.LiveInteractionProvider>
            <react.ErrorBoundary>{Array.from({ length: AT_ONCE }, (_, at) => <Panel key={at} at={at} />)}</react.ErrorBoundary>
          </react.LiveInteractionProvider>
        </react.AssignmentProvider>
      </react.RotaProvider>
    )
    act(() => root.render(panels))
    expect(store.stats().listeners).toBeGreaterThan(5 * AT_ONCE)
    act(() => root.unmount())
  })
}, 300_000)

test('ten thousand components that came and went in Vue leave nothing behind', async () => {
  const around = [vue.AssignmentProvider, vue.LiveInteractionProvider, vue.ErrorBoundary] as Component[]
  const Panel: Component = {
    props: ['at'],
    setup(props: object) {
      used((props as { at: number }).at, vue as never)
      return () => h(vue.UserAssignmentDisplay, shown)
    },
  }
  const tree = (depth: number): VNode[] => (around[depth] ? [h(around[depth], {}, { default: () => tree(depth + 1) })] : Array.from({ length: AT_ONCE }, (_, at) => h(Panel, { at })))
  await leavesNothing((store) => {
    const app = createApp({ render: () => h(vue.RotaProvider, { store }, { default: () => tree(0) }) })
    app.mount(document.createElement('div'))
    expect(store.stats().listeners).toBeGreaterThan(5 * AT_ONCE)
    app.unmount()
  })
}, 300_000)
