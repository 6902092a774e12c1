import { xchacha20poly1305 } from '@noble/ciphers/chacha.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha256 } from '@noble/hashes/sha2.js'

/**
 * Seals what a store keeps in the browser. It must answer at once: an operation is stored before `mutate` returns, which WebCrypto can't do.
 */
export interface Encryption {
  /** Encrypts text that is stored in a place. */
  seal(text: string, place: string): string
  /** Decrypts it; throws an error with a `code`: `wrong-key` or `undecryptable-entry`. */
  open(sealed: string, place: string): string
  /** Returns a name that tells nothing of the text that it stands for, and is the same each time. */
  name(text: string): string
}

/** Something that can't be decrypted. It stays where it is, for whoever has the key. */
export class EncryptionError extends Error {
  override readonly name = 'EncryptionError'
  readonly code: 'wrong-key' | 'undecryptable-entry'

  constructor(code: EncryptionError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** The number of the form: this byte, four that tell the key, the nonce, the ciphertext with its tag. */
const FORM = 1
const KEY_BYTES = 32
const KEY_ID_BYTES = 4
const NONCE_BYTES = 24
const HEADER_BYTES = 1 + KEY_ID_BYTES + NONCE_BYTES

/**
 * Encrypts with XChaCha20-Poly1305, under a key of 32 random bytes that the application keeps elsewhere; best on the server, for whoever
 * signs in. Each entry is bound to its place, so that none can be put in another's.
 */
export function encryptWith(key: Uint8Array): Encryption {
  if (!(key instanceof Uint8Array) || key.length !== KEY_BYTES) throw new TypeError(`the key must be a Uint8Array of ${KEY_BYTES} bytes`)
  const derived = (purpose: string, length: number) => hkdf(sha256, key, undefined, utf8(`rota-engine ${purpose}`), length)
  const [sealing, naming, keyId] = [derived('seal', KEY_BYTES), derived('name', KEY_BYTES), derived('key id', KEY_ID_BYTES)]
  return {
    seal(text, place) {
      const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES))
      const sealed = xchacha20poly1305(sealing, nonce, utf8(place)).encrypt(utf8(text))
      const whole = new Uint8Array(HEADER_BYTES + sealed.length)
      whole[0] = FORM
      whole.set(keyId, 1)
      whole.set(nonce, 1 + KEY_ID_BYTES)
      whole.set(sealed, HEADER_BYTES)
      return toBase64(whole)
    },
    open(text, place) {
      const whole = fromBase64(text)
      if (whole[0] !== FORM || whole.length < HEADER_BYTES) throw new EncryptionError('undecryptable-entry', 'it is not sealed in a form that this release knows')
      if (keyId.some((byte, index) => whole[1 + index] !== byte)) throw new EncryptionError('wrong-key', 'it was sealed with another key')
      try {
        const nonce = whole.slice(1 + KEY_ID_BYTES, HEADER_BYTES)
        return new TextDecoder().decode(xchacha20poly1305(sealing, nonce, utf8(place)).decrypt(whole.slice(HEADER_BYTES)))
      } catch (cause) {
        throw new EncryptionError('undecryptable-entry', 'it was changed, or put in another place, since it was sealed', { cause })
      }
    },
    name: (text) => toBase64(hmac(sha256, naming, utf8(text))),
  }
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/** In pieces: no function takes any number of arguments. */
function toBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += 8_192) binary += String.fromCharCode(...bytes.subarray(at, at + 8_192))
  return btoa(binary)
}

function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch (cause) {
    throw new EncryptionError('undecryptable-entry', 'it is not what was stored', { cause })
  }
}
