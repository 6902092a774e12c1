/**
 * The two spellings of a Phoenix frame (vsn 1.0.0: an object, 2.0.0: a list) and the one binary frame a client may
 * send. Only the envelope is read here; payloads are judged by whoever they are for.
 */

export type Vsn = '1.0.0' | '2.0.0'

export interface Frame {
  joinRef: string | null
  ref: string | null
  topic: string
  event: string
  payload: unknown
}

const NAME_LENGTH_MAX = 255
const BROADCAST_PUSH = 3

/** The frame, or undefined when the text is none. */
export function decodeText(text: string, vsn: Vsn): Frame | undefined {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return undefined
  }
  if (vsn === '2.0.0') {
    if (!Array.isArray(parsed) || parsed.length !== 5) return undefined
    const [joinRef, ref, topic, event, payload] = parsed as unknown[]
    return envelope(joinRef, ref, topic, event, payload)
  }
  if (!isObject(parsed)) return undefined
  return envelope(parsed['join_ref'] ?? null, parsed['ref'] ?? null, parsed['topic'], parsed['event'], parsed['payload'])
}

function envelope(joinRef: unknown, ref: unknown, topic: unknown, event: unknown, payload: unknown): Frame | undefined {
  if (!isRef(joinRef) || !isRef(ref) || !isName(topic) || !isName(event)) return undefined
  return { joinRef, ref, topic, event, payload }
}

/** A broadcast push in binary: enough of it to answer whom it came from. */
export function decodeBinary(bytes: Buffer): Omit<Frame, 'payload'> | undefined {
  const [kind, ...lengths] = bytes.subarray(0, 6)
  if (kind !== BROADCAST_PUSH || lengths.length < 5 || bytes.length < 7) return undefined
  const names: string[] = []
  let at = 7
  for (const length of lengths) {
    if (at + length > bytes.length) return undefined
    names.push(bytes.toString('utf8', at, at + length))
    at += length
  }
  const [joinRef = '', ref = '', topic = '', event = ''] = names
  return topic === '' ? undefined : { joinRef: joinRef || null, ref: ref || null, topic, event }
}

export function encode(frame: Frame, vsn: Vsn): string {
  return encodeWithPayload(frame, JSON.stringify(frame.payload), vsn)
}

/** For a payload that is JSON already: a row is written once, however many sockets it goes to. */
export function encodeWithPayload({ joinRef, ref, topic, event }: Omit<Frame, 'payload'>, payload: string, vsn: Vsn): string {
  const text = JSON.stringify
  return vsn === '2.0.0'
    ? `[${text(joinRef)},${text(ref)},${text(topic)},${text(event)},${payload}]`
    : `{"topic":${text(topic)},"event":${text(event)},"payload":${payload},"ref":${text(ref)},"join_ref":${text(joinRef)}}`
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isRef(value: unknown): value is string | null {
  return value === null || (typeof value === 'string' && value.length <= NAME_LENGTH_MAX)
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= NAME_LENGTH_MAX
}
