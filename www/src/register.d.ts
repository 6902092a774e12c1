import type { DemoTables } from './tables.js'

// For the demo alone: what else is compiled here may be of other tables.
declare module 'rota-engine' {
  interface Register {
    readonly tables: DemoTables
  }
}
