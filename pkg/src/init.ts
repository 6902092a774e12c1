import bytes from '../wasm/bytes.js'
import initWasm, { RotaEngine, crashed, handles, version } from '../wasm/rota_engine.js'
import { RotaError } from './errors.js'

let loading: Promise<void> | undefined
let ready = false

/**
 * Loads the engine. Call it once, before the first `createStore`; further calls return the same promise.
 * The WebAssembly is inside the package, so there is no file to serve; a page with a Content-Security-Policy needs `'wasm-unsafe-eval'`.
 */
export function init(): Promise<void> {
  loading ??= load().catch((error: unknown) => {
    loading = undefined
    throw error
  })
  return loading
}

async function load(): Promise<void> {
  await initWasm({ module_or_path: await unpack(decode(bytes)) })
  ready = true
}

/** The WebAssembly is packed before it is written as text: text of packed bytes is a quarter smaller on the wire than text of plain ones. */
async function unpack(packed: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const gzip = new DecompressionStream('gzip')
  const writer = gzip.writable.getWriter()
  // What goes wrong on the way in comes out at the other end.
  void writer.write(packed).catch(() => undefined)
  void writer.close().catch(() => undefined)
  const reader = gzip.readable.getReader()
  const chunks: Uint8Array[] = []
  for (let next = await reader.read(); !next.done; next = await reader.read()) chunks.push(next.value)
  const whole = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole.buffer
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64)
  const decoded = new Uint8Array(text.length)
  for (let index = 0; index < text.length; index++) decoded[index] = text.charCodeAt(index)
  return decoded
}

/** The engine's class, once it is loaded. */
export function engineClass(): typeof RotaEngine {
  if (!ready) throw new RotaError('not-initialised', 'the engine is not loaded yet: `await init()` before createStore')
  return RotaEngine
}

export { crashed, handles, version, type RotaEngine }
