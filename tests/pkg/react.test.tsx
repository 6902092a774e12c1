// @vitest-environment happy-dom
// Counting renders, and handing out what a hook returned, is the point here.
/* oxlint-disable react/immutability, react/globals */
import { act, cleanup, render, screen } from '@testing-library/react'
import { UPDATING } from 'rota-engine'
import { RotaProvider, useAssignmentState, useOperations, useRecord, useRecords, useStatus, useStore, type UseAssignmentState } from 'rota-engine/react'
import { Component, StrictMode, useState, type ReactNode } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openLive, pause, until, type World } from './world.js'

;(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true

let store: World['store']
let backend: World['backend']
let idle: number

beforeEach(async () => {
  ;({ store, backend } = await openLive())
  idle = store.stats().listeners
})
afterEach(cleanup)

const given = (children: ReactNode) => <RotaProvider store={store}>{children}</RotaProvider>
const patch = (key: string, city: string) => act(() => store.mutate({ name: 'patch', table: 'companies', key, set: { city } }))
const settle = async (mutated: { settled: Promise<unknown> }) => act(async () => void (await mutated.settled))

describe('a component', () => {
  test('renders again only when the record it reads has changed', () => {
    const renders = { c1: 0, c2: 0 }
    const City = ({ id }: { id: 'c1' | 'c2' }) => {
      renders[id]++
      const record = useRecord<World['store']['tables'], 'companies'>('companies', id)
      return <p data-testid={id}>{record?.city}</p>
    }
    render(given([<City key="1" id="c1" />, <City key="2" id="c2" />]))
    expect(renders).toEqual({ c1: 1, c2: 1 })
    backend.hold()
    patch('c1', 'Kiel')
    expect(screen.getByTestId('c1').textContent).toBe('Kiel')
    expect(renders).toEqual({ c1: 2, c2: 1 })
    act(() => backend.put('people', { id: 'lena', name: 'Lena' }))
    expect(renders).toEqual({ c1: 2, c2: 1 })
  })

  test('renders again once when many things change in one go', () => {
    let renders = 0
    const List = () => {
      renders++
      return <p data-testid="list">{useRecords('companies').length}</p>
    }
    render(given(<List />))
    act(() => backend.tell(...Array.from({ length: 50 }, (_, at) => ({ table: 'companies', kind: 'changed', row: { id: `n${at}`, name: '', city: null, owner_id: null, extra: null, rota_version: String(5000 + at) } }))))
    expect(screen.getByTestId('list').textContent).toBe('52')
    expect(renders).toBe(2)
  })

  test('of the status does not render for a change of a record, nor one of the operations for an event', () => {
    const renders = { status: 0, operations: 0 }
    const Status = () => {
      renders.status++
      return <p data-testid="unsent">{useStatus().unsent}</p>
    }
    const Operations = () => {
      renders.operations++
      return <p data-testid="pending">{useOperations().pending.length}</p>
    }
    render(given([<Status key="1" />, <Operations key="2" />]))
    act(() => backend.put('people', { id: 'lena', name: 'Lena' }))
    expect(renders).toEqual({ status: 1, operations: 1 })
    backend.hold()
    patch('c1', 'Kiel')
    expect(screen.getByTestId('unsent').textContent).toBe('1')
    expect(screen.getByTestId('pending').textContent).toBe('1')
  })

  test('may give a composite key as a new list each time, and subscribes once', () => {
    const subscribe = vi.spyOn(store, 'subscribe')
    let again = () => {}
    let renders = 0
    const Shift = () => {
      renders++
      const [, set] = useState(0)
      again = () => set((count) => count + 1)
      return <p data-testid="who">{useRecord<World['store']['tables'], 'shifts'>('shifts', ['north', 42])?.who}</p>
    }
    render(given(<Shift />))
    act(() => again())
    act(() => again())
    expect(subscribe).toHaveBeenCalledTimes(1)
    backend.hold()
    act(() => void store.mutate({ name: 'patch', table: 'shifts', key: ['north', 42], set: { who: 'maya' } }))
    expect(screen.getByTestId('who').textContent).toBe('maya')
    expect(renders).toBe(4)
  })

  test('shows the other record when its key changes, and watches only that', () => {
    const City = ({ id }: { id: string }) => <p data-testid="city">{useRecord<World['store']['tables'], 'companies'>('companies', id)?.name}</p>
    const view = render(given(<City id="c1" />))
    view.rerender(given(<City id="c2" />))
    expect(screen.getByTestId('city').textContent).toBe('North Mill')
    expect(store.stats().listeners).toBe(idle + 1)
  })

  test('that is unmounted leaves nothing behind, in StrictMode too', () => {
    const All = () => {
      useRecord('companies', 'c1')
      useRecords('people')
      useStatus()
      useOperations()
      return <>{useAssignmentState({ entityType: 'companies', entityId: 'c1' }).ownerName}</>
    }
    const view = render(<StrictMode>{given(<All />)}</StrictMode>)
    expect(store.stats().listeners).toBe(idle + 7)
    view.unmount()
    expect(store.stats().listeners).toBe(idle)
  })

  test('without a provider is told what is missing', () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    const Lost = () => <>{useStore().isClosed}</>
    expect(() => render(<Lost />)).toThrowError(expect.objectContaining({ code: 'no-provider', message: expect.stringContaining('<RotaProvider store={…}>') }))
  })

  test('of an unknown table ends in the error boundary', () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    class Boundary extends Component<{ children: ReactNode }, { code?: string }> {
      override state: { code?: string } = {}
      static getDerivedStateFromError = ({ code }: { code: string }) => ({ code })
      override render() {
        return this.state.code ? <p data-testid="code">{this.state.code}</p> : this.props.children
      }
    }
    const Wrong = () => <>{useRecords('nope').length}</>
    render(given(<Boundary><Wrong /></Boundary>))
    expect(screen.getByTestId('code').textContent).toBe('unknown-table')
  })

  test('is empty at the next rendering after the store was closed, and unmounts without harm', () => {
    const City = () => <p data-testid="city">{useRecord<World['store']['tables'], 'companies'>('companies', 'c1')?.city}</p>
    const view = render(given(<City />))
    store.close()
    expect(screen.getByTestId('city').textContent).toBe('Bremen')
    view.rerender(given(<City />))
    expect(screen.getByTestId('city').textContent).toBe('')
    expect(() => view.unmount()).not.toThrow()
  })

  test('renders on a server, without subscribing', () => {
    const Panel = () => {
      const { ownerName, canAssign } = useAssignmentState({ entityType: 'companies', entityId: 'c2' })
      return <p>{[useRecord<World['store']['tables'], 'companies'>('companies', 'c1')?.city, useRecords('companies').length, useStatus().link.state, useOperations().pending.length, ownerName, String(canAssign)].join(' ')}</p>
    }
    expect(renderToString(given(<Panel />))).toBe('<p>Bremen 2 offline 0 Jonas true</p>')
    expect(store.stats().listeners).toBe(idle)
  })
})

