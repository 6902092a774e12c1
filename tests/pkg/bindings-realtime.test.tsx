// @vitest-environment happy-dom
import type { ProfileEvent, RecordEvent, Stale, SubmissionEvent } from 'rota-engine'
import { BackendError } from 'rota-engine'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { FakeBackend } from './backend.js'
import { boundSeeded, frameworks, inStrictReact, openBound, type Around, type boundTables, type BoundStore, type Form, type Patient, type Profile } from './bound.js'
import { pause, until } from './world.js'

let store: BoundStore
let backend: FakeBackend
let idle: number
let given: readonly Around[]
beforeEach(async () => {
  ;({ store, backend, idle } = await openBound())
  given = [['RotaProvider', { store }]]
})

type Tables = typeof boundTables
const north = { table: 'patients', filter: { eq: { field: 'ward', value: 'north' } }, sort: ['name'] } as const
const patient = (id: string, ward: string, name = id): Patient => ({ id, name, ward })

/** Handlers that write down what they hear. */
const listening = (heard: string[]) => {
  const note = ({ type, key, record, before }: RecordEvent<{ readonly name: string }>) => void heard.push(`${type} ${key} ${record.name} ${before?.name}`)
  return { onInsert: note, onUpdate: note, onDelete: note }
}

const isCounting = (renders: number) => !Number.isNaN(renders)

