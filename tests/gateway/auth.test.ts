// Answers of the network are read as they come.
/* oxlint-disable typescript/no-explicit-any */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openWorld, type World } from './world.js'

let world: World
beforeAll(async () => {
  world = await openWorld({ limits: { signInFailuresPerEmail: 3 } })
})
afterAll(() => world.close())

describe('signing in', () => {
  it('answers a session in the shape of GoTrue', async () => {
    const response = await fetch(`${world.gateway.url}/auth/v1/token?grant_type=password`, {
      method: 'POST',
      headers: { ...world.headers(), 'Content-Type': 'application/json' },
      body: JSON.stringify({ email: 'ADA@example.org', password: world.ada.password }),
    })
    const body = await response.json()
    expect(response.status).toBe(200)
    expect(body).toMatchObject({
      token_type: 'bearer',
      expires_in: 3600,
      access_token: expect.any(String),
      refresh_token: expect.any(String),
    })
    expect(body.expires_at).toBeCloseTo(Date.now() / 1000 + 3600, -1)
    expect(body.user).toMatchObject({ id: world.ada.id, email: world.ada.email, role: 'authenticated', user_metadata: { name: 'ada' } })
    expect(JSON.stringify(body)).not.toContain('$2')
  })

  it('gives a token that says who it is for', async () => {
    const client = await world.signedIn(world.ada)
    const { data, error } = await client.rpc('whoami')
    expect(error).toBeNull()
    expect(data).toEqual({ uid: world.ada.id, role: 'authenticated', user: 'authenticated' })
  })

  it('answers a wrong password and an unknown address alike, and stops guessing after a few', async () => {
    const client = world.anonymous()
    const attempt = async (email: string) => (await client.auth.signInWithPassword({ email, password: 'wrong' })).error
    const wrong = await attempt(world.bob.email)
    const unknown = await attempt('nobody@example.org')
    expect(wrong).toMatchObject({ status: 400, code: 'invalid_credentials', message: 'Invalid login credentials' })
    expect({ ...unknown }).toEqual({ ...wrong })
    await attempt(world.bob.email)
    await attempt(world.bob.email)
    expect(await attempt(world.bob.email)).toMatchObject({ status: 429, code: 'over_request_rate_limit' })
    expect((await client.auth.signInWithPassword(world.ada)).error).toBeNull()
  })

  it.each([
    ['not JSON', '{', 'bad_json'],
    ['a list', '[]', 'validation_failed'],
    ['no password', '{"email":"a@b"}', 'validation_failed'],
    ['a number for a password', '{"email":"a@b","password":1}', 'validation_failed'],
    ['a NUL in the address', '{"email":"a\\u0000","password":"x"}', 'validation_failed'],
  ])('refuses %s', async (_, body, code) => {
    const response = await fetch(`${world.gateway.url}/auth/v1/token?grant_type=password`, {
      method: 'POST',
      headers: world.headers(),
      body,
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 400, error_code: code, msg: expect.any(String) })
  })
})

describe('refreshing', () => {
  it('replaces the token', async () => {
    const client = await world.signedIn(world.ada)
    const before = (await client.auth.getSession()).data.session!
    const { data, error } = await client.auth.refreshSession()
    expect(error).toBeNull()
    expect(data.session!.refresh_token).not.toBe(before.refresh_token)
    expect((await client.auth.getUser()).data.user!.id).toBe(world.ada.id)
  })

  it('gives several tabs that refresh at once the same successor', async () => {
    const token = await refreshTokenOf(world.ada)
    const answers = await Promise.all([refresh(token), refresh(token), refresh(token)])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(new Set(answers.map(({ body }) => body.refresh_token)).size).toBe(1)
    const next = answers[0]!.body.refresh_token
    const after = await refresh(next)
    expect((await refresh(token)).body.refresh_token).toBe(after.body.refresh_token)
  })

  it('ends the session when a spent token comes back late', async () => {
    const token = await refreshTokenOf(world.ada)
    const next = (await refresh(token)).body
    await world.db.query("update auth.refresh_tokens set spent_at = spent_at - interval '11 seconds' where spent_at is not null")
    expect(await refresh(token)).toMatchObject({ status: 400, body: { code: 400, error_code: 'refresh_token_already_used' } })
    expect(await refresh(next.refresh_token)).toMatchObject({ status: 400, body: { error_code: 'refresh_token_not_found' } })
    const user = await fetch(`${world.gateway.url}/auth/v1/user`, { headers: world.headers(next.access_token) })
    expect([user.status, (await user.json()).error_code]).toEqual([403, 'session_not_found'])
  })

  it('keeps no token in clear', async () => {
    const token = await refreshTokenOf(world.ada)
    await refresh(token)
    const { rows } = await world.db.query('select t::text from auth.refresh_tokens t')
    expect(rows.length).toBeGreaterThan(1)
    expect(JSON.stringify(rows)).not.toContain(token)
  })

  it('survives a restart of the gateway', async () => {
    const client = await world.signedIn(world.ada)
    await world.gateway.kill()
    await world.restart()
    expect((await client.auth.refreshSession()).error).toBeNull()
  })
})

