/** What is made of many measured times, in ms or whatever their unit is. */

export function quantile(values: readonly number[], at: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(at * sorted.length))] ?? Number.NaN
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

/** Three digits are more than a shared machine can tell. */
export const short = (value: number): string => (Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(1) : value.toFixed(2))

export const spread = (values: readonly number[], unit = 'ms'): string => `p50 ${short(median(values))}, max ${short(Math.max(...values))} ${unit} (${values.length})`
