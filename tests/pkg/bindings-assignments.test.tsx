// @vitest-environment happy-dom
import { type AssignmentEvent } from 'rota-engine'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { FakeBackend } from './backend.js'
import { frameworks, inStrictReact, openBound, until, type Around, type BoundStore } from './bound.js'

let store: BoundStore
let backend: FakeBackend
let idle: number
let given: readonly Around[]
beforeEach(async () => {
  ;({ store, backend, idle } = await openBound())
  given = [['RotaProvider', { store }]]
})

const refuse = () => {
  backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'only members of Sales' })
}

const isCounting = (renders: number) => !Number.isNaN(renders)

describe.each([...frameworks, inStrictReact])('in $name', ({ name, mount, show, after }) => {
  describe('useAssignmentState', () => {
    const owner = (words: object = {}) => mount(({ useAssignmentState }, more) => useAssignmentState({ entityType: 'companies', entityId: 'c1', ...words, ...more }), ({ ownerName, isUpdating, error }) => `${ownerName} ${isUpdating} ${error?.code}`, given)

    test('shows the new owner in the same tick, and each end is told once', async () => {
      const [onSuccess, onError] = [vi.fn(), vi.fn()]
      const { state, element } = owner({ onSuccess, onError })
      backend.hold()
      await after(() => {
        const { settled } = state().assignToUser('maya')
        expect(store.assignments.state('companies', 'c1')).toMatchObject({ ownerId: 'maya', ownerName: 'Maya', isUpdating: true })
        void settled
      })
      expect(element.textContent).toBe('Maya true undefined')
      await after(() => backend.release())
      await until(() => expect(onSuccess).toHaveBeenCalledTimes(1))
      refuse()
      await after(() => state().assignToUser('jonas').settled)
      await until(() => expect(onError.mock.calls).toEqual([[expect.objectContaining({ code: 'forbidden', message: 'only members of Sales' })]]))
      expect(element.textContent).toBe('Maya false forbidden')
      backend.hold()
      await after(() => void state().assignToUser(null))
      expect(element.textContent).toBe('null true undefined')
      expect(onSuccess).toHaveBeenCalledTimes(1)
    })

    test('tells of its assignment even after the component has gone, and leaves nothing behind', async () => {
      const onSuccess = vi.fn()
      const { state, unmount } = owner({ onSuccess })
      const { settled } = await after(() => {
        backend.hold()
        const made = state().assignToUser('maya')
        return { settled: made.settled }
      })
      unmount()
      backend.release()
      await settled
      await until(() => expect(onSuccess).toHaveBeenCalledTimes(1))
      expect(store.stats().listeners).toBe(idle)
    })

    test('tells each end of the record that it is of, to what that record’s rendering gave', async () => {
      const heard: unknown[] = []
      const { state, again } = mount(
        ({ useAssignmentState }, more) => {
          const now = () => (more as { value?: string }).value ?? (more as string)
          const entityId = typeof more === 'string' ? more : now
          return useAssignmentState({ entityType: 'companies', entityId: entityId as never, onSuccess: ({ entityType, entityId: key, userId }) => heard.push([entityType, key, userId, ...(typeof more === 'string' ? [more] : [key])]), onError: ({ entityId: key, code }) => heard.push([key, code]) })
        },
        ({ ownerId }) => ownerId,
        given,
        'c1',
      )
      backend.hold()
      await after(() => void state().assignToUser('maya'))
      await after(() => again('c2'))
      await after(() => backend.release())
      await until(() => expect(heard).toEqual([['companies', 'c1', 'maya', 'c1']]))
      refuse()
      await after(() => state().assignToUser('maya').settled)
      await until(() => expect(heard.slice(1)).toEqual([['c2', 'forbidden']]))
    })

    test('one that is refused at once is an error like any other, gone at the next try, and nothing is thrown at whoever clicked', async () => {
      const onError = vi.fn()
      store.policy({ table: 'companies', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['agent'], to: 'oneself' }] })
      const { state, element } = owner({ onError })
      const { id, outcome, code } = await after(() => state().assignToUser('jonas').settled)
      expect({ id, outcome, code }).toEqual({ id: '', outcome: 'refused', code: 'forbidden' })
      expect(element.textContent).toBe('null false forbidden')
      await until(() => expect(onError.mock.calls).toEqual([[expect.objectContaining({ code: 'forbidden', operationId: '', entityId: 'c1', userId: 'jonas' })]]))
      backend.hold()
      await after(() => void state().assignToUser('maya'))
      expect(element.textContent).toBe('Maya true undefined')
    })

    test('what was refused at once is no more said once somebody else has tried', async () => {
      store.policy({ table: 'companies', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['agent'], to: 'oneself' }] })
      const { state, element } = owner()
      await after(() => void state().assignToUser('jonas'))
      expect(element.textContent).toBe('null false forbidden')
      await after(() => store.assignments.assign('companies', 'c1', 'maya').settled)
      expect(element.textContent).toBe('Maya false undefined')
    })

    test('canAssign is what the policy says, and follows it, the person’s role and the record', async () => {
      const { element } = mount(({ useAssignmentState }) => useAssignmentState({ entityType: 'companies', entityId: 'c9' }), ({ canAssign }) => canAssign, given)
      expect(element.textContent).toBe('false')
      await after(() => void backend.put('companies', { id: 'c9', name: 'New', owner_id: null }))
      expect(element.textContent).toBe('true')
      await after(() => store.policy({ table: 'companies', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['admin'] }, { actions: ['assign'], roles: ['agent'], scope: 'own' }] }))
      expect(element.textContent).toBe('false')
      await after(() => void backend.put('companies', { id: 'c9', name: 'New', owner_id: 'maya' }))
      expect(element.textContent).toBe('true')
      await after(() => void backend.put('companies', { id: 'c9', name: 'New', owner_id: 'jonas' }))
      expect(element.textContent).toBe('false')
      await after(() => void backend.put('profiles', { id: 'maya', role: 'admin', name: 'Maya' }))
      expect(element.textContent).toBe('true')
    })

    test('says who was first, where a race was lost', async () => {
      const onError = vi.fn()
      const winner = { user: 'jonas', at: '2026-11-22T03:38:22Z' }
      const { state } = owner({ onError })
      backend.judge = () => ({ outcome: 'conflicted', code: 'taken', message: 'somebody else was first', fields: ['owner_id'], winner }) as never
      await after(() => state().assignToUser('maya').settled)
      await until(() => expect(onError.mock.calls).toEqual([[expect.objectContaining({ code: 'taken', winner })]]))
      expect(state().error).toMatchObject({ code: 'taken', winner })
      expect(store.operations().recent.at(-1)).toMatchObject({ winner })
    })

    test('an onError that throws is reported, and harms nobody', async () => {
      const reported = vi.fn()
      vi.stubGlobal('reportError', reported)
      refuse()
      const { state, element } = owner({ onError: () => { throw new Error('toast broke') } })
      await after(() => state().assignToUser('maya').settled)
      await until(() => expect(reported.mock.calls).toEqual([[expect.objectContaining({ message: 'toast broke' })]]))
      expect(element.textContent).toBe('null false forbidden')
    })
  })

  describe('useRealtimeAssignmentSync', () => {
    const sync = (heard: string[], words: object) =>
      mount(
        ({ useRealtimeAssignmentSync }, more: object) => {
          const now = () => ({ ...words, ...((more as { value?: object }).value ?? more) }) as { entityTypes?: string[]; enabled?: boolean; tag?: string }
          const say = ({ table, key, from, to }: AssignmentEvent) => heard.push(`${table} ${key} ${from} ${to}${now().tag ?? ''}`)
          // React takes values, and Vue what reads them.
          const isRef = 'value' in more
          useRealtimeAssignmentSync({ entityTypes: (isRef ? () => now().entityTypes : now().entityTypes) as never, enabled: (isRef ? () => now().enabled : now().enabled) as never, onAssignmentChange: say })
        },
        () => '',
        given,
        {},
      )

    test('hears of what is handed on in the tables that are named, by whomever, once', async () => {
      const heard: string[] = []
      const { renders } = sync(heard, { entityTypes: ['companies'] })
      await after(() => void store.assignments.assign('companies', 'c1', 'maya'))
      await after(() => void backend.put('companies', { id: 'c2', name: 'North Mill', owner_id: null }))
      await after(() => void store.assignments.assign('leads', 'l1', 'maya'))
      await after(() => void store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { name: 'South Mill' } }))
      expect(heard).toEqual(['companies c1 null maya', 'companies c2 jonas null'])
      if (!Number.isNaN(renders())) expect(renders()).toBe(1)
    })

    test('hears of other tables once they are named, of all where none are, and of nothing while it is off', async () => {
      const heard: string[] = []
      const { again, unmount } = sync(heard, {})
      await after(() => void store.assignments.assign('leads', 'l1', 'maya'))
      await after(() => again({ enabled: false }))
      await after(() => void store.assignments.assign('leads', 'l1', 'jonas'))
      await after(() => again({ entityTypes: ['companies'], tag: '!' }))
      await after(() => void store.assignments.assign('leads', 'l1', null))
      await after(() => void store.assignments.assign('companies', 'c1', 'maya'))
      expect(heard).toEqual(['leads l1 null maya', 'companies c1 null maya!'])
      unmount()
      expect(store.stats().listeners).toBe(idle)
    })
  })

  describe('useAssignment', () => {
    const within = (props: Readonly<Record<string, unknown>> = {}): readonly Around[] => [...given, ['AssignmentProvider', props]]

    test('assigns whatever record, and resolves to whether it came true', async () => {
      const onError = vi.fn()
      const { state, element, renders } = mount(({ useAssignment }) => useAssignment(), () => 'x', within({ onError }))
      const { assignEntity, canAssign } = state()
      expect([canAssign('companies', 'c1', 'maya'), canAssign('companies', 'none', 'maya'), canAssign('patients', 'p1', 'maya')]).toEqual([true, false, false])
      expect(await after(() => assignEntity('companies', 'c1', 'maya'))).toBe(true)
      expect(backend.row('companies', 'c1')).toMatchObject({ owner_id: 'maya' })
      refuse()
      expect(await after(() => assignEntity('leads', 'l1', 'maya'))).toBe(false)
      expect(await after(() => assignEntity('companies', 'none', null))).toBe(false)
      expect(onError.mock.calls.map(([failure]) => failure as object)).toMatchObject([
        { entityType: 'leads', entityId: 'l1', userId: 'maya', outcome: 'refused', code: 'forbidden', message: 'only members of Sales' },
        { entityType: 'companies', entityId: 'none', userId: null, code: 'unknown-record' },
      ])
      expect(element.textContent).toBe('x')
      if (!Number.isNaN(renders())) expect(renders()).toBe(1)
      expect(state().assignEntity).toBe(assignEntity)
    })

    test('has one place for what goes wrong, which the next try clears', async () => {
      const { state, element } = mount(
        ({ useAssignment, useAssignmentError }) => ({ ...useAssignment(), error: useAssignmentError() }),
        ({ error }) => error?.code,
        within(),
      )
      expect(await after(() => state().assignEntity('companies', 'none', 'maya'))).toBe(false)
      expect(element.textContent).toBe('unknown-record')
      backend.hold()
      const done = await after(() => ({ came: state().assignEntity('companies', 'c1', 'maya') }))
      expect(element.textContent).toBe('undefined')
      await after(async () => {
        backend.release()
        expect(await done.came).toBe(true)
      })
      await after(() => state().assignEntity('companies', 'none', 'maya'))
      await after(() => state().clearError())
      expect(element.textContent).toBe('undefined')
    })

    test('answers by the policies that were declared', () => {
      store.policy({ table: 'leads', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['agent'], scope: 'unowned', to: 'oneself' }] })
      const { state } = mount(({ useAssignment }) => useAssignment(), () => '', within())
      expect([state().canAssign('leads', 'l1', 'maya'), state().canAssign('leads', 'l1', 'jonas')]).toEqual([true, false])
    })

    test('what canAssign has said while rendering stays current: with the role, the record and the policy', async () => {
      const { element, state, renders, unmount } = mount(({ useAssignment }) => useAssignment(), ({ canAssign }) => `${canAssign('leads', 'l1', 'maya')} ${canAssign('leads', 'l2', 'maya')}`, within())
      expect(element.textContent).toBe('true false')
      const { canAssign } = state()
      await after(() => void backend.put('leads', { id: 'l2', name: 'Late', owner_id: null }))
      expect(element.textContent).toBe('true true')
      if (isCounting(renders())) expect(renders()).toBe(2)
      // A compiler, or a memo, keeps what was made with the same functions.
      if (name !== 'Vue') expect(state().canAssign).not.toBe(canAssign)
      await after(() => store.policy({ table: 'leads', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['admin'] }] }))
      expect(element.textContent).toBe('false false')
      await after(() => void backend.put('profiles', { id: 'maya', role: 'admin', name: 'Maya' }))
      expect(element.textContent).toBe('true true')
      const before = renders()
      await after(() => void backend.put('patients', { id: 'p9', name: 'Cy', ward: null }))
      await after(() => void backend.put('leads', { id: 'l2', name: 'Later', owner_id: null }))
      if (isCounting(before)) expect(renders()).toBe(before)
      unmount()
      expect(store.stats().listeners).toBe(idle)
    })

    test('of what does not concern it nothing is asked again', async () => {
      store.policy({ table: 'leads', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['agent'] }] })
      const { element } = mount(({ useAssignment }) => useAssignment(), ({ canAssign }) => `${canAssign('leads', 'l1', 'maya')} ${canAssign('leads', 7.5 as never, 'maya')}`, within())
      expect(element.textContent).toBe('true false')
      const asked = vi.spyOn(store, 'can')
      await after(() => void backend.put('leads', { id: 'l9', name: 'Other', owner_id: null }))
      await after(() => void backend.put('patients', { id: 'p9', name: 'Cy', ward: null }))
      expect(asked).not.toHaveBeenCalled()
      await after(() => void backend.put('profiles', { id: 'jonas', role: 'agent', name: 'Jonas' }))
      expect(asked).toHaveBeenCalled()
    })

    test('a component that asks of thousands stays current too', async () => {
      const { element } = mount(({ useAssignment }) => useAssignment(), ({ canAssign }) => Array.from({ length: 1_500 }, (_, n) => canAssign('leads', `n${n}`, 'maya')).filter(Boolean).length, within())
      expect(element.textContent).toBe('0')
      await after(() => void backend.put('leads', { id: 'n1400', name: 'Late', owner_id: null }))
      expect(element.textContent).toBe('1')
    })

    test('says who was first, where a race was lost; and a listener that throws changes no answer', async () => {
      const reported = vi.fn()
      vi.stubGlobal('reportError', reported)
      const winner = { user: 'jonas', at: '2026-11-22T03:38:22Z' }
      backend.judge = () => ({ outcome: 'conflicted', code: 'taken', message: 'somebody else was first', fields: ['owner_id'], winner }) as never
      const { state } = mount(({ useAssignment, useAssignmentError }) => ({ ...useAssignment(), error: useAssignmentError() }), () => '', within({ onError: () => { throw new Error('toast broke') } }))
      expect(await after(() => state().assignEntity('leads', 'l1', 'maya'))).toBe(false)
      expect((state().error as { value?: unknown } | null)).toMatchObject({ code: 'taken', winner })
      expect(await after(() => state().assignEntity('leads', 'none', 'maya'))).toBe(false)
      expect(reported).toHaveBeenCalledTimes(2)
    })

    test('without its provider says what is missing', () => {
      vi.spyOn(console, 'error').mockImplementation(() => {})
      vi.spyOn(console, 'warn').mockImplementation(() => {})
      expect(() => mount(({ useAssignment }) => useAssignment(), () => '', given)).toThrowError(expect.objectContaining({ code: 'no-provider' }))
    })
  })

  describe('UserAssignmentDisplay', () => {
    const display = (props: object = {}) => {
      const { element, unmount } = show('UserAssignmentDisplay', { entityType: 'companies', entityId: 'c2', ...props }, given)
      const select = () => element.querySelector('select')!
      const choose = (value: string) =>
        after(() => {
          select().focus()
          select().value = value
          select().dispatchEvent(new Event('change', { bubbles: true }))
        })
      const said = () => ({ state: element.querySelector('.rota-assignment')!.getAttribute('data-state'), owner: select().options[select().selectedIndex]?.textContent, status: element.querySelector('[role=status]')!.textContent, error: element.querySelector('[role=alert]')?.textContent })
      return { element, unmount, select, choose, said }
    }

    test('shows whose it is, and a person chooses among those whom the store knows', async () => {
      const { select, choose, said, unmount } = display()
      expect(said()).toEqual({ state: 'settled', owner: 'Jonas', status: '', error: undefined })
      expect(select().getAttribute('aria-label')).toBe('Assigned to')
      expect([...select().options].map(({ textContent }) => textContent)).toEqual(['Nobody', 'Jonas', 'Maya'])
      backend.hold()
      await choose('maya')
      expect(said()).toEqual({ state: 'updating', owner: 'Maya', status: 'Updating...', error: undefined })
      await after(() => backend.release())
      await until(() => expect(said()).toEqual({ state: 'settled', owner: 'Maya', status: '', error: undefined }))
      await choose('')
      expect(said().owner).toBe('Nobody')
      unmount()
      expect(store.stats().listeners).toBe(idle)
    })

    test('says why an assignment did not come true, and tries it again', async () => {
      const [onSuccess, onError] = [vi.fn(), vi.fn()]
      const { element, select, choose, said } = display({ onSuccess, onError, texts: { retry: 'Noch einmal' } })
      refuse()
      await choose('maya')
      await until(() => expect(said()).toEqual({ state: 'error', owner: 'Jonas', status: '', error: 'only members of Sales' }))
      expect(element.querySelector(`#${CSS.escape(select().getAttribute('aria-describedby')!)}`)?.textContent).toBe('only members of Sales')
      backend.judge = undefined
      const retry = element.querySelector('button')!
      expect(retry.textContent).toBe('Noch einmal')
      await after(() => retry.click())
      await until(() => expect(said()).toMatchObject({ state: 'settled', owner: 'Maya', error: undefined }))
      expect([onSuccess.mock.calls.length, onError.mock.calls.length]).toEqual([1, 1])
    })

    test('tries again what was given up as the same operation', async () => {
      const { element, choose, said } = display()
      backend.pushFailures.push(...Array.from({ length: 2 }, () => new Error('no')))
      await choose('maya')
      await until(() => expect(said().state).toBe('error'))
      const [dead] = store.operations().pending
      await after(() => element.querySelector('button')!.click())
      await until(() => expect(backend.row('companies', 'c2')).toMatchObject({ owner_id: 'maya' }))
      expect(new Set(backend.pushes.map(({ id }) => id))).toEqual(new Set([dead!.id]))
    })

    test('that shows another record says nothing of what was tried with the first', async () => {
      const { element, with: change } = show('UserAssignmentDisplay', { entityType: 'companies', entityId: 'none' }, given)
      const select = () => element.querySelector('select')!
      await after(() => {
        select().value = 'maya'
        select().dispatchEvent(new Event('change', { bubbles: true }))
      })
      expect(element.querySelector('[role=alert]')?.textContent).toContain('none')
      await after(() => change({ entityType: 'companies', entityId: 'c2' }))
      expect([element.querySelector('[role=alert]'), select().value]).toEqual([null, 'jonas'])
    })

    test('lets nobody be chosen who may not be, and says why', async () => {
      store.policy({ table: 'leads', owner: 'owner_id', people: { table: 'profiles' }, rules: [{ actions: ['assign'], roles: ['agent'], scope: 'unowned', to: 'oneself' }] })
      const { select } = display({ entityType: 'leads', entityId: 'l1', people: [{ id: 'maya', name: 'Maya' }, { id: 'jonas', name: 'Jonas' }] })
      await after(() => select().dispatchEvent(new Event('pointerdown', { bubbles: true })))
      expect([...select().options].map(({ value, disabled, title }) => [value, disabled, title !== ''])).toEqual([['', false, false], ['maya', false, false], ['jonas', true, true]])
    })

    test('with nobody to choose only shows, an owner who is not known yet as updating, and one who has no name by id', async () => {
      const { element } = show('UserAssignmentDisplay', { entityType: 'companies', entityId: 'c1', people: [] }, given)
      expect(element.querySelector('select')).toBeNull()
      expect(element.querySelector('.rota-assignment-owner')?.textContent).toBe('Nobody')
      backend.hold()
      await after(() => void store.assignments.assign('companies', 'c1', 'lena'))
      const label = () => element.querySelector('.rota-assignment-owner')?.getAttribute('aria-label')
      expect(label()).toBe('Assigned to: Updating...')
      await after(() => backend.release())
      await until(() => expect(label()).toBe('Assigned to: lena'))
    })
  })
})
