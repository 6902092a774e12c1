import type { TestProject } from 'vitest/node'
import { startForSuite } from '../demo/setup.js'

export default (project: TestProject): Promise<() => Promise<void>> => startForSuite(project)
