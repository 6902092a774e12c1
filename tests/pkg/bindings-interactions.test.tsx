// @vitest-environment happy-dom
import type { InteractionEvent } from 'rota-engine'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { FakeBackend } from './backend.js'
import { boundSeeded, boundTables, frameworks, inStrictReact, openBound, session, type Around, type BoundStore, type Session } from './bound.js'
import { pause, until } from './world.js'

let store: BoundStore
let backend: FakeBackend
let idle: number
let given: readonly Around[]
beforeEach(async () => {
  ;({ store, backend } = await openBound())
  // The list of those that go on is opened once, and stays.
  store.interactions.subscribe(() => {})()
  idle = store.stats().listeners
  given = [['RotaProvider', { store }], ['LiveInteractionProvider']]
})

const isCounting = (renders: number) => !Number.isNaN(renders)

describe.each([...frameworks, inStrictReact])('in $name', ({ mount, after }) => {
  test('the context has what is going on, what this tab looks at, and what to do with it', async () => {
    const { state, element, unmount } = mount(
      ({ useLiveInteraction }) => useLiveInteraction<Session>(),
      ({ activeInteractions, currentInteractionId, currentCampaignId, isLoading, error }) => [activeInteractions.map(({ id, note }) => `${id}:${note}`).join(), currentInteractionId, currentCampaignId, isLoading, error?.code].join(' '),
      given,
    )
    expect(element.textContent).toBe('s1:null   false ')
    await after(() => state().setCurrentInteraction('s1'))
    expect(element.textContent).toBe('s1:null s1 k1 false ')
    backend.hold()
    const { id } = await after(() => ({ id: state().optimisticUpdate('s1', { note: 'x' }).id }))
    expect(element.textContent).toBe('s1:x s1 k1 false ')
    expect(state().lastUpdate).toBeGreaterThan(Date.now() - 5_000)
    await after(async () => {
      backend.release()
      await until(() => expect(store.status().unsent).toBe(0))
      await state().rollbackUpdate(id)?.settled
    })
    expect(element.textContent).toBe('s1:null s1 k1 false ')
    backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'not your turn' })
    await after(async () => void (await state().optimisticUpdate('s1', { note: 'y' }).settled))
    expect(element.textContent).toBe('s1:null s1 k1 false forbidden')
    await after(() => state().clearCurrentInteraction())
    expect(element.textContent).toBe('s1:null   false forbidden')
    const pulls = backend.pulls.length
    await after(async () => {
      state().refreshInteractions()
      await until(() => expect(backend.pulls.length).toBeGreaterThan(pulls))
    })
    expect(Object.keys(state()).sort()).toEqual(['activeInteractions', 'clearCurrentInteraction', 'currentCampaignId', 'currentInteractionId', 'error', 'isLoading', 'lastUpdate', 'optimisticUpdate', 'refreshInteractions', 'rollbackUpdate', 'setCurrentInteraction'])
    unmount()
    expect(store.stats().listeners).toBe(idle)
  })

  test('a component renders again only for what it reads of the context', async () => {
    const current = mount(({ useLiveInteraction }) => useLiveInteraction<Session>(), ({ currentInteractionId }) => currentInteractionId, given)
    const list = mount(({ useLiveInteraction }) => useLiveInteraction<Session>(), ({ activeInteractions }) => activeInteractions.length, given)
    await after(() => void backend.put('sessions', session('s2')))
    await after(() => void backend.put('sessions', session('s2', { note: 'x' })))
    await after(() => current.state().setCurrentInteraction('s2'))
    expect([current.element.textContent, list.element.textContent]).toEqual(['s2', '2'])
    if (isCounting(current.renders())) expect([current.renders(), list.renders()]).toEqual([2, 3])
  })

  test('a component that reads something later sees it as it is then, and follows it from there', async () => {
    let showsNote = false
    const { element, again } = mount(
      ({ useLiveInteraction }) => useLiveInteraction<Session>(),
      ({ currentInteractionId, activeInteractions }) => (showsNote ? activeInteractions[0]?.note : currentInteractionId),
      given,
      0,
    )
    await after(() => void backend.put('sessions', session('s1', { note: 'first' })))
    showsNote = true
    await after(() => store.interactions.setCurrentInteraction('s1'))
    await after(() => again(1))
    expect(element.textContent).toBe('first')
    await after(() => void backend.put('sessions', session('s1', { note: 'second' })))
    expect(element.textContent).toBe('second')
  })

  test('turns, actions and states are told, until the component goes', async () => {
    const heard: string[] = []
    const { unmount } = mount(({ useInteractionEvents }) => useInteractionEvents<Session>(({ type, key, interaction }: InteractionEvent<Session>) => heard.push(`${type} ${key} ${interaction.turn_id}`)), () => '', given)
    await after(() => void backend.put('sessions', session('s1', { turn_id: 'maya' })))
    await after(() => void backend.put('sessions', session('s1', { turn_id: 'maya', last_action: 'roll' })))
    unmount()
    backend.put('sessions', session('s1', { turn_id: 'jonas' }))
    expect(heard).toEqual(['turn s1 maya', 'action s1 maya'])
    expect(store.stats().listeners).toBe(idle)
  })

  describe('with two tables of the domain', () => {
    const declared = boundTables.sessions
    const two = async () => {
      const there = boundSeeded()
      there.put('calls', session('k1'))
      there.put('games', session('g1'))
      return openBound(there, { tables: { calls: declared, games: declared } as never })
    }

    test('the provider says which one is meant, or the hook, and each has its own', async () => {
      const { store: both, backend: there } = await two()
      const heard: string[] = []
      const { state, element, again } = mount(
        ({ useLiveInteraction, useInteractionEvents }, more) => {
          const now = () => ((more as { value?: { table: string } }).value ?? (more as { table: string })).table
          const table = ('value' in (more as object) ? now : now()) as never
          useInteractionEvents<Session>(({ key, interaction }: InteractionEvent<Session>) => heard.push(`${key} ${interaction.turn_id}`), { table })
          return { calls: useLiveInteraction<Session>(), other: useLiveInteraction<Session>({ table }) }
        },
        ({ calls, other }) => {
          const read = (one: unknown) => {
            const { activeInteractions, currentInteractionId } = one as { activeInteractions: readonly Session[] & { value?: readonly Session[] }; currentInteractionId: unknown }
            const current = (currentInteractionId as { value?: unknown } | null)?.value ?? currentInteractionId
            return `${(activeInteractions.value ?? activeInteractions).map(({ id }) => id).join()} ${typeof current === 'string' ? current : '-'}`
          }
          return `${read(calls)} / ${read(other)}`
        },
        [['RotaProvider', { store: both }], ['LiveInteractionProvider', { table: 'calls' }]],
        { table: 'games' },
      )
      expect(element.textContent).toBe('k1 - / g1 -')
      await after(() => state().other.setCurrentInteraction('g1'))
      expect(element.textContent).toBe('k1 - / g1 g1')
      await after(() => void there.put('calls', session('k1', { turn_id: 'maya' })))
      await after(() => void there.put('games', session('g1', { turn_id: 'jonas' })))
      expect(heard).toEqual(['g1 jonas'])
      await after(() => again({ table: 'calls' }))
      expect(element.textContent).toBe('k1 - / k1 -')
      await after(() => state().calls.optimisticUpdate('k1', { note: 'x' }).settled)
      expect(there.row('calls', 'k1')).toMatchObject({ note: 'x' })
    })

    test('all of them are synchronised across tabs, or the one that is named; without any there is nothing to do', async () => {
      const { store: both, backend: there } = await two()
      const refreshed = vi.spyOn(both.interactions, 'in')
      const notices = (opened: unknown, options: object = {}) => mount(({ useLiveInteractionNotifications }) => useLiveInteractionNotifications(options), () => '', [['RotaProvider', { store: opened }]]).state()
      const [all, one] = [notices(both), notices(both, { table: 'games' })]
      const pulls = there.pulls.length
      await after(async () => {
        all.syncAcrossTabs()
        await until(() => expect(there.pulls.length).toBeGreaterThan(pulls))
      })
      await after(() => one.syncAcrossTabs())
      expect(refreshed.mock.calls.flat()).toEqual(['calls', 'games', 'games'])
      const { store: none } = await openBound(boundSeeded(), { tables: { people: boundTables.people } as never })
      expect(() => notices(none).syncAcrossTabs()).not.toThrow()
    })
  })

  test('what two components say of notifications under one name holds for as long as each is there', async () => {
    const notices = (settings: object) => mount(({ useLiveInteractionNotifications }) => useLiveInteractionNotifications({ settings }), ({ notifications }) => notifications.map(({ kind, sound }) => `${kind}:${sound}`).join(), given)
    const one = notices({ turn: { sound: false }, status: { enabled: false } })
    const other = notices({ turn: { enabled: false } })
    await after(() => void store.notifications.createNotification({ kind: 'turn', message: 'yours' }))
    expect(one.element.textContent).toBe('')
    await after(() => other.unmount())
    expect(one.element.textContent).toBe('turn:false')
    await after(() => void store.notifications.createNotification({ kind: 'status', message: 'paused' }))
    expect(one.element.textContent).toBe('turn:false')
    one.unmount()
    expect(store.notifications.shown('live-interactions').map(({ sound }) => sound)).toEqual([true, true])
  })

  test('without its provider says what is missing', () => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    vi.spyOn(console, 'warn').mockImplementation(() => {})
    expect(() => mount(({ useLiveInteraction }) => useLiveInteraction(), () => '', [['RotaProvider', { store }]])).toThrowError(expect.objectContaining({ code: 'no-provider' }))
  })

  test('notifications are made, shown as the component wants them, told once whoever tells of them, and closed', async () => {
    const { state, element, unmount } = mount(
      ({ useLiveInteractionNotifications }) => useLiveInteractionNotifications({ component: 'table', settings: { status: { enabled: false }, turn: { sound: false, autoCloseMs: null } } }),
      ({ notifications }) => notifications.map(({ kind, message, sound }) => `${kind}:${message}:${sound}`).join(),
      given,
    )
    await after(() => void state().createNotification({ kind: 'turn', message: 'yours', id: 't1' }))
    await after(() => void state().createNotification({ kind: 'status', message: 'paused' }))
    expect(element.textContent).toBe('turn:yours:false')
    const told = await after(() => [state().broadcastUpdate({ kind: 'action', message: 'rolled', id: 't2' }), state().broadcastUpdate({ kind: 'action', message: 'rolled', id: 't2' })])
    expect(told).toEqual([true, false])
    expect(element.textContent).toBe('turn:yours:false,action:rolled:true')
    await after(() => state().close('t1'))
    expect(element.textContent).toBe('action:rolled:true')
    const pulls = backend.pulls.length
    await after(async () => {
      state().syncAcrossTabs()
      await until(() => expect(backend.pulls.length).toBeGreaterThan(pulls))
    })
    unmount()
    // Its settings went with it.
    store.notifications.createNotification({ kind: 'status', message: 'live' })
    expect(store.notifications.shown('table').some(({ message }) => message === 'live')).toBe(true)
    expect(store.stats().listeners).toBe(idle)
  })

  test('notifications that are made off-line wait, and are shown in order once the link is back', async () => {
    const { state, element } = mount(({ useLiveInteractionNotifications }) => useLiveInteractionNotifications(), ({ notifications }) => notifications.map(({ message }) => message).join(), given)
    await after(async () => {
      backend.online = false
      backend.cut()
      await until(() => expect(store.status().link.state).toBe('offline'))
      expect(state().createNotification({ kind: 'turn', message: 'one' }).state).toBe('waits')
      state().createNotification({ kind: 'turn', message: 'two' })
    })
    expect(element.textContent).toBe('')
    await after(async () => {
      backend.online = true
      store.reconnect()
      await until(() => expect(store.status().link.state).toBe('live'))
      await pause(2)
    })
    expect(element.textContent).toBe('one,two')
  })
})
