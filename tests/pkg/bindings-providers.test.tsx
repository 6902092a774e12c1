// @vitest-environment happy-dom
import { createStore, init, type Store } from 'rota-engine'
import * as react from 'rota-engine/react'
import * as vue from 'rota-engine/vue'
import { createApp, h, nextTick, ref } from 'vue'
import { act, render } from '@testing-library/react'
import { StrictMode } from 'react'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import type { Waiting } from 'rota-engine/react'
import { boundOptions, boundSeeded, boundTables, frameworks, inStrictReact, openBound, until, type Around } from './bound.js'
import { isLive, pause } from './world.js'

beforeAll(init)

/** The name of the store that a component was given, and how often it has seen another one. */
const stores = (seen: Set<Store>) => (bindings: typeof react) => {
  const store = bindings.useStore()
  seen.add(store)
  return { count: bindings.useRecords('people') }
}

describe.each([...frameworks, inStrictReact])('in $name', ({ mount, after }) => {
  const panel = (seen: Set<Store>, options: object, more: object = {}) =>
    mount(stores(seen), () => 'there', [['RotaProvider', { options, fallback: 'wait', ...more }]] as readonly Around[])

  test('a provider opens a store, which everything below shares, and closes it when it goes', async () => {
    const backend = boundSeeded()
    const seen = new Set<Store>()
    const { element, unmount } = panel(seen, boundOptions(backend))
    expect(element.textContent).toBe('wait')
    await until(() => expect(element.textContent).toBe('there'))
    const [store] = seen
    await after(() => isLive(store!))
    expect([seen.size, backend.connects]).toEqual([1, 1])
    unmount()
    expect(store!.isClosed).toBe(true)
    await until(() => expect(backend.disconnects).toBe(1))
    expect(backend.listener).toBeUndefined()
  })

  test('a provider that is given a store neither opens nor closes it', async () => {
    const { store } = await openBound()
    const seen = new Set<Store>()
    const { element, unmount } = mount(stores(seen), () => 'there', [['RotaProvider', { store }]])
    expect(element.textContent).toBe('there')
    unmount()
    expect([store.isClosed, [...seen][0] === store]).toEqual([false, true])
  })

  test('two providers of one application and person share a store, and the last that goes closes it', async () => {
    const backend = boundSeeded()
    const options = boundOptions(backend)
    const seen = new Set<Store>()
    const [one, other] = [panel(seen, options), panel(seen, options)]
    await until(() => expect([one.element.textContent, other.element.textContent]).toEqual(['there', 'there']))
    const [store] = seen
    expect([seen.size, backend.connects]).toEqual([1, 1])
    one.unmount()
    expect(store!.isClosed).toBe(false)
    other.unmount()
    expect(store!.isClosed).toBe(true)
  })

  test('a component that goes before its store is open opens none, and one that comes again opens a new one', async () => {
    const backend = boundSeeded()
    const options = boundOptions(backend)
    panel(new Set(), options).unmount()
    await pause(5)
    expect(backend.connects).toBe(0)
    const first = new Set<Store>()
    const before = panel(first, options)
    await until(() => expect(before.element.textContent).toBe('there'))
    before.unmount()
    const second = new Set<Store>()
    const later = panel(second, options)
    await until(() => expect(later.element.textContent).toBe('there'))
    expect([...first][0]).not.toBe([...second][0])
  })

  test('a component opts in alone, with a store of its own, beside another and beside code that syncs by hand', async () => {
    const { store: byHand } = await openBound()
    const seen = new Set<Store>()
    const outer = boundOptions()
    const inner = boundOptions()
    const island = mount(({ useRotaStore }) => ({ own: useRotaStore(inner) }), ({ own }) => (own ? 'open' : 'none'), [['RotaProvider', { options: outer }]])
    const whole = panel(seen, outer)
    await until(() => expect([island.element.textContent, whole.element.textContent]).toEqual(['open', 'there']))
    const { own } = island.state()
    expect(own).not.toBe([...seen][0])
    island.unmount()
    expect([own!.isClosed, [...seen][0]!.isClosed, byHand.isClosed]).toEqual([true, false, false])
  })

  test('once the person has logged out nothing of theirs is rendered', async () => {
    const seen = new Set<Store>()
    const { element, unmount } = panel(seen, boundOptions())
    await until(() => expect(element.textContent).toBe('there'))
    const [store] = seen
    await after(async () => {
      await isLive(store!)
      await store!.logout()
      await pause(5)
    })
    expect(element.textContent).toBe('wait')
    expect(() => unmount()).not.toThrow()
  })

  test('when the same person signs in again, the fallback opens the store anew, for all who had it', async () => {
    const [options, seen, alone] = [boundOptions(), new Set<Store>(), new Set<Store>()]
    const told: Waiting[] = []
    const fallback = (waiting: Waiting) => {
      told.push(waiting)
      return waiting.isSignedOut ? 'who are you?' : 'wait'
    }
    const one = panel(seen, options, { fallback })
    const other = panel(alone, options)
    await until(() => expect([one.element.textContent, other.element.textContent]).toEqual(['there', 'there']))
    const [store] = seen
    await after(async () => {
      await isLive(store!)
      await store!.logout()
      await pause(5)
    })
    expect([one.element.textContent, other.element.textContent]).toEqual(['who are you?', 'wait'])
    await after(() => {
      told.at(-1)!.reopen()
      told.at(-1)!.reopen()
    })
    await until(() => expect([one.element.textContent, other.element.textContent]).toEqual(['there', 'there']))
    const again = [...seen].at(-1)!
    expect([again.isClosed, again === store, [...alone].at(-1) === again]).toEqual([false, false, true])
    one.unmount()
    expect(again.isClosed).toBe(false)
    other.unmount()
    expect(again.isClosed).toBe(true)
  })

  test('while nobody is signed in there is no store, and the next time the same person is, there is', async () => {
    const backend = boundSeeded()
    const options = boundOptions(backend)
    const seen: Store[] = []
    const { element, again } = mount(
      ({ useRotaStore }, more) => {
        const isVue = 'value' in more
        return { own: useRotaStore((isVue ? () => (more as { value: { given: never } }).value.given : more.given) as never) as Store | undefined }
      },
      ({ own }) => {
        if (own && !seen.includes(own)) seen.push(own)
        return own ? 'open' : 'none'
      },
      [],
      { given: null },
    )
    await pause(5)
    expect([element.textContent, backend.connects]).toEqual(['none', 0])
    await after(() => again({ given: options }))
    await until(() => expect(element.textContent).toBe('open'))
    await after(() => again({ given: null }))
    expect([element.textContent, seen[0]!.isClosed]).toEqual(['none', true])
    await after(() => again({ given: options }))
    await until(() => expect(element.textContent).toBe('open'))
    expect(seen.map(({ isClosed }) => isClosed)).toEqual([true, false])
  })

  test('a component that means other tables by the same store is told so by name, and the first one goes on', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const options = boundOptions()
    const seen = new Set<Store>()
    const first = panel(seen, options)
    await until(() => expect(first.element.textContent).toBe('there'))
    const { people, companies, ...others } = boundTables
    const onError = vi.fn()
    const tables = { companies: { ...companies, indexed: ['name'] }, ...others, orders: people }
    mount(stores(new Set()), () => 'there', [['ErrorBoundary', { onError }], ['RotaProvider', { options: { ...options, tables } }]])
    await until(() => expect(onError).toHaveBeenCalled())
    const { code, message } = onError.mock.calls[0]![0] as { code: string; message: string }
    expect([code, message]).toEqual(['duplicate-store', expect.stringContaining('"people" is declared only there, "companies" is declared differently, "orders" is declared only here')])
    expect([first.element.textContent, [...seen][0]!.isClosed]).toEqual(['there', false])
    // The same, said in another order, is the same.
    const same = panel(new Set(), { ...options, tables: Object.fromEntries(Object.entries(boundTables).reverse().map(([name, { fields, ...more }]) => [name, { fields: [...fields].reverse(), ...more }])) })
    await until(() => expect(same.element.textContent).toBe('there'))
  })

  test('a store that can’t be opened ends in the boundary above', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const onError = vi.fn()
    const { element } = mount(stores(new Set()), () => 'there', [['ErrorBoundary', { onError }], ['RotaProvider', { options: boundOptions(undefined, { concurrency: 0 }) }]])
    await until(() => expect(element.querySelector('[role=alert]')?.textContent).toContain('concurrency'))
    expect(onError.mock.calls[0]![0]).toMatchObject({ code: 'invalid-configuration' })
  })

  test('a store that somebody else has opened is not taken over, and not closed', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    const options = boundOptions()
    const mine = createStore({ ...options, storage: 'auto' })
    const onError = vi.fn()
    const { unmount } = mount(stores(new Set()), () => 'there', [['ErrorBoundary', { onError }], ['RotaProvider', { options }]])
    await until(() => expect(onError).toHaveBeenCalled())
    expect(onError.mock.calls[0]![0]).toMatchObject({ code: 'duplicate-store' })
    unmount()
    expect(mine.isClosed).toBe(false)
    mine.close()
  })
})

