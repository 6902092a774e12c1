// Started by postgres.test.ts as a process of its own, which the test then kills.
import { startPostgres } from '../../www/server/postgres.js'

const server = await startPostgres({ dataDir: process.argv[2] ?? '' })
console.log(server.url)
setInterval(() => undefined, 1_000)
