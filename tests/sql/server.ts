// One PostgreSQL for all files of a run, in a folder of its own that goes away with it. ROTA_POSTGRES=15 tries another version.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { TestProject } from 'vitest/node'
import { startPostgres } from '../../www/server/postgres.js'
import { programsOf } from './versions.js'

declare module 'vitest' {
  export interface ProvidedContext {
    postgresUrl: string
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(path.join(tmpdir(), 'rota-sql-'))
  chmodSync(folder, 0o755) // PostgreSQL's user has to enter it
  const programs = programsOf(process.env['ROTA_POSTGRES'])
  const server = await startPostgres({ dataDir: path.join(folder, 'data'), programs, settings: { fsync: 'off', deadlock_timeout: '200ms' } })
  project.provide('postgresUrl', server.url)
  return async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
