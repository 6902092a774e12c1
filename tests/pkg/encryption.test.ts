import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { init, type Store } from 'rota-engine'
import { encryptWith } from 'rota-engine/encryption'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { Lines, openTab, page, session, storage, stored } from './browser.js'
import { isLive, pause, refusal, seeded, until, type tables } from './world.js'

beforeAll(init)

const key = (fill: number) => new Uint8Array(32).fill(fill)
const encryption = encryptWith(key(7))
const SECRET = 'a diagnosis that nobody may read'
const secret = { name: 'patch', table: 'companies', key: 'c1', set: { city: SECRET } } as const

async function openOffline(options: Parameters<typeof openTab>[1] = { encryption }): Promise<ReturnType<typeof openTab>> {
  const backend = seeded()
  const tab = openTab(backend, options)
  await isLive(tab.store)
  backend.online = false
  backend.cut()
  return tab
}

/** Everything that lies in this browser, as text. */
async function everything(): Promise<string> {
  const local = storage.keys.map((name) => `${name} ${storage.getItem(name)}`)
  return JSON.stringify([local, await stored('operations'), await stored('records')])
}

function pendingCities(store: Store<typeof tables>): unknown {
  return [store.operations().pending.length, store.get('companies', 'c1')?.city]
}

describe('a store with a key', () => {
  it('leaves nothing readable in localStorage or IndexedDB, and reads it all on the next visit', async () => {
    const backend = seeded()
    backend.put('companies', { id: 'patient@example.org', name: SECRET, city: null, owner_id: null, extra: null })
    const first = openTab(backend, { encryption })
    await isLive(first.store)
    backend.online = false
    backend.cut()
    expect(await first.store.mutate(secret).durable).toBe('full')
    await until(async () => expect((await stored('records')).length).toBeGreaterThan(4))
    const text = await everything()
    for (const word of [SECRET, 'diagnosis', 'patient@example.org', 'Harbour', 'companies', 'city']) expect(text).not.toContain(word)
    first.store.close()

    const next = openTab(backend, { encryption })
    await until(() => expect(pendingCities(next.store)).toEqual([1, SECRET]))
    await until(() => expect(next.store.get('companies', 'patient@example.org')?.name).toBe(SECRET))
    expect(next.problems).toEqual([])
  })

  it('reads what was stored before there was one', async () => {
    const { store } = await openOffline({})
    await store.mutate(secret).durable
    store.close()
    const next = openTab(seeded(), { encryption })
    await until(() => expect(next.store.get('companies', 'c1')?.city).toBe(SECRET))
  })

  it('seals the records that were kept in clear before there was one, and forgets those that another key has sealed', async () => {
    const backend = seeded()
    backend.put('companies', { id: 'c3', name: SECRET, city: null, owner_id: null, extra: null })
    for (const options of [{}, { encryption: encryptWith(key(8)) }, { encryption }]) {
      const { store } = openTab(backend, options)
      await until(async () => {
        await isLive(store)
        expect(await everything()).toContain(options.encryption ? '~' : SECRET)
        expect((await stored('records')).length).toBe(store.stats().records)
      })
      if (options.encryption) expect(await everything()).not.toMatch(/diagnosis|Harbour/)
      store.close()
      await pause(10)
    }
  })

  it('shows off-line no record that was kept in clear and is gone since', async () => {
    const backend = seeded()
    const first = openTab(backend, {})
    await isLive(first.store)
    await until(async () => expect((await stored('records')).length).toBeGreaterThan(4))
    first.store.close()
    await pause(10)
    const second = openTab(backend, { encryption })
    await isLive(second.store)
    backend.remove('companies', 'c2')
    await until(() => expect(second.store.get('companies', 'c2')).toBeUndefined())
    // While what was clear goes and what is sealed comes, there may be as many for a moment.
    const isSettled = async () => expect((await stored('records')).length).toBe(second.store.stats().records)
    await until(isSettled)
    await pause(50)
    await until(isSettled)
    second.store.close()
    await pause(10)
    backend.online = false
    const third = openTab(backend, { encryption })
    await until(() => expect(third.store.get('companies', 'c1')?.name).toBe('Harbour Optics'))
    expect(third.store.get('companies', 'c2')).toBeUndefined()
  })

  it('seals what tabs say to each other where that goes through storage', async () => {
    Reflect.deleteProperty(globalThis, 'BroadcastChannel')
    const written: string[] = []
    const { setItem } = storage
    vi.spyOn(storage, 'setItem').mockImplementation(function (this: typeof storage, name: string, value: string) {
      written.push(value)
      setItem.call(storage, name, value)
    })
    const lines = new Lines(seeded())
    const [one, two] = [openTab(lines.one(), { encryption }), openTab(lines.one(), { encryption })]
    await Promise.all([isLive(one.store), isLive(two.store)])
    lines.server.hold()
    one.store.mutate(secret)
    await until(() => expect(two.store.get('companies', 'c1')?.city).toBe(SECRET))
    expect(written.length).toBeGreaterThan(3)
    expect(written.join(' ')).not.toContain('diagnosis')
    lines.server.release()
    // What one key sealed in one place is nothing in another.
    const problems = one.problems.length
    const sealed = written.find((text) => text.startsWith('~'))
    page.dispatchEvent(Object.assign(new Event('storage'), { key: `${session()}:say:x-1`, newValue: sealed }))
    expect(one.problems.slice(problems).map(({ code }) => code)).toEqual(['malformed-message'])
  })
})

