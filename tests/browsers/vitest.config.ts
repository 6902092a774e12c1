import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// Run with: BROWSERS=chromium,firefox,webkit CHROME=… FIREFOX=… WEBKIT_DRIVER=… MINIBROWSER=… npx vitest run --config tests/browsers/vitest.config.ts
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: {
    include: ['*.test.ts'],
    globalSetup: './demo.setup.ts',
    reporters: ['default', fileURLToPath(new URL('table.ts', import.meta.url))],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    // One demo: tests follow each other, and take turns with its data.
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    sequence: { concurrent: false, shuffle: false },
  },
})
