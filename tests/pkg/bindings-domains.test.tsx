// @vitest-environment happy-dom
import { act, cleanup, render, screen } from '@testing-library/react'
import { RotaProvider, useNotifications, useSyncEventHandlers } from 'rota-engine/react'
import { rotaPlugin, useNotifications as useVueNotifications, useSyncEventHandlers as useVueSyncEventHandlers } from 'rota-engine/vue'
import { StrictMode } from 'react'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createApp, nextTick } from 'vue'
import { openDomainsLive, slot, type Slot } from './domains.js'

;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true

let store: Awaited<ReturnType<typeof openDomainsLive>>['store']
let idle: number
beforeEach(async () => {
  ;({ store } = await openDomainsLive())
  idle = store.stats().listeners
})
afterEach(cleanup)

const say = (message: string) => store.notifications.createNotification({ kind: 'turn', message, id: message })

describe('in React', () => {
  test('a component shows its notifications, and renders again only when one comes or goes', () => {
    let renders = 0
    const Bell = () => {
      renders++
      return <p data-testid="bell">{useNotifications('bell').map(({ message }) => message).join()}</p>
    }
    const { unmount } = render(<RotaProvider store={store}><Bell /></RotaProvider>)
    act(() => void say('one'))
    expect([screen.getByTestId('bell').textContent, renders]).toEqual(['one', 2])
    act(() => store.notifications.configure('elsewhere', { turn: { enabled: false } }))
    expect(renders).toBe(2)
    act(() => store.notifications.close('one'))
    expect([screen.getByTestId('bell').textContent, renders]).toEqual(['', 3])
    unmount()
    expect(store.stats().listeners).toBe(idle)
  })

  test('a component hears of slots with the handlers of its last render, once, until it goes', () => {
    const heard: string[] = []
    const Ear = ({ name }: { name: string }) => {
      useSyncEventHandlers<Slot>({ availability_created: ({ id }) => heard.push(`${name} ${id}`), availability_deleted: (_, key) => heard.push(`${name} without ${key}`) })
      return null
    }
    const view = (name: string) => <StrictMode><RotaProvider store={store}><Ear name={name} /></RotaProvider></StrictMode>
    const { rerender, unmount } = render(view('first'))
    act(() => void store.availability.create(slot('s1')))
    rerender(view('second'))
    act(() => void store.availability.remove('s1'))
    expect(heard).toEqual(['first s1', 'second without s1'])
    unmount()
    expect(store.stats().listeners).toBe(idle)
  })
})

test('in Vue a component shows its notifications and hears of slots, until it goes', async () => {
  const heard: string[] = []
  const app = createApp({
    setup() {
      const shown = useVueNotifications('bell')
      useVueSyncEventHandlers<Slot>({ availability_updated: ({ id }) => void heard.push(id) })
      return () => shown.value.map(({ message }) => message).join()
    },
  })
  const root = document.createElement('div')
  app.use(rotaPlugin(store)).mount(root)
  say('one')
  await nextTick()
  expect(root.textContent).toBe('one')
  store.availability.create(slot('s1'))
  store.availability.update('s1', { notes: 'x' })
  expect(heard).toEqual(['s1'])
  app.unmount()
  expect(store.stats().listeners).toBe(idle)
})
