import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// Run with: CHROME=/path/to/chromium npx vitest run --config tests/e2e/vitest.config.ts
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: {
    include: ['*.test.ts'],
    globalSetup: './demo.setup.ts',
    testTimeout: 90_000,
    hookTimeout: 90_000,
    // One demo and one browser: tests follow each other, and take turns with its data.
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    sequence: { concurrent: false, shuffle: false },
  },
})
