/**
 * The `data` of a postgres_changes frame: exactly the columns that the caller may select, the old row cut down to what
 * the real server shows, a row that is too large without its large values. Written once a set of rights, not a socket.
 */

import type { Change } from './changes.js'
import type { TextRow } from './filters.js'
import { toJsonValue, type StreamColumn } from './values.js'
import type { StreamTable, Verdict } from './visibility.js'

/** Values up to this size stay in a row that is too large as a whole. */
const KEPT_VALUE_BYTES = 64

export interface PayloadContext {
  table: StreamTable
  recordBytesMax: number
}

/** JSON text, or undefined when the caller is shown nothing. `rowIndex` is the row's place in the verdict. */
export function changePayload(change: Change, verdict: Verdict, rowIndex: number, context: PayloadContext): string | undefined {
  const { table } = context
  if (verdict.kind === 'unauthorized') return refusedPayload(change, table, 'Error 401: Unauthorized')
  if (verdict.rlsActive && table.keyColumns.length === 0) return refusedPayload(change, table, 'Error 400: Bad Request, no primary key')
  if (change.type !== 'DELETE' && verdict.visible[rowIndex] !== true) return undefined
  const columns = table.columns.filter(({ name }) => verdict.columns.has(name))
  // Nobody can say any more who could see a deleted row: its key is all that is told.
  const oldColumns = change.type === 'DELETE' && table.keyColumns.length > 0 ? table.keyColumns : columns
  const bytes = rowBytes(change.record) + rowBytes(change.old)
  const valueBytesMax = bytes > context.recordBytesMax ? KEPT_VALUE_BYTES : Infinity
  return JSON.stringify({
    schema: table.schema,
    table: table.name,
    type: change.type,
    commit_timestamp: change.committedAt.toISOString(),
    columns: columns.map(({ name, type }) => ({ name, type })),
    ...(change.record && { record: jsonRow(change.record, columns, valueBytesMax) }),
    ...(change.old && { old_record: jsonRow(change.old, oldColumns, valueBytesMax) }),
    errors: valueBytesMax === Infinity ? null : ['Error 413: Payload Too Large'],
  })
}

function refusedPayload(change: Change, table: StreamTable, error: string): string {
  return JSON.stringify({ schema: table.schema, table: table.name, type: change.type, errors: [error] })
}

function jsonRow(row: TextRow, columns: readonly StreamColumn[], valueBytesMax: number): Record<string, unknown> {
  // Without a prototype, a column named __proto__ is a column like any other.
  const json = Object.create(null) as Record<string, unknown>
  for (const column of columns) {
    const text = row[column.name]
    if (text === undefined || (text !== null && Buffer.byteLength(text) > valueBytesMax)) continue
    json[column.name] = text === null ? null : toJsonValue(text, column)
  }
  return json
}

function rowBytes(row: TextRow | null): number {
  if (row === null) return 0
  return Object.values(row).reduce((sum, text) => sum + (text ? Buffer.byteLength(text) : 0), 0)
}
