// What is used of libraries that bring no types.
declare module 'http_ece' {
  import type { ECDH } from 'node:crypto'
  const ece: { decrypt(body: Buffer, how: { version: 'aes128gcm'; privateKey: ECDH; authSecret: string }): Buffer }
  export default ece
}

declare module 'web-push' {
  const webPush: { generateVAPIDKeys(): { publicKey: string; privateKey: string } }
  export default webPush
}
