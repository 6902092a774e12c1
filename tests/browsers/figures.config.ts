import { mergeConfig } from 'vitest/config'
import suite from './vitest.config.js'

// Measures instead of testing; run by `cargo xtask bench --browsers`, in the environment of vitest.config.ts.
const config = mergeConfig(suite, { test: { testTimeout: 600_000 } })
config.test.include = ['figures/*.figures.ts']
export default config
