/**
 * The HTTP side: one application that checks origin, key and size before anything else, applies the faults a test has
 * asked for, and hands over to auth and REST. A path that nobody serves is refused in words.
 */

import type { HttpBindings } from '@hono/node-server'
import { Hono, type MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { setTimeout as sleep } from 'node:timers/promises'
import { authRoutes, type AuthParts } from './auth/routes.js'
import { takeFault, type Faults } from './faults.js'
import { Problem, unsupported } from './problems.js'
import { restRoutes, type RestParts } from './rest/routes.js'

export const NOTICE = 'Development stand-in that speaks a part of the Supabase protocol. This is not Supabase: use it on your own machine only.'

type Env = { Bindings: HttpBindings }

export interface HttpParts extends AuthParts, RestParts {
  faults: Faults
  isAllowedOrigin: (origin: string) => boolean
}

export function httpApp(parts: HttpParts): Hono<Env> {
  const app = new Hono<Env>()
  app.use('*', foreignOriginsRefused(parts.isAllowedOrigin))
  app.use(
    '*',
    cors({
      origin: (origin) => (parts.isAllowedOrigin(origin) ? origin : null),
      allowMethods: ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE', 'OPTIONS'],
      exposeHeaders: ['Content-Range', 'Content-Encoding', 'X-Supabase-Api-Version', 'WWW-Authenticate'],
      maxAge: 600,
    }),
  )
  app.get('/', (c) => c.json({ name: 'rota development gateway', notice: NOTICE, serves: ['/auth/v1', '/rest/v1', '/realtime/v1/websocket'] }))
  app.use('*', keyRequired(parts.tokens.anonKey))
  app.use('*', limitedBody(parts.limits.bodyBytes))
  app.use('/rest/v1/*', faulty(parts.faults))
  app.route('/auth/v1', authRoutes(parts))
  app.route('/rest/v1', restRoutes(parts))
  app.all('*', (c) => {
    throw unsupported(`${c.req.method} ${c.req.path}`)
  })
  app.onError((error, c) => {
    const problem = error instanceof Problem ? error : new Problem(500, 'unexpected', 'the gateway failed')
    if (!(error instanceof Problem)) parts.log(`http: ${error.stack ?? error.message}`)
    return c.json(problem.body(), problem.status as 400)
  })
  return app
}

/** Loopback pages only, unless told: any page in the person's browser could otherwise talk to this port. */
export function originRule(allowed: readonly string[]): (origin: string) => boolean {
  return (origin) => {
    if (allowed.includes(origin)) return true
    try {
      const { hostname } = new URL(origin)
      return hostname === 'localhost' || hostname.endsWith('.localhost') || hostname === '127.0.0.1' || hostname === '[::1]'
    } catch {
      return false
    }
  }
}

function foreignOriginsRefused(isAllowed: (origin: string) => boolean): MiddlewareHandler<Env> {
  return async (c, next) => {
    const origin = c.req.header('origin')
    if (origin !== undefined && !isAllowed(origin)) throw new Problem(403, 'origin', 'only pages of this machine may call')
    await next()
  }
}

function keyRequired(anonKey: string): MiddlewareHandler<Env> {
  return async (c, next) => {
    const key = c.req.header('apikey') ?? c.req.query('apikey')
    if (key === undefined) {
      throw new Problem(401, 'no-api-key', 'No API key found in request', null, 'No `apikey` request header or url param was found.')
    }
    if (key !== anonKey) throw new Problem(401, 'invalid-api-key', 'Invalid API key')
    await next()
  }
}

/** By the length that the request declares, to which Node holds it. Browsers declare it for every body they have. */
function limitedBody(bytesMax: number): MiddlewareHandler<Env> {
  return async (c, next) => {
    if (c.req.header('transfer-encoding') !== undefined) throw new Problem(411, 'length-required', 'a request body must declare its length')
    if (Number(c.req.header('content-length') ?? 0) > bytesMax) {
      throw new Problem(413, 'body-too-large', `the request body is larger than ${bytesMax} bytes`)
    }
    await next()
  }
}

function faulty(faults: Faults): MiddlewareHandler<Env> {
  return async (c, next) => {
    const cut = (): void => {
      c.env.incoming.socket.destroy()
    }
    if (faults.delayRestMs > 0) await sleep(faults.delayRestMs)
    if (takeFault(faults, 'dropNextRest')) {
      cut()
      return c.body(null)
    }
    await next()
    if (takeFault(faults, 'dropNextRestAnswer')) cut()
    return
  }
}
