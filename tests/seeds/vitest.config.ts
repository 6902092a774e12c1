import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// The seed documents' own items, on the real backend. Run with: npx vitest run --config tests/seeds/vitest.config.ts
export default defineConfig({
  cacheDir: fileURLToPath(new URL('../../node_modules/.vite/seeds', import.meta.url)),
  test: {
    root: fileURLToPath(new URL('.', import.meta.url)),
    include: ['*.test.ts'],
    globalSetup: ['../gateway/database.setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
  },
})
