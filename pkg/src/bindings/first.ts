/** A server knows of no decisions of this browser's, and of nobody who is here. */
export const NONE: readonly never[] = Object.freeze([])