test('another person gets another store, and sees nothing of the first one’s for a moment even', async () => {
  const [backend, options] = [boundSeeded(), boundOptions()]
  const shown: string[] = []
  const seen: Store[] = []
  const Who = ({ user }: { user: string }) => {
    const store = react.useStore()
    if (!seen.includes(store)) seen.push(store)
    shown.push(`${user} ${seen.indexOf(store)}`)
    return <>{user}</>
  }
  const page = (user: string) => <StrictMode><react.RotaProvider options={{ ...options, backend, user }} fallback="wait"><Who user={user} /></react.RotaProvider></StrictMode>
  const { container, rerender } = render(page('maya'))
  await until(() => expect(container.textContent).toBe('maya'))
  rerender(page('jonas'))
  expect(container.textContent).toBe('wait')
  await until(() => expect(container.textContent).toBe('jonas'))
  expect(new Set(shown)).toEqual(new Set(['maya 0', 'jonas 1']))
  expect(seen.map(({ isClosed }) => isClosed)).toEqual([true, false])
})

test('so it is in Vue', async () => {
  const [backend, options] = [boundSeeded(), boundOptions()]
  const user = ref('maya')
  const seen: Store[] = []
  const shown: string[] = []
  const Who = {
    setup() {
      const store = vue.useStore()
      seen.push(store)
      return () => {
        shown.push(`${user.value} ${seen.indexOf(store)}`)
        return user.value
      }
    },
  }
  const element = document.createElement('div')
  const app = createApp({ render: () => h(vue.RotaProvider, { options: { ...options, backend, user: user.value } }, { default: () => [h(Who)], fallback: () => ['wait' as never] }) })
  app.mount(element)
  await until(() => expect(element.textContent).toBe('maya'))
  user.value = 'jonas'
  await nextTick()
  expect(element.textContent).toBe('wait')
  await until(() => expect(element.textContent).toBe('jonas'))
  expect(new Set(shown)).toEqual(new Set(['maya 0', 'jonas 1']))
  expect(seen.map(({ isClosed }) => isClosed)).toEqual([true, false])
  app.unmount()
  expect(seen[1]!.isClosed).toBe(true)
})

test('other options that mean the same store leave it open', async () => {
  const backend = boundSeeded()
  const options = boundOptions(backend)
  const seen = new Set<Store>()
  const Who = () => {
    seen.add(react.useStore())
    return null
  }
  const page = () => <react.RotaProvider options={{ ...options }}><Who /></react.RotaProvider>
  const { rerender } = render(page())
  await until(() => expect(seen.size).toBe(1))
  act(() => rerender(page()))
  await pause(5)
  expect([seen.size, backend.connects]).toEqual([1, 1])
})