describe.each([...frameworks, inStrictReact])('in $name', ({ name, mount, after }) => {
  test('useRealtime hears of what comes, changes and goes in a table, those that pass a filter, and renders only for the link', async () => {
    const heard: string[] = []
    const { element, renders, unmount } = mount(({ useRealtime }) => useRealtime<Tables, typeof north>(north, listening(heard)), ({ isConnected, isLoading }) => `${isConnected} ${isLoading}`, given)
    expect(element.textContent).toBe('true false')
    await after(() => void backend.put('patients', patient('p3', 'north')))
    await after(() => void backend.put('patients', patient('p4', 'south')))
    await after(() => void store.mutate({ name: 'patch', table: 'patients', key: 'p1', set: { name: 'Adi' } }))
    await after(() => void backend.put('patients', patient('p3', 'south')))
    expect(heard).toEqual(['inserted p3 p3 undefined', 'updated p1 Adi Ada', 'deleted p3 p3 p3'])
    if (isCounting(renders())) expect(renders()).toBe(1)
    await after(() => {
      backend.comesUp = false
      backend.cut()
    })
    expect(element.textContent).toBe('false false')
    unmount()
    await pause(1_100)
    expect(store.stats()).toMatchObject({ listeners: idle, views: 0 })
  })

  test('useRealtimePatients has the list, live, and renders again only when what is read of it changed', async () => {
    const heard: string[] = []
    const words = (spec: object, enabled = true) => ({ spec, enabled })
    const { element, renders, again, unmount } = mount(
      ({ useRealtimePatients }, more) => {
        const now = () => ('value' in more ? more.value : more) as ReturnType<typeof words>
        const isVue = name === 'Vue'
        return useRealtimePatients<Tables, typeof north>((isVue ? () => now().spec : now().spec) as never, { ...listening(heard), enabled: (isVue ? () => now().enabled : now().enabled) as never })
      },
      ({ patients }) => patients.map((one) => one.name).join(),
      given,
      words(north),
    )
    expect(element.textContent).toBe('Ada')
    await after(() => void backend.put('patients', patient('p3', 'north', 'Abe')))
    expect(element.textContent).toBe('Abe,Ada')
    await after(() => void backend.put('patients', patient('p2', 'south', 'Bob')))
    await after(() => void backend.put('people', { id: 'lena', name: 'Lena' }))
    await after(() => {
      backend.comesUp = false
      backend.cut()
    })
    if (isCounting(renders())) expect(renders()).toBe(2)
    await after(() => again(words({ table: 'patients', sort: ['name'] })))
    expect(element.textContent).toBe('Abe,Ada,Bob')
    await after(() => again(words(north, false)))
    expect(element.textContent).toBe('')
    expect(heard).toEqual(['inserted p3 Abe undefined'])
    unmount()
    await pause(1_100)
    expect(store.stats()).toMatchObject({ listeners: idle, views: 0 })
  })

  test('useRealtimePatients without a word is the table of patients', () => {
    const { element } = mount(({ useRealtimePatients }) => useRealtimePatients<Tables>(), ({ patients, isConnected }) => `${patients.length} ${isConnected}`, given)
    expect(element.textContent).toBe('2 true')
  })

  test('useFormSubmissionUpdates and useProfileUpdates tell what becomes of submissions and profiles, until the component goes', async () => {
    const heard: string[] = []
    const { unmount, renders } = mount(
      ({ useFormSubmissionUpdates, useProfileUpdates }) => {
        useFormSubmissionUpdates<Form>(({ type, table, key, submission }: SubmissionEvent<Form>) => heard.push(`${type} ${table} ${key} ${submission.status}`))
        useProfileUpdates<Profile>(({ type, isOwn, profile, before }: ProfileEvent<Profile>) => heard.push(`${type} ${isOwn} ${before?.role} ${profile.role}`))
      },
      () => '',
      given,
    )
    await after(() => void backend.put('forms', { id: 'f2', status: 'new', note: null }))
    await after(() => void backend.put('forms', { id: 'f2', status: 'seen', note: null }))
    await after(() => void backend.put('profiles', { id: 'maya', role: 'agent', name: 'M' }))
    await after(() => void backend.put('profiles', { id: 'maya', role: 'admin', name: 'M' }))
    expect(heard).toEqual(['arrived forms f2 new', 'became forms f2 seen', 'updated true agent agent', 'rights true agent admin'])
    if (isCounting(renders())) expect(renders()).toBe(1)
    unmount()
    expect(store.stats().listeners).toBe(idle)
  })

  test('useOwnProfile is the person’s own, and stays current', async () => {
    const { element } = mount(({ useOwnProfile }) => useOwnProfile<Profile>() as Profile | undefined, (profile) => profile?.name, given)
    expect(element.textContent).toBe('Maya')
    await after(() => void store.profiles.update({ name: 'M.' }))
    expect(element.textContent).toBe('M.')
  })

  test('useStale tells what other caches are to fetch again', async () => {
    store.invalidate([{ tables: ['companies'], changed: ['owner_id'], keys: [['companies', '$key']] }])
    const heard: Stale[] = []
    const { unmount } = mount(({ useStale }) => useStale((stale: Stale) => heard.push(stale)), () => '', given)
    await after(() => void backend.put('companies', { id: 'c1', name: 'Harbour Optics', owner_id: 'jonas' }))
    expect(heard).toEqual([{ everything: false, keys: [['companies', 'c1']] }])
    unmount()
    expect(store.stats().listeners).toBe(idle)
  })

  test('useRealtimeAuth is paused by the token’s end, loses nothing, and goes on with a fresh one', async () => {
    const heard: string[] = []
    const { element, state } = mount(
      ({ useRealtimeAuth }) => useRealtimeAuth({ onExpired: () => heard.push('expired'), onRefreshed: () => heard.push('refreshed'), onSignedOut: () => heard.push('out') }),
      (auth) => `${auth.state} ${auth.isSignedIn} ${auth.isPaused} ${auth.unsent}`,
      given,
    )
    expect(element.textContent).toBe('signed-in true false 0')
    await after(async () => {
      Object.assign(backend, { shutOut: true, refreshHelps: false })
      backend.cut(new BackendError('auth', 'the token has expired'))
      await until(() => expect(store.status().link.state).toBe('paused'))
      store.assignments.assign('companies', 'c1', 'maya')
    })
    expect(element.textContent).toBe('expired false true 1')
    expect(state().why).toContain('token')
    await after(async () => {
      Object.assign(backend, { shutOut: false, refreshHelps: true })
      for (const tell of backend.onTokenListeners) tell()
      await until(() => expect(backend.row('companies', 'c1')).toMatchObject({ owner_id: 'maya' }))
      await until(() => expect(store.status().unsent).toBe(0))
    })
    expect(element.textContent).toBe('signed-in true false 0')
    expect(heard).toEqual(['expired', 'refreshed'])
    await after(async () => {
      await state().signOut()
      await pause(2)
    })
    expect(element.textContent).toBe('signed-out false false 0')
    expect(heard).toEqual(['expired', 'refreshed', 'out'])
  })

  test('useRealtimeAuth tells of a sign-in once, and of a fresh token that came in time', async () => {
    const heard: string[] = []
    const { again, element } = mount(
      ({ useRealtimeAuth }) => useRealtimeAuth({ onSignedIn: () => heard.push('in'), onExpired: () => heard.push('expired'), onRefreshed: () => heard.push('refreshed') }),
      ({ state }) => state,
      given,
      0,
    )
    expect([heard, element.textContent]).toEqual([['in'], 'signed-in'])
    await after(() => again(1))
    const tell = () => {
      for (const listener of backend.onTokenListeners) listener()
    }
    await after(async () => {
      tell()
      await pause(2)
    })
    expect(heard).toEqual(['in', 'refreshed'])
    await after(async () => {
      Object.assign(backend, { shutOut: true, refreshHelps: false })
      backend.cut(new BackendError('auth', 'the token has expired'))
      await until(() => expect(store.status().link.state).toBe('paused'))
      Object.assign(backend, { shutOut: false, refreshHelps: true })
      tell()
      await until(() => expect(store.status().link.state).toBe('live'))
    })
    expect(heard).toEqual(['in', 'refreshed', 'expired', 'refreshed'])
  })

  describe('useRealtimeForms', () => {
    const message = (form: Form, key: string) => `${key} is ${form.status}`
    const forms = (options: object = {}) =>
      mount(
        ({ useRealtimeForms }) => useRealtimeForms<Form>({ message, ...options }),
        ({ submissions, notifications, editors }) => [submissions.map(({ id, status }) => `${id}:${status}`).join(), notifications.map((one) => one.message).join(), JSON.stringify(editors)].join(' '),
        given,
      )

    test('shows how submissions stand, and tells of each that arrives', async () => {
      const { element, state, unmount } = forms()
      expect(element.textContent).toBe('f1:new  {}')
      await after(() => void backend.put('forms', { id: 'f2', status: 'new', note: null }))
      expect(element.textContent).toBe('f1:new,f2:new f2 is new {}')
      expect(state().notifications[0]).toMatchObject({ id: 'submission/forms/f2', message: 'f2 is new' })
      await after(() => void backend.put('forms', { id: 'f1', status: 'approved', note: null }))
      expect(element.textContent).toBe('f1:approved,f2:new f2 is new {}')
      await after(() => void store.notifications.createNotification({ kind: 'status', message: 'something else' }))
      await after(() => state().dismiss('submission/forms/f2'))
      expect(element.textContent).toBe('f1:approved,f2:new  {}')
      unmount()
      await pause(1_100)
      expect(store.stats()).toMatchObject({ listeners: idle, views: 0 })
    })

    test('of one’s own nothing is announced, neither while the server’s word is out nor when it has come, and of one that is refused nobody hears', async () => {
      const heard: string[] = []
      store.submissions.watch(({ type, key, isOwn }) => heard.push(`${type} ${key} ${isOwn}`))
      const { state } = forms()
      backend.hold()
      const { settled } = await after(() => ({ settled: store.mutate({ name: 'insert', table: 'forms', record: { id: 'mine', status: 'draft', note: null } }).settled }))
      expect(state().notifications).toEqual([])
      await after(async () => {
        backend.release()
        await settled
      })
      backend.judge = () => ({ outcome: 'refused', code: 'forbidden', message: 'no' })
      await after(() => store.mutate({ name: 'insert', table: 'forms', record: { id: 'refused', status: 'draft', note: null } }).settled)
      await after(() => void backend.put('forms', { id: 'theirs', status: 'new', note: null }))
      expect(state().notifications.map((one) => one.message)).toEqual(['theirs is new'])
      expect(heard).toEqual(['arrived mine true', 'arrived refused true', 'withdrawn refused false', 'arrived theirs false'])
    })

    test('one that goes takes back what it has said of where the person is, and nothing that was said since', async () => {
      const announced: unknown[] = []
      const original = store.presence.set.bind(store.presence)
      store.presence.set = (place) => {
        announced.push(place?.record?.key ?? place?.place ?? null)
        original(place)
      }
      const [one, other] = [forms(), forms()]
      await after(() => one.state().edit('f1'))
      await after(() => other.state().edit('f2'))
      one.unmount()
      expect(announced).toEqual(['f1', 'f2'])
      const third = forms()
      await after(() => third.state().edit('f3'))
      third.unmount()
      // The second is still there.
      expect(announced.slice(2)).toEqual(['f3', 'f2'])
      await after(() => store.presence.set({ place: 'board' }))
      other.unmount()
      expect(announced.slice(4)).toEqual(['board'])
    })

    test('two components tell of one that arrives once', async () => {
      const [one, other] = [forms(), forms()]
      await after(() => void backend.put('forms', { id: 'f2', status: 'new', note: null }))
      expect([one.state().notifications.length, other.state().notifications.length]).toEqual([1, 1])
      await after(() => other.state().dismiss('submission/forms/f2'))
      expect(one.state().notifications).toEqual([])
    })

    test('shows who is at which, and says where this person is until the component goes', async () => {
      const { element, state, unmount } = forms()
      const peer = (user: string, doing: string, key: string) => ({ user, tab: user, presence: { place: 'forms', doing, record: { table: 'forms', key } } })
      await after(() => backend.listener!.present!([peer('lena', 'typing', 'f1'), peer('jonas', 'editing', 'f1'), peer('tom', 'idle', 'f2')] as never))
      expect(element.textContent).toBe('f1:new  {"f1":["jonas","lena"]}')
      const announced: unknown[] = []
      const original = store.presence.set.bind(store.presence)
      store.presence.set = (place) => {
        announced.push(place)
        original(place)
      }
      await after(() => state().edit('f1'))
      await after(() => state().edit('f1', 'typing'))
      unmount()
      expect(announced).toEqual([{ place: 'forms', doing: 'editing', record: { table: 'forms', key: 'f1' } }, { place: 'forms', doing: 'typing', record: { table: 'forms', key: 'f1' } }, null])
    })

    test('renders again only for what is read', async () => {
      const { renders } = mount(({ useRealtimeForms }) => useRealtimeForms<Form>(), ({ submissions }) => submissions.length, given)
      await after(() => backend.listener!.present!([{ user: 'lena', tab: 'l', presence: { place: 'forms', doing: 'editing', record: { table: 'forms', key: 'f1' } } }]))
      await after(() => void store.notifications.createNotification({ kind: 'status', message: 'x' }))
      await after(() => {
        backend.comesUp = false
        backend.cut()
      })
      if (isCounting(renders())) expect(renders()).toBe(1)
    })

    test('without such a table says what is missing', async () => {
      const bare = await openBound(boundSeeded(), { tables: { people: store.tables.people } as never })
      vi.spyOn(console, 'error').mockImplementation(() => {})
      vi.spyOn(console, 'warn').mockImplementation(() => {})
      expect(() => mount(({ useRealtimeForms }) => useRealtimeForms(), () => '', [['RotaProvider', { store: bare.store }]])).toThrowError(expect.objectContaining({ code: 'invalid-operation' }))
    })
  })
})