describe('signing out', () => {
  it.each([
    ['local', [false, true]],
    ['others', [true, false]],
    ['global', [false, false]],
  ] as const)('ends the sessions of scope %s', async (scope, [firstLives, secondLives]) => {
    const [first, second] = [await world.signedIn(world.ada), await world.signedIn(world.ada)]
    const tokens = await Promise.all([first, second].map(async (client) => (await client.auth.getSession()).data.session!.access_token))
    const bystander = await world.accessToken(world.bob).catch(() => undefined)
    expect((await first.auth.signOut({ scope })).error).toBeNull()
    const lives = await Promise.all(tokens.map(async (token) => (await first.auth.getUser(token)).error === null))
    expect(lives).toEqual([firstLives, secondLives])
    if (bystander) expect((await first.auth.getUser(bystander)).error).toBeNull()
  })

  it('refuses without a token, and with a bad one', async () => {
    const post = (token?: string) => fetch(`${world.gateway.url}/auth/v1/logout`, { method: 'POST', headers: world.headers(token) })
    expect(await (await post()).json()).toMatchObject({ code: 401, error_code: 'no_authorization' })
    expect(await (await post('x.y.z')).json()).toMatchObject({ code: 403, error_code: 'bad_jwt' })
    expect(await (await post(world.gateway.anonKey)).json()).toMatchObject({ code: 403, error_code: 'bad_jwt' })
  })
})

it('the migration goes forward twice and back, and leaves a foreign auth schema alone', async () => {
  const up = await readFile(new URL('../../www/server/sql/auth/0001_auth.sql', import.meta.url), 'utf8')
  const down = await readFile(new URL('../../www/server/sql/auth/0001_auth.down.sql', import.meta.url), 'utf8')
  const tx = await world.db.connect()
  try {
    await tx.query('begin')
    await tx.query(up)
    await expect(tx.query(`savepoint s; ${down}`)).rejects.toThrow(/depend/)
    await tx.query('rollback to s')
    await tx.query('drop policy own on public.notes; drop function public.add_note, public.whoami')
    await tx.query(down)
    expect((await tx.query("select to_regnamespace('auth') as there")).rows[0].there).toBeNull()
    await tx.query("create schema auth; create function auth.uid() returns uuid language sql as 'select null::uuid'")
    await tx.query(up)
    await tx.query(down)
    expect((await tx.query("select to_regprocedure('auth.uid()')::text as f, to_regclass('auth.users') as t")).rows[0]).toEqual({
      f: 'auth.uid()',
      t: null,
    })
  } finally {
    await tx.query('rollback')
    tx.release()
  }
})

async function refreshTokenOf(person: World['ada']): Promise<string> {
  return (await (await world.signedIn(person)).auth.getSession()).data.session!.refresh_token
}

async function refresh(token: string): Promise<{ status: number; body: any }> {
  const response = await fetch(`${world.gateway.url}/auth/v1/token?grant_type=refresh_token`, {
    method: 'POST',
    headers: world.headers(),
    body: JSON.stringify({ refresh_token: token }),
  })
  return { status: response.status, body: await response.json() }
}