describe('what can not be opened', () => {
  /** Leaves one operation that was sealed, and opens the next visit, which must neither send nor delete it. */
  async function visit(options: Parameters<typeof openTab>[1], tamper: (text: string) => string = (text) => text): Promise<string[]> {
    const { store } = await openOffline()
    await store.mutate(secret).durable
    store.close()
    await pause(5)
    const name = storage.keys.find((entry) => entry.includes(':op:'))
    storage.setItem(name!, tamper(storage.getItem(name!)!))
    const before = storage.getItem(name!)
    Reflect.deleteProperty(globalThis, 'indexedDB')
    const backend = seeded()
    const next = openTab(backend, options)
    await isLive(next.store)
    await pause(20)
    expect(backend.pushes).toEqual([])
    expect(storage.getItem(name!)).toBe(before)
    expect(next.store.operations().pending).toEqual([])
    next.store.mutate({ name: 'patch', table: 'companies', key: 'c2', set: { city: 'Ulm' } })
    return [...new Set(next.problems.map(({ code }) => code))]
  }

  it('stays where it is, and is reported: another key', async () => {
    expect(await visit({ encryption: encryptWith(key(8)) })).toEqual(['wrong-key'])
  })

  it('no key', async () => {
    expect(await visit({})).toEqual(['undecryptable-entry'])
  })

  it('a byte that was changed', async () => {
    expect(await visit({ encryption }, (text) => text.slice(0, -6) + (text.at(-6) === 'A' ? 'B' : 'A') + text.slice(-5))).toEqual(['undecryptable-entry'])
  })

  it('no base64 at all', async () => {
    expect(await visit({ encryption }, () => '~!')).toEqual(['undecryptable-entry'])
  })

  it('is not cut short', async () => {
    expect(await visit({ encryption }, (text) => text.slice(0, 21))).toEqual(['undecryptable-entry'])
  })
})

describe('encryptWith', () => {
  it('costs nobody anything who does not import it', () => {
    const seen = new Set<string>()
    const walk = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      for (const [, name] of readFileSync(file, 'utf8').matchAll(/(?:from|import) '([^']+)'/g)) {
        expect(name).not.toMatch(/noble|encryption/)
        if (name?.startsWith('.')) walk(resolve(dirname(file), name))
      }
    }
    walk(resolve(import.meta.dirname, '../../pkg/dist/index.js'))
    expect(seen.size).toBeGreaterThan(8)
  })

  it('takes a key of 32 bytes only', () => {
    for (const wrong of [new Uint8Array(31), 'k'.repeat(32), undefined, [1]]) expect(() => encryptWith(wrong as never)).toThrow(/32 bytes/)
  })

  it('seals the same text differently each time, opens it in its place only, and names it the same each time', () => {
    const [one, two] = [encryption.seal('text', 'here'), encryption.seal('text', 'here')]
    expect(one).not.toBe(two)
    expect(encryption.open(one, 'here')).toBe('text')
    expect(() => encryption.open(one, 'there')).toThrow(expect.objectContaining({ code: 'undecryptable-entry' }))
    expect(() => encryptWith(key(8)).open(one, 'here')).toThrow(expect.objectContaining({ code: 'wrong-key' }))
    expect(encryption.name('text')).toBe(encryption.name('text'))
    expect(encryption.name('text')).not.toBe(encryptWith(key(8)).name('text'))
    const long = 'ä€😀'.repeat(50_000)
    expect(encryption.open(encryption.seal(long, 'here'), 'here')).toBe(long)
  })

  it('a sealer that is none is refused, and one that throws stores nothing in clear', async () => {
    expect(refusal(() => openTab(seeded(), { encryption: { seal: 1 } as never })).code).toBe('invalid-configuration')
    const broken = { ...encryption, seal: () => { throw new Error('the key is gone') } } // prettier-ignore
    const { store } = await openOffline({ encryption: broken })
    expect(refusal(() => store.mutate(secret)).code).toBe('storage-full')
    expect(await everything()).not.toContain('diagnosis')
  })
})
