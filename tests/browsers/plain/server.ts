/**
 * Pages without a bundler, and a server of the protocol's behind them: for what is about the page itself, or about the package as it is
 * published. A page may run this release or an earlier one, in its window or in a worker, and under any policy.
 */

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import ts from 'typescript'
import type { Operation, PullRequest } from 'rota-engine'
import { FakeBackend } from '../../pkg/backend.js'

const ROOT = path.join(import.meta.dirname, '../../..')
const TYPES: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.html': 'text/html', '.json': 'application/json' }

export interface PageOptions {
  /** The release that the page runs; `new` is the one in this tree. */
  readonly release?: 'new' | 'old'
  readonly user?: string
  readonly app?: string
  /** The store runs in a dedicated worker. */
  readonly worker?: boolean
  /** The page registers a service worker, and looks after pushes. */
  readonly push?: boolean
  /** The page's Content-Security-Policy. */
  readonly policy?: string
}

export class PlainServer {
  readonly backend = new FakeBackend()
  /** What the pages' policies kept from happening. */
  readonly violations: unknown[] = []
  readonly #streams = new Set<ServerResponse>()
  readonly #old = mkdtempSync(path.join(tmpdir(), 'rota-release-'))
  readonly #server = createServer((request, response) => void this.#answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error))))

  static async start(): Promise<PlainServer> {
    const server = new PlainServer()
    execFileSync('tar', ['xzf', path.join(ROOT, 'tests/fixtures/releases/tab-protocol-1.tgz'), '-C', server.#old])
    server.reset()
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve))
    return server
  }

  /** Five companies of nobody, and everything else forgotten. */
  reset(): void {
    Object.assign(this, { backend: new FakeBackend() })
    this.backend.connect([], { joined() {}, live() {}, closed() {}, changed: (events) => this.#tell(events) })
    for (let at = 1; at <= 5; at++) this.backend.put('companies', { id: `c${at}`, name: `Company ${at}`, city: null, owner_id: null })
    this.violations.length = 0
  }

  /** Where a page is. */
  page({ policy = '', ...options }: PageOptions = {}): string {
    const query = new URLSearchParams({ options: JSON.stringify(options), policy })
    return `${this.#origin}/page?${query.toString()}`
  }

  /** Another page of the same origin, with nothing on it. */
  get elsewhere(): string {
    return `${this.#origin}/elsewhere`
  }

  cutStreams(): void {
    for (const stream of this.#streams) stream.destroy()
  }

  get streams(): number {
    return this.#streams.size
  }

  async stop(): Promise<void> {
    this.cutStreams()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    rmSync(this.#old, { recursive: true, force: true })
  }

  get #origin(): string {
    return `http://localhost:${(this.#server.address() as AddressInfo).port}`
  }

  async #push(operation: Operation & { parts?: readonly Operation[] }): Promise<unknown> {
    const { id, table, key, parts } = operation
    if (!parts || this.backend.ledger.has(id) || !this.backend.online) return this.backend.push(operation)
    this.backend.pushes.push(operation)
    const records = parts.map((part) => {
      const record = this.backend.put(part.table, { ...this.backend.row(part.table, part.key), ...part.set }, { silently: true })
      record['rota_op'] = id
      this.backend.tell({ table: part.table, kind: 'changed', row: record })
      return { table: part.table, key: part.key, version: String(record['rota_version']), record }
    })
    const answer = { protocol: 1, id, table, key, replayed: false, outcome: 'confirmed' as const, version: records[0]?.version ?? '0', record: records[0]?.record ?? null, records }
    this.backend.ledger.set(id, answer)
    return answer
  }

  #tell(events: readonly unknown[]): void {
    for (const stream of this.#streams) stream.write(`data: ${JSON.stringify(events)}\n\n`)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.#origin)
    const [, first = '', ...rest] = url.pathname.split('/')
    const send = (type: string, body: string | Buffer) => void response.writeHead(200, { 'content-type': type }).end(body)
    const json = (value: unknown) => send('application/json', JSON.stringify(value))
    switch (first) {
      case 'page': {
        const policy = url.searchParams.get('policy')
        if (policy) response.setHeader('content-security-policy', policy)
        return send('text/html', '<!doctype html><meta charset="utf-8"><title>Rota</title><script type="module" src="/page.js"></script>')
      }
      case 'elsewhere':
        return send('text/html', '<!doctype html><title>Elsewhere</title>')
      case 'page.js':
      case 'store.js':
      case 'push.js':
      case 'worker.js':
      case 'service-worker.js':
        return send('text/javascript', script(first.replace('.js', '.ts')))
      case 'new':
      case 'old': {
        const folder = first === 'new' ? path.join(ROOT, 'pkg') : path.join(this.#old, 'package')
        const file = path.join(folder, ...rest)
        return send(TYPES[path.extname(file)] ?? 'application/octet-stream', readFileSync(file))
      }
      case 'stream': {
        response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).write(': open\n\n')
        this.#streams.add(response)
        response.on('close', () => this.#streams.delete(response))
        return
      }
      case 'pull':
        return json(await this.backend.pull((await bodyOf(request)) as PullRequest))
      case 'push':
        return json(await this.#push((await bodyOf(request)) as Operation & { parts?: readonly Operation[] }))
      case 'violation':
        this.violations.push(await bodyOf(request))
        return json(null)
      default:
        return void response.writeHead(404).end()
    }
  }
}

function script(name: string): string {
  const source = readFileSync(path.join(import.meta.dirname, name), 'utf8')
  return ts.transpileModule(source, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022, verbatimModuleSyntax: true } }).outputText
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return JSON.parse(Buffer.concat(chunks).toString())
}
