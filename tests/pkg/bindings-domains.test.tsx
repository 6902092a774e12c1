// @vitest-environment happy-dom
import { act, cleanup, render, screen } from '@testing-library/react'
import { RotaProvider, useAvailability, useNotifications, useSyncEventHandlers, type AvailabilityActions } from 'rota-engine/react'
import { rotaPlugin, useAvailability as useVueAvailability, useNotifications as useVueNotifications, useSyncEventHandlers as useVueSyncEventHandlers } from 'rota-engine/vue'
import { StrictMode } from 'react'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createApp, nextTick } from 'vue'
import { boundSeeded, frameworks, openBound } from './bound.js'
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

test('createAvailability, updateAvailability, deleteAvailability and toggling show at once, in React and in Vue, and are told as such', async () => {
  const given: AvailabilityActions<Slot>[] = []
  const heard: string[] = []
  const tell = (what: string) => (_: unknown, key: string) => void heard.push(`${what} ${key}`)
  store.availability.watch({ availability_created: tell('created'), availability_updated: tell('updated'), availability_deleted: tell('deleted') })
  const Slots = () => {
    given.push(useAvailability<Slot>())
    return null
  }
  const { rerender } = render(<RotaProvider store={store}><Slots /></RotaProvider>)
  rerender(<RotaProvider store={store}><Slots /></RotaProvider>)
  expect(given.at(-1)).toBe(given[0])
  createApp({ setup: () => (given.push(useVueAvailability<Slot>()), () => null) }).use(rotaPlugin(store)).mount(document.createElement('div'))
  for (const [n, slots] of [given[0]!, given.at(-1)!].entries()) {
    const id = `by-hook-${n}`
    const shown = () => store.get('slots', id)
    slots.createAvailability({ ...slot(id), starts_at: `2027-01-1${n}T09:00`, ends_at: `2027-01-1${n}T10:00`, recurrence: null })
    slots.updateAvailability(id, { notes: 'in person' })
    expect(shown()).toMatchObject({ notes: 'in person', is_active: true })
    slots.toggleAvailability(id)
    expect(shown()?.is_active).toBe(false)
    expect(await slots.toggleAvailability(id, true).settled).toMatchObject({ outcome: 'confirmed' })
    expect(await slots.deleteAvailability(id).settled).toMatchObject({ outcome: 'confirmed' })
    expect(shown()).toBeUndefined()
    expect(heard.splice(0)).toEqual([`created ${id}`, `updated ${id}`, `updated ${id}`, `updated ${id}`, `deleted ${id}`])
  }
})

describe.each(frameworks)('in $name, of two tables of slots', ({ mount, after }) => {
  test('the hook names the one that it means', async () => {
    const declared = (store.tables as { slots: object }).slots
    const { store: both } = await openBound(boundSeeded(), { tables: { rooms: declared, people: declared } as never })
    const heard: string[] = []
    const { state } = mount(
      (bindings) => {
        bindings.useSyncEventHandlers<Slot>({ availability_created: (_, key) => heard.push(key) }, { table: 'rooms' as never })
        return bindings.useAvailability<Slot>({ table: 'rooms' as never })
      },
      () => '',
      [['RotaProvider', { store: both }]],
    )
    await after(() => void state().createAvailability({ ...slot('r1'), recurrence: null }))
    both.availability.in('people' as never).create({ ...slot('p1'), recurrence: null } as never)
    expect([both.all('rooms' as never).length, heard]).toEqual([1, ['r1']])
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
