/** The WebAssembly is packed before it is written as text: text of packed bytes is a quarter smaller on the wire than text of plain ones. */
export async function unpack(text: string): Promise<ArrayBuffer> {
  const gzip = new DecompressionStream('gzip')
  const writer = gzip.writable.getWriter()
  // What goes wrong on the way in comes out at the other end.
  void writer.write(decode(text)).catch(() => undefined)
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
