/**
 * The people who can sign in. Passwords are kept as bcrypt hashes and never leave this file.
 */

import bcrypt from 'bcryptjs'
import type { Queryable } from './database.js'

export interface NewUser {
  id: string
  email: string
  password: string
  name: string
}

export interface UserRow {
  id: string
  email: string
  encrypted_password: string
  email_confirmed_at: Date
  last_sign_in_at: Date | null
  raw_app_meta_data: Record<string, unknown>
  raw_user_meta_data: Record<string, unknown>
  created_at: Date
  updated_at: Date
}

const BCRYPT_ROUNDS = 10
/** bcrypt looks at no more than this. */
const PASSWORD_BYTES_MAX = 72
/** Checked when nobody has the address, so that the answer takes as long as a wrong password does. */
const NOBODYS_HASH = bcrypt.hashSync('nobody', BCRYPT_ROUNDS)

/** Creates the person, or brings the one with this id to what is given: a seed may run twice. */
export async function createUser(db: Queryable, user: NewUser): Promise<void> {
  if (Buffer.byteLength(user.password) > PASSWORD_BYTES_MAX) throw new Error(`a password has at most ${PASSWORD_BYTES_MAX} bytes`)
  const hash = await bcrypt.hash(user.password, BCRYPT_ROUNDS)
  await db.query(
    `insert into auth.users (id, email, encrypted_password, raw_user_meta_data) values ($1, $2, $3, $4)
     on conflict (id) do update set email = excluded.email, encrypted_password = excluded.encrypted_password,
       raw_user_meta_data = excluded.raw_user_meta_data, updated_at = now()`,
    [user.id, user.email.trim(), hash, JSON.stringify({ name: user.name })],
  )
}

/** The person, if e-mail and password belong together. Takes as long either way. */
export async function checkPassword(db: Queryable, email: string, password: string): Promise<UserRow | undefined> {
  const { rows } = await db.query<UserRow>('select * from auth.users where lower(email) = lower($1)', [email])
  const user = rows[0]
  const matches = await bcrypt.compare(password.slice(0, PASSWORD_BYTES_MAX * 2), user?.encrypted_password ?? NOBODYS_HASH)
  return matches && Buffer.byteLength(password) <= PASSWORD_BYTES_MAX ? user : undefined
}

export async function findUser(db: Queryable, id: string): Promise<UserRow | undefined> {
  const { rows } = await db.query<UserRow>('select * from auth.users where id = $1', [id])
  return rows[0]
}

/** The person as the auth API shows them. */
export function publicUser(user: UserRow): Record<string, unknown> {
  return {
    id: user.id,
    aud: 'authenticated',
    role: 'authenticated',
    email: user.email,
    email_confirmed_at: user.email_confirmed_at,
    phone: '',
    confirmed_at: user.email_confirmed_at,
    last_sign_in_at: user.last_sign_in_at,
    app_metadata: user.raw_app_meta_data,
    user_metadata: user.raw_user_meta_data,
    identities: [],
    created_at: user.created_at,
    updated_at: user.updated_at,
    is_anonymous: false,
  }
}
