import { defineConfig } from 'vitest/config'

// Tests of the built package, as an application imports it.
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['*.test.ts', '*.test.tsx'],
    testTimeout: 20_000,
    restoreMocks: true,
    unstubGlobals: true,
    // What is left behind shows only once what is not was collected.
    execArgv: ['--expose-gc'],
  },
})
