// @vitest-environment happy-dom
import { init } from 'rota-engine'
import * as react from 'rota-engine/react'
import type { Caught } from 'rota-engine/react'
import * as vue from 'rota-engine/vue'
import { render } from '@testing-library/react'
import { beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createApp, h, nextTick } from 'vue'
import { boundSeeded, frameworks, openBound, until, type Around } from './bound.js'

beforeAll(init)
beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  vi.spyOn(console, 'warn').mockImplementation(() => {})
})

describe.each(frameworks)('in $name', ({ name, mount, after }) => {
  /** A component that fails until it is mended. */
  const frail = (around: readonly Around[]) => {
    const broken = { is: true }
    const mounted = mount(
      () => ({}),
      () => {
        if (broken.is) throw new Error('the dice are broken')
        return 'rolled'
      },
      around,
    )
    const button = (text: string) => [...mounted.element.querySelectorAll('button')].find(({ textContent }) => textContent === text)
    return { ...mounted, broken, button }
  }

  test('Error boundary functionality: what a component throws is caught and said, its neighbours go on, and retrying shows it again and sends what was given up', async () => {
    const backend = boundSeeded()
    const { store } = await openBound(backend)
    const onError = vi.fn()
    backend.pushFailures.push(...Array.from({ length: 2 }, () => new Error('no')))
    store.assignments.assign('companies', 'c1', 'maya')
    await until(() => expect(store.status().dead).toBe(1))
    const neighbour = mount(({ useRecords }) => useRecords('people') as readonly object[], (people) => people.length, [['RotaProvider', { store }]])
    const { element, broken, button } = frail([['RotaProvider', { store }], ['ErrorBoundary', { onError }]])
    await until(() => expect(element.querySelector('[role=alert]')?.textContent).toContain('Something went wrong here.'))
    // In development, the details too.
    expect(element.querySelector('details pre')?.textContent).toContain('the dice are broken')
    expect(onError.mock.calls).toEqual([[expect.objectContaining({ message: 'the dice are broken' }), { componentStack: expect.any(String) }]])
    expect(neighbour.element.textContent).toBe('2')
    broken.is = false
    await after(() => button('Try again')!.click())
    expect(element.textContent).toBe('rolled')
    await until(() => expect(backend.row('companies', 'c1')).toMatchObject({ owner_id: 'maya' }))
    expect(store.status().dead).toBe(0)
  })

  test('what goes on failing is caught again', async () => {
    const onError = vi.fn()
    const { element, button } = frail([['ErrorBoundary', { onError }]])
    await until(() => expect(element.querySelector('[role=alert]')).not.toBeNull())
    await after(() => button('Try again')!.click())
    await until(() => expect(onError.mock.calls.length).toBe(2))
    expect(element.querySelector('[role=alert]')).not.toBeNull()
  })

  test('a person may report it, where somebody takes the report, and reload', async () => {
    const onReport = vi.fn()
    const reload = vi.fn()
    vi.stubGlobal('location', { reload })
    const { element, button } = frail([['ErrorBoundary', { onReport, texts: { report: 'Melden' } }]])
    await until(() => expect(button('Melden')).toBeDefined())
    await after(() => button('Melden')!.click())
    expect(onReport.mock.calls).toEqual([[{ error: expect.objectContaining({ message: 'the dice are broken' }), componentStack: expect.any(String), atMs: expect.any(Number) }]])
    await after(() => button('Reload the page')!.click())
    expect(reload).toHaveBeenCalledTimes(1)
    const other = frail([['ErrorBoundary']])
    await until(() => expect(other.element.querySelectorAll('button')).toHaveLength(2))
    expect(element.querySelectorAll('button')).toHaveLength(3)
  })

  test('a handler hands over what no boundary would see by itself', async () => {
    const { element, state } = mount(({ useErrorHandler }) => ({ fail: useErrorHandler() }), () => 'fine', [['ErrorBoundary']])
    expect(element.textContent).toBe('fine')
    await after(() => state().fail(new Error('of a promise')))
    expect(element.querySelector('pre')?.textContent).toContain('of a promise')
  })

  test('a boundary goes on without a store above, and with one that is closed', async () => {
    const { store } = await openBound()
    const { element, broken, button } = frail([['RotaProvider', { store }], ['ErrorBoundary']])
    await until(() => expect(button('Try again')).toBeDefined())
    store.close()
    broken.is = false
    await after(() => button('Try again')!.click())
    expect(element.textContent).toBe('rolled')
  })

  test('a fallback of one’s own is given the error, and what to do', async () => {
    let caught: Caught | undefined
    let isBroken = true
    const onReport = vi.fn()
    const element = document.createElement('div')
    const roll = () => {
      if (isBroken) throw new Error('mine')
      return 'rolled'
    }
    if (name === 'React') {
      const Inner = () => <>{roll()}</>
      render(<react.ErrorBoundary onReport={onReport} fallback={(given) => ((caught = given), <b>my own</b>)}><Inner /></react.ErrorBoundary>, { container: element })
    } else {
      const Inner = { render: roll }
      createApp({ render: () => h(vue.ErrorBoundary, { onReport }, { default: () => [h(Inner as never)], fallback: (given: Caught) => ((caught = given), [h('b', 'my own')]) }) }).mount(element)
    }
    await until(() => expect(element.innerHTML).toContain('<b>my own</b>'))
    expect(caught?.error).toMatchObject({ message: 'mine' })
    caught?.report()
    expect(onReport).toHaveBeenCalledTimes(1)
    isBroken = false
    await after(() => caught?.retry())
    expect(element.textContent).toBe('rolled')
  })

  test('a component is wrapped in a boundary, and keeps its name and what it is given', async () => {
    const onError = vi.fn()
    const element = document.createElement('div')
    if (name === 'React') {
      const Roll = ({ sides }: { sides: number }) => {
        if (sides > 6) throw new Error('too many')
        return <>{sides}</>
      }
      const Guarded = react.withErrorBoundary(Roll, { onError })
      expect(Guarded.displayName).toBe('withErrorBoundary(Roll)')
      const { rerender } = render(<Guarded sides={6} />, { container: element })
      expect(element.textContent).toBe('6')
      rerender(<Guarded sides={20} />)
    } else {
      const Roll = { name: 'Roll', props: ['sides'], render: ({ sides }: { sides: number }) => { if (sides > 6) throw new Error('too many'); return String(sides) } }
      const Guarded = vue.withErrorBoundary(Roll as never, { onError })
      expect(Guarded.name).toBe('withErrorBoundary(Roll)')
      const app = createApp({ data: () => ({ sides: 6 }), render: ({ sides }: { sides: number }) => h(Guarded, { sides }) })
      const root = app.mount(element) as unknown as { sides: number }
      expect(element.textContent).toBe('6')
      root.sides = 20
      await nextTick()
    }
    await until(() => expect(onError).toHaveBeenCalledTimes(1))
    expect(element.querySelector('[role=alert]')).not.toBeNull()
  })
})
