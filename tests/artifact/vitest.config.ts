import { defineConfig } from 'vitest/config'

// Tests of the files that `cargo xtask build` made, as they would be published.
export default defineConfig({
  test: {
    root: import.meta.dirname,
    include: ['*.test.ts'],
    // npm and child processes are slow on a busy machine.
    testTimeout: 30_000,
  },
})