describe('useAssignmentState', () => {
  let state: UseAssignmentState
  let renders = 0
  const onSuccess = vi.fn()
  const onError = vi.fn()
  const Owner = ({ id = 'c1', name = 'first' }: { id?: string; name?: string }) => {
    renders++
    state = useAssignmentState({
      entityType: 'companies',
      entityId: id,
      onSuccess: (settlement) => onSuccess(name, settlement),
      onError: (error) => onError(name, error),
    })
    return <p data-testid="owner">{state.ownerName}</p>
  }

  beforeEach(() => {
    renders = 0
    onSuccess.mockClear()
    onError.mockClear()
  })

  const assign = (to: string | null) => {
    let mutated: ReturnType<UseAssignmentState['assignToUser']> | undefined
    act(() => {
      mutated = state.assignToUser(to)
    })
    return mutated!
  }

  test('shows the new owner at once, is updating until the answer, and calls onSuccess once', async () => {
    render(given(<Owner />))
    expect(state).toMatchObject({ ownerId: null, ownerName: null, isLoading: false, isUpdating: false, error: null, canAssign: true })
    backend.hold()
    const mutated = assign('maya')
    expect(state).toMatchObject({ ownerId: 'maya', ownerName: 'Maya', isUpdating: true })
    backend.release()
    await settle(mutated)
    expect(state).toMatchObject({ ownerId: 'maya', ownerName: 'Maya', isUpdating: false, error: null })
    expect(onSuccess.mock.calls).toEqual([['first', { id: mutated.id, outcome: 'confirmed', entityType: 'companies', entityId: 'c1', userId: 'maya' }]])
    expect(onError).not.toHaveBeenCalled()
  })

  test('the name reads as updating until it is known', () => {
    render(given(<Owner />))
    backend.hold()
    assign('lena')
    expect(screen.getByTestId('owner').textContent).toBe(UPDATING)
    expect(UPDATING).toBe('Updating...')
    act(() => backend.put('people', { id: 'lena', name: 'Lena' }))
    expect(screen.getByTestId('owner').textContent).toBe('Lena')
  })

  test('unassigning reads as nobody at once', async () => {
    render(given(<Owner id="c2" />))
    expect(state.ownerName).toBe('Jonas')
    const mutated = assign(null)
    expect(state).toMatchObject({ ownerId: null, ownerName: null, isUpdating: true })
    await settle(mutated)
    expect(backend.row('companies', 'c2')).toMatchObject({ owner_id: null })
  })

  test('a refusal brings the confirmed owner back and says why, until the next try', async () => {
    render(given(<Owner id="c2" />))
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'only members of Sales' })
    const refused = assign('maya')
    await settle(refused)
    expect(state).toMatchObject({ ownerId: 'jonas', isUpdating: false, error: { operationId: refused.id, outcome: 'refused', code: 'forbidden', message: 'only members of Sales' } })
    expect(onError.mock.calls).toEqual([['first', { operationId: refused.id, outcome: 'refused', code: 'forbidden', message: 'only members of Sales', entityType: 'companies', entityId: 'c2', userId: 'maya' }]])
    backend.judge = undefined
    backend.hold()
    const again = assign('maya')
    expect(state).toMatchObject({ ownerId: 'maya', isUpdating: true, error: null })
    backend.release()
    await settle(again)
    expect(state.error).toBeNull()
    expect(onError).toHaveBeenCalledTimes(1)
  })

  test('a lost race shows the winner', async () => {
    render(given(<Owner />))
    backend.judge = () => {
      backend.put('companies', { id: 'c1', name: 'Harbour Optics', city: 'Bremen', owner_id: 'jonas', extra: null }, { silently: true })
      return { outcome: 'conflicted', code: 'taken', message: 'somebody else was assigned first', fields: ['owner_id'] }
    }
    await settle(assign('maya'))
    expect(state).toMatchObject({ ownerName: 'Jonas', error: { outcome: 'conflicted', code: 'taken' } })
  })

  test('the callbacks of the last render are called', async () => {
    const view = render(given(<Owner name="first" />))
    backend.hold()
    const mutated = assign('maya')
    view.rerender(given(<Owner name="second" />))
    backend.release()
    await settle(mutated)
    expect(onSuccess.mock.calls.map(([name]) => name as string)).toEqual(['second'])
  })

  test('assignToUser is the same function from render to render', () => {
    const view = render(given(<Owner />))
    const { assignToUser } = state
    view.rerender(given(<Owner />))
    expect(state.assignToUser).toBe(assignToUser)
  })

  test('another component’s assignment shows in all, and a change of another field renders none', () => {
    render(given([<Owner key="1" />, <Owner key="2" />]))
    backend.hold()
    const before = renders
    act(() => void store.assignments.assign('companies', 'c1', 'maya'))
    expect(screen.getAllByTestId('owner').map(({ textContent }) => textContent)).toEqual(['Maya', 'Maya'])
    expect(renders).toBe(before + 2)
    patch('c1', 'Kiel')
    act(() => backend.put('people', { id: 'lena', name: 'Lena' }))
    expect(renders).toBe(before + 2)
  })

  test('one that leaves does not make the others render', () => {
    const Pair = ({ both }: { both: boolean }) => given([<Owner key="1" />, both && <Owner key="2" />])
    const view = render(<Pair both />)
    view.rerender(<Pair both={false} />)
    const before = renders
    patch('c1', 'Kiel')
    expect(renders).toBe(before)
  })

  test('a record that is still to be fetched is loading, one that is not there is not', async () => {
    render(given(<Owner id="c9" />))
    expect(state).toMatchObject({ isLoading: false, canAssign: false, ownerId: null, ownerName: null })
    expect(await act(() => state.assignToUser('maya').settled)).toMatchObject({ outcome: 'refused', code: 'unknown-record' })
    expect(state.error).toMatchObject({ code: 'unknown-record' })
    cleanup()
    const { open, seeded } = await import('./world.js')
    const slow = seeded()
    slow.delayMs = 20
    const world = open(slow)
    render(<RotaProvider store={world.store}><Owner /></RotaProvider>)
    expect(state).toMatchObject({ isLoading: true, canAssign: false })
    await act(() => until(() => expect(world.store.status().ready).toBe(true)))
    expect(state).toMatchObject({ isLoading: false, canAssign: true })
  })

  test('what is called after the component has gone does no harm', async () => {
    const view = render(given(<Owner />))
    const mutated = assign('maya')
    view.unmount()
    await mutated.settled
    await pause(1)
    expect(onSuccess).toHaveBeenCalledTimes(1)
    expect(store.stats().listeners).toBe(idle)
  })
})
