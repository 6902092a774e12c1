// What is used of web-push. Its published types would bring those of Node into everything here.
declare module 'web-push' {
  export interface WebPush {
    encrypt(p256dh: string, auth: string, payload: string, encoding: 'aes128gcm'): { readonly cipherText: Uint8Array<ArrayBuffer> }
    getVapidHeaders(audience: string, subject: string, publicKey: string, privateKey: string, encoding: 'aes128gcm'): { readonly Authorization: string }
  }
  const webPush: WebPush
  export default webPush
}
