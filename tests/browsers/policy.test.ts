/** The published package under a strict policy, in a worker, and what it keeps and hears. */

import { expect } from 'vitest'
import { inPlainPages } from './plain/tab.js'

/** As strict as a page can be that loads its own scripts, asks its own server, and runs WebAssembly; and browsers ask for an icon. */
const STRICT = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

inPlainPages((world) => {
  for (const [what, policy] of [
    ['a strict Content-Security-Policy', STRICT],
    ['Trusted Types, without any policy of theirs', `${STRICT}; require-trusted-types-for 'script'; trusted-types 'none'`],
  ] as const) {
    world.test(`the package works under ${what}`, async () => {
      const [one, two] = [await world.open({ policy }), await world.open({ policy })]
      await one.isLive('leader')
      await two.isLive('follower')
      expect(await two.ended(await two.patch('c1', 'Kiel'))).toMatchObject({ outcome: 'confirmed' })
      await one.shows('c1', 'Kiel')
      expect(await one.status()).toMatchObject({ durability: 'full' })
      for (const tab of [one, two]) expect(await errors(tab)).toEqual([])
      expect(world.server.violations).toEqual([])
      // The policy is one: what it forbids does not happen.
      expect(await one.evaluate(() => {
        try {
          const script = document.createElement('script')
          script.text = 'window.ran = true'
          document.head.append(script)
        } catch {
          // Trusted Types throw, a policy is silent.
        }
        return 'ran' in window
      })).toBe(false)
    })
  }

  world.test('without wasm-unsafe-eval, init says why there is no engine', async () => {
    const tab = await world.open({ policy: "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'" })
    expect((await errors(tab)).join()).toMatch(/wasm|WebAssembly|Content Security Policy|unsafe-eval/i)
    expect(await tab.evaluate(() => window.plain.store === undefined)).toBe(true)
  })

  // Under WebKit's driver the tab of a page with a worker is lost.
  if (world.engine !== 'webkit') world.test('a store in a dedicated worker shares everything with the tabs, and keeps what it does in IndexedDB alone', async () => {
    const page = await world.open()
    await page.isLive('leader')
    const tab = await world.open({ worker: true })
    const status = await tab.waitFor(() => window.plain.ask!('status') as Promise<{ role: string; durability: string; ready: boolean }>, ({ ready }) => ready)
    expect(status).toMatchObject({ role: 'follower', durability: 'async' })
    const id = await tab.evaluate(() => window.plain.ask!('patch', 'c1', 'Kiel') as Promise<string>)
    await page.shows('c1', 'Kiel')
    await expect.poll(() => tab.evaluate((of) => window.plain.ask!('end', of), id)).toMatchObject({ outcome: 'confirmed' })
    await page.patch('c2', 'Ulm')
    await expect.poll(() => tab.evaluate(() => window.plain.ask!('city', 'c2'))).toBe('Ulm')
    await page.close()
    await expect.poll(() => tab.evaluate(() => window.plain.ask!('status')), { timeout: 10_000 }).toMatchObject({ role: 'leader', link: { state: 'live' } })
    world.server.backend.online = false
    const kept = await tab.evaluate(() => window.plain.ask!('patch', 'c3', 'Hof') as Promise<string>)
    await new Promise((resolve) => setTimeout(resolve, 500))
    await tab.close()
    world.server.backend.online = true
    const again = await world.open()
    await again.shows('c3', 'Hof')
    await expect.poll(() => world.server.backend.ledger.has(kept), { timeout: 10_000 }).toBe(true)
    expect(await errors(again)).toEqual([])
  })

  world.test('messages and entries of another application or person are nobody’s business here', async () => {
    const mine = await world.open()
    await mine.isLive('leader')
    const others = [await world.open({ user: 'jonas' }), await world.open({ app: 'elsewhere' })]
    for (const other of others) await other.isLive('leader')
    world.server.backend.hold()
    for (const other of others) await other.patch('c1', 'Kiel')
    // As if it came from a tab of theirs, whatever channel it comes on; and as if it lay in a place of theirs.
    await mine.evaluate(() => {
      const entries = Object.keys(localStorage).filter((key) => key.includes(':op:'))
      for (const key of entries) localStorage.setItem(`${key}x`, localStorage.getItem(key) ?? '')
      for (const name of ['rota:1:plain:jonas', 'rota:1:elsewhere:maya']) {
        const channel = new BroadcastChannel(name)
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel, which is of one origin
        channel.postMessage({ v: 1, kind: 'signedOut', from: 'x', epoch: 1, seq: 1 })
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- the same
        channel.postMessage('nonsense')
        channel.close()
      }
    })
    expect(await mine.city('c1')).toBeNull()
    expect(await mine.status()).toMatchObject({ unsent: 0 })
    await mine.evaluate(() => void window.plain.store!.close({ purge: true }))
    for (const other of others) {
      expect(await other.status()).toMatchObject({ unsent: 1 })
    }
    world.server.backend.release()
    for (const other of others) {
      await other.waitFor(() => window.plain.store!.status().unsent, (unsent) => unsent === 0)
    }
    expect(world.server.backend.ledger.size).toBe(2)
  })
})

const errors = (tab: { evaluate<R>(run: () => R): Promise<Awaited<R>> }): Promise<string[]> => tab.evaluate(() => window.plain.errors as string[])
