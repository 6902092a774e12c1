/** One PostgreSQL for the whole run; each test file makes its own database in it. */

import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { startPostgres } from '../../www/server/postgres.js'

declare module 'vitest' {
  export interface ProvidedContext {
    serverUrl: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-tests-'))
  await chmod(folder, 0o755) // PostgreSQL's user has to enter it
  const postgres = await startPostgres({ dataDir: join(folder, 'data') })
  project.provide('serverUrl', postgres.url)
  return async () => {
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}
