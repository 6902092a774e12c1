/**
 * Starts the whole demo once for a suite, on free ports and with data of its own. It lives in the runner's process and the
 * tests in another, so a small server on 127.0.0.1 hands over what tests want to do to the gateway.
 */

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import pg from 'pg'
import type { TestProject } from 'vitest/node'
import { startDemo, type Demo } from '../../www/server/demo.js'
import type { Faults } from '../../www/server/gateway/index.js'
import { resetDemo } from '../../www/server/seed.js'

declare module 'vitest' {
  export interface ProvidedContext {
    pageUrl: string
    gatewayUrl: string
    anonKey: string
    databaseUrl: string
    controlUrl: string
  }
}

/** What the gateway's part of the harness may ask for. The body is JSON, and so is the answer. */
export type Command =
  | { readonly do: 'stop'; readonly how: 'close' | 'kill' }
  | { readonly do: 'start' }
  | { readonly do: 'faults'; readonly faults: Partial<Faults> }
  | { readonly do: 'stats' }
  | { readonly do: 'reset' }

/** The demo with its own page, or with another: the folder of that one's sources. */
export async function startForSuite(project: TestProject, pageRoot?: string): Promise<() => Promise<void>> {
  const dataDir = mkdtempSync(path.join(tmpdir(), 'rota-demo-'))
  chmodSync(dataDir, 0o755) // PostgreSQL's user has to enter it
  const lines: string[] = []
  const log = (line: string) => void lines.push(line)
  const demo = await startDemo({ dataDir, pagePort: 0, gatewayPort: 0, page: 'built', pageRoot, log }).catch((cause: unknown) => {
    console.error(lines.join('\n'))
    throw cause
  })
  const control = await startControl(demo)
  project.provide('pageUrl', demo.pageUrl)
  project.provide('gatewayUrl', demo.gatewayUrl)
  project.provide('anonKey', demo.anonKey)
  project.provide('databaseUrl', demo.databaseUrl)
  project.provide('controlUrl', `http://127.0.0.1:${(control.address() as AddressInfo).port}`)
  return async () => {
    control.close()
    control.closeAllConnections()
    await demo.stop()
    for (const folder of [dataDir, demo.databaseDir]) if (folder) rmSync(folder, { recursive: true, force: true })
  }
}

function startControl(demo: Demo): Promise<Server> {
  const server = createServer((request, response) => {
    void bodyOf(request)
      .then((body) => obey(demo, JSON.parse(body) as Command))
      .then(
        (answer) => response.end(JSON.stringify(answer ?? null)),
        (cause: unknown) => response.writeHead(500).end(cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)),
      )
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += chunk as string
  return body
}

async function obey(demo: Demo, command: Command): Promise<unknown> {
  switch (command.do) {
    case 'stop':
      return demo.stopGateway(command.how)
    case 'start':
      return demo.startGateway()
    case 'faults':
      return void Object.assign(demo.gateway().faults, command.faults)
    case 'stats':
      return demo.gateway().stats()
    case 'reset':
      return reset(demo.databaseUrl)
  }
}

async function reset(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await resetDemo(client)
  } finally {
    await client.end()
  }
}
