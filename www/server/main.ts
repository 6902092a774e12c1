/** Starts the demo from the command line, and stops all of it at Ctrl-C. */

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startDemo } from './demo.js'
import { DEMO_PASSWORD, DEMO_PEOPLE } from './people.js'
import { smoke } from './smoke.js'

const USAGE = `Starts the Rota demo: PostgreSQL, a development gateway and the page, all on 127.0.0.1.

  --port N           the page's port (usually 5173)
  --gateway-port N   the gateway's port (usually 5180)
  --dev              serve the page's sources, with hot reload
  --smoke            drive the demo once through a headless browser ($CHROME), then stop
  --help             this text

What it keeps is in .rota/demo: remove that folder to start afresh. DATABASE_URL makes it use a PostgreSQL of yours.`

const log = (line: string): void => console.log(line)

try {
  const { values } = parseArgs({
    options: {
      port: { type: 'string' },
      'gateway-port': { type: 'string' },
      dev: { type: 'boolean', default: false },
      smoke: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const ports = { pagePort: portOf('--port', values.port), gatewayPort: portOf('--gateway-port', values['gateway-port']) }
  if (values.help) log(USAGE)
  else if (values.smoke) process.exitCode = (await smoke({ ...ports, log })) ? 0 : 1
  else await serve({ ...ports, page: values.dev ? 'dev' : 'built' })
} catch (cause) {
  const isUsage = (cause as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') ?? false
  console.error(`${(cause as Error).message}${isUsage ? `\n\n${USAGE}` : ''}`)
  process.exitCode = 1
}

function portOf(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw new Error(`${flag} needs a port from 0 to 65535, not "${text}"`)
  return port
}

async function serve(options: { pagePort: number | undefined; gatewayPort: number | undefined; page: 'dev' | 'built' }): Promise<void> {
  // Before the first child starts: a Ctrl-C in between must not leave one behind.
  const asked = stopAsked()
  const demo = await startDemo({ ...options, dataDir: fileURLToPath(new URL('../../.rota/demo', import.meta.url)), log })
  const database = new URL(demo.databaseUrl)
  log(`
  Rota demo:   ${demo.pageUrl}
  sign in as   ${DEMO_PEOPLE[0]?.name} or one of ${DEMO_PEOPLE.length - 1} others, with one click (password ${DEMO_PASSWORD})
  gateway      ${demo.gatewayUrl} – a development stand-in, not Supabase
  PostgreSQL   ${database.hostname}:${database.port}${demo.databaseDir === undefined ? '' : `, in ${path.relative(process.cwd(), demo.databaseDir)}`}
  Ctrl-C       stops it
`)
  await asked
  log('stopping …')
  await demo.stop()
  log('stopped')
  // Keep-alive connections of open pages would hold the process for a while.
  process.exit(0)
}

/** Resolves at the first signal; the second ends the process there and then. */
function stopAsked(): Promise<void> {
  return new Promise((resolve) => {
    let isAsked = false
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (isAsked) process.exit(130)
        isAsked = true
        resolve()
      })
    }
  })
}
