import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { rawSocket } from './raw-socket.js'
import { openWorld, type World } from './world.js'

let world: World
let bad: Record<string, string>
beforeAll(async () => {
  world = await openWorld()
  const claims = { role: 'authenticated', sub: world.ada.id }
  const unsigned = [
    { alg: 'none', typ: 'JWT' },
    { ...claims, exp: Date.now() },
  ].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  bad = {
    'an expired token': await world.forge(claims, { expiresIn: -1 }),
    'a token under another secret': await world.forge(claims, { secret: 'x'.repeat(64) }),
    'a token of another algorithm': await world.forge(claims, { algorithm: 'HS512' }),
    'an unsigned token': `${unsigned.join('.')}.`,
    'a token for the role postgres': await world.forge({ ...claims, role: 'postgres' }),
    'a token without a role': await world.forge({ sub: world.ada.id }),
    'a token whose subject is no person': await world.forge({ ...claims, sub: "' or true --" }),
    'no token at all, but text': 'hello',
  }
})
afterAll(() => world.close())

const BAD = [
  'an expired token',
  'a token under another secret',
  'a token of another algorithm',
  'an unsigned token',
  'a token for the role postgres',
  'a token without a role',
  'a token whose subject is no person',
  'no token at all, but text',
]

describe('REST and functions', () => {
  it.each(BAD)('refuse %s with 401', async (name) => {
    const headers = world.headers(bad[name])
    const table = await fetch(`${world.gateway.url}/rest/v1/notes`, { headers })
    const rpc = await fetch(`${world.gateway.url}/rest/v1/rpc/whoami`, { method: 'POST', headers, body: '{}' })
    for (const response of [table, rpc]) {
      expect(response.status).toBe(401)
      expect(await response.json()).toEqual({ code: 'PGRST301', message: expect.stringMatching(/^JWT/), details: null, hint: null })
    }
  })

  it.each([
    ['without a key', {}],
    ['with a key of our own making', { apikey: 'nonsense' }],
  ])('refuse a call %s with 401', async (_, headers) => {
    for (const path of ['/rest/v1/notes', '/auth/v1/user', '/rest/v1/rpc/whoami']) {
      const response = await fetch(world.gateway.url + path, { headers })
      expect(response.status).toBe(401)
      expect(await response.json()).toHaveProperty('message', expect.stringMatching(/API key/))
    }
  })

  it('let the anonymous key do what the role anon may, and no more', async () => {
    const client = world.anonymous()
    expect((await client.rpc('whoami')).data).toEqual({ uid: null, role: 'anon', user: 'anon' })
    expect((await client.from('board').select('team,day')).error).toBeNull()
    const refused = await client.from('notes').select()
    expect([refused.status, refused.error?.code]).toEqual([401, '42501'])
  })
})

describe('Realtime', () => {
  it.each(BAD)('refuses a join with %s', async (name) => {
    const socket = await rawSocket(world)
    const reply = await socket.join('realtime:room', [], { access_token: bad[name] })
    expect(reply).toEqual({ status: 'error', response: { reason: expect.stringMatching(/^InvalidJWTToken: JWT/) } })
    socket.ws.close()
  })

  it.each(BAD)('closes a channel that is handed %s later', async (name) => {
    const socket = await rawSocket(world)
    await socket.join('realtime:room', [])
    socket.send(['1', '2', 'realtime:room', 'access_token', { access_token: bad[name]! }])
    const system = await socket.next((frame) => frame[3] === 'system')
    expect(system[4]).toMatchObject({ status: 'error', extension: 'system', message: expect.stringMatching(/^Token/) })
    expect(await socket.next((frame) => frame[3] === 'phx_close')).toEqual(['1', '1', 'realtime:room', 'phx_close', {}])
    expect(world.gateway.stats().channels).toBe(0)
    socket.ws.close()
  })

  it.each([
    ['no key', '', {}, 401],
    ['a wrong key', '?apikey=x', {}, 401],
    ['an unknown version', '?apikey=KEY&vsn=3.0.0', {}, 400],
    ['a page from elsewhere', '?apikey=KEY', { origin: 'https://example.org' }, 403],
  ])('refuses the handshake with %s', async (_, query, headers, status) => {
    const url = `${world.gateway.url.replace('http', 'ws')}/realtime/v1/websocket${query.replace('KEY', world.gateway.anonKey)}`
    const ws = new WebSocket(url, { headers })
    const answer = await new Promise<{ status: number | undefined; body: string }>((resolve) => {
      ws.on('error', () => {})
      ws.on('unexpected-response', (_request, response) => {
        response.on('data', (body) => resolve({ status: response.statusCode, body: String(body) }))
      })
    })
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.body)).toEqual({ error: expect.any(String) })
  })
})

describe('Origins', () => {
  const preflight = (origin: string) =>
    fetch(`${world.gateway.url}/rest/v1/notes`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'apikey,authorization,prefer,x-retry-count',
      },
    })

  it.each(['http://localhost:5173', 'http://127.0.0.1:8080', 'http://[::1]:3000'])('%s may call', async (origin) => {
    const response = await preflight(origin)
    expect(response.status).toBe(204)
    expect(response.headers.get('access-control-allow-origin')).toBe(origin)
    expect(response.headers.get('access-control-allow-headers')).toContain('x-retry-count')
    const get = await fetch(`${world.gateway.url}/rest/v1/board?select=team`, { headers: { ...world.headers(), origin } })
    expect(get.headers.get('access-control-expose-headers')).toContain('Content-Range')
    const failed = await fetch(`${world.gateway.url}/rest/v1/nowhere`, { headers: { ...world.headers(), origin } })
    expect([failed.status, failed.headers.get('access-control-allow-origin')]).toEqual([404, origin])
  })

  it.each(['https://example.org', 'http://localhost.example.org', 'null'])('%s may not', async (origin) => {
    expect((await preflight(origin)).status).toBe(403)
    const get = await fetch(`${world.gateway.url}/rest/v1/board?select=team`, { headers: { ...world.headers(), origin } })
    expect([get.status, get.headers.get('access-control-allow-origin')]).toEqual([403, null])
  })
})

it('says that it is a stand-in, before anything else', async () => {
  expect(world.lines[0]).toMatch(/stand-in.*not Supabase/)
  expect(await (await fetch(world.gateway.url)).json()).toMatchObject({ notice: expect.stringMatching(/stand-in.*not Supabase/) })
})
