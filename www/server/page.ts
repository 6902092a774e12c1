/** Serves a page that Vite builds: the demo's own, and the tests'. Beside it lies /config.json, which says where the gateway is. */

import path from 'node:path'
import type { Connect, InlineConfig, Plugin } from 'vite'

export interface PageOptions {
  /** The folder of the page's sources, with its `vite.config.ts`. */
  readonly root: string
  /** Where to put what is built. */
  readonly outDir: string
  /** A port that is free. */
  readonly port: number
  /** `dev` serves the sources with hot reload, `built` what users would get. */
  readonly kind: 'dev' | 'built'
  readonly config: PageConfig
}

export interface PageConfig {
  readonly gatewayUrl: string
  readonly anonKey: string
}

export interface Page {
  readonly url: string
  readonly stop: () => Promise<void>
}

const HOST = '127.0.0.1'

export async function startPage({ root, outDir, port, kind, config }: PageOptions): Promise<Page> {
  // Loaded here: without a page nobody needs it.
  const vite = await import('vite')
  const shared: InlineConfig = {
    configFile: path.join(root, 'vite.config.ts'),
    root,
    logLevel: 'warn',
    clearScreen: false,
    plugins: [configJson(config)],
  }
  const listen = { host: HOST, port, strictPort: true }
  const url = `http://${HOST}:${port}`

  if (kind === 'dev') {
    const server = await keepingSignals(async () => (await vite.createServer({ ...shared, server: listen })).listen())
    return { url, stop: () => server.close() }
  }
  await asProduction(() => vite.build({ ...shared, build: { outDir, emptyOutDir: true, reportCompressedSize: false } }))
  const headers = { 'Content-Security-Policy': policy(config) }
  const server = await keepingSignals(() => vite.preview({ ...shared, build: { outDir }, preview: { ...listen, headers } }))
  return { url, stop: () => server.close() }
}

/** Tells the page where the gateway is. The page's own server answers, so it works while the gateway is down. */
function configJson(config: PageConfig): Plugin {
  const serve = (middlewares: Connect.Server) => {
    middlewares.use('/config.json', (_request, response) => {
      response.setHeader('Content-Type', 'application/json')
      response.setHeader('Cache-Control', 'no-store')
      response.end(JSON.stringify(config))
    })
  }
  return {
    name: 'rota-demo-config',
    configureServer: (server) => serve(server.middlewares),
    configurePreviewServer: (server) => serve(server.middlewares),
  }
}

/** As strict as a page with Rota can have it: the engine needs `wasm-unsafe-eval`, and nothing else out of the ordinary. */
function policy({ gatewayUrl }: PageConfig): string {
  const socketUrl = gatewayUrl.replace(/^http/, 'ws')
  return `default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; connect-src 'self' ${gatewayUrl} ${socketUrl}`
}

/** Vite's servers end the process at SIGTERM, before the rest of the demo has stopped. This takes that back. */
async function keepingSignals<T>(start: () => Promise<T>): Promise<T> {
  const before = process.listeners('SIGTERM')
  const started = await start()
  for (const listener of process.listeners('SIGTERM')) if (!before.includes(listener)) process.off('SIGTERM', listener)
  return started
}

/** Vite builds for whatever NODE_ENV says, and test runners set it. */
async function asProduction<T>(build: () => Promise<T>): Promise<T> {
  const before = process.env['NODE_ENV']
  process.env['NODE_ENV'] = 'production'
  try {
    return await build()
  } finally {
    if (before === undefined) delete process.env['NODE_ENV']
    else process.env['NODE_ENV'] = before
  }
}
