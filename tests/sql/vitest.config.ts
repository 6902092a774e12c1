import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// Run with: npx vitest run --config tests/sql/vitest.config.ts
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: {
    include: ['*.test.ts'],
    globalSetup: './server.ts',
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
