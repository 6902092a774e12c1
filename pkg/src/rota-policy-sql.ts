#!/usr/bin/env node
/** The command `rota-policy-sql`: writes the SQL of a policy, or says whether a file still is that. */
import { readFile, writeFile } from 'node:fs/promises'
import process from 'node:process'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { policySql } from './policy-sql.js'

const HELP = `Writes the SQL of a policy: what the server needs to decide as store.policy does.

  rota-policy-sql POLICY                prints it
  rota-policy-sql POLICY --out FILE     writes it to a file
  rota-policy-sql POLICY --check FILE   says whether a file is what the policy gives, for CI

POLICY is a file with the declaration as JSON, the same that store.policy takes, or - for the standard input.

  -o, --out FILE     writes the SQL to FILE instead of printing it
  -c, --check FILE   writes nothing; says in which line FILE first differs, if it does
  -h, --help         prints this

It ends with 0 when it has done so, or FILE is the same; with 1 when FILE differs; with 2 when it could not tell: wrong
arguments, a file that can't be read or written, or a declaration that can't work.
`

const DIFFERS = 1
const TROUBLE = 2

/** How much of a long line is shown, and how much of that from before what differs. */
const SHOWN = 120
const SHOWN_BEFORE = 30

/** What stops the command, for a person. */
class Trouble extends Error {}

async function main(): Promise<void> {
  process.stdout.on('error', (error) => {
    // Whoever reads has read enough.
    if (error.code !== 'EPIPE') fail(error)
  })
  try {
    process.exitCode = await run(process.argv.slice(2))
  } catch (error) {
    fail(error)
  }
}

function fail(error: unknown): void {
  process.stderr.write(`rota-policy-sql: ${reasonOf(error)}\n`)
  process.exitCode = TROUBLE
}

/** Returns what to end with. */
async function run(given: readonly string[]): Promise<number> {
  const { values, positionals } = parsed(given)
  const { help = false, out, check } = values
  if (help) {
    process.stdout.write(HELP)
    return 0
  }
  const [source] = positionals
  if (source === undefined || positionals.length > 1) throw misuse(source === undefined ? 'name the file with the policy, or - for the standard input' : `one policy at a time, not ${positionals.length}`)
  if (out !== undefined && check !== undefined) throw misuse('--out writes the file, and --check only looks at it: take one of them')
  const sql = await sqlOf(source)
  if (check !== undefined) return checked(source, check, sql)
  if (out === undefined) process.stdout.write(sql)
  else await writeFile(out, sql).catch((error: unknown) => refuse(`${out} can't be written`, error))
  return 0
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args,
      options: { out: { type: 'string', short: 'o' }, check: { type: 'string', short: 'c' }, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    })
  } catch (error) {
    throw misuse(reasonOf(error))
  }
}

async function sqlOf(source: string): Promise<string> {
  const place = source === '-' ? 'the standard input' : source
  const json = await (source === '-' ? text(process.stdin) : readFile(source, 'utf8')).catch((error: unknown) => refuse(`${place} can't be read`, error))
  let policy: unknown
  try {
    // Some editors begin a file with a mark, which is no JSON.
    policy = JSON.parse(json.replace(/^\uFEFF/, ''))
  } catch (error) {
    return refuse(`${place} is no JSON`, error)
  }
  return policySql(policy as Parameters<typeof policySql>[0]).catch((error: unknown) => refuse(place, error))
}

async function checked(source: string, file: string, sql: string): Promise<number> {
  const found = linesOf(await readFile(file, 'utf8').catch((error: unknown) => refuse(`${file} can't be read`, error)))
  const given = linesOf(sql)
  const at = given.findIndex((line, index) => line !== found[index])
  if (at < 0 && found.length === given.length) return 0
  const line = at < 0 ? given.length : at
  const column = differsAt(found[line] ?? '', given[line] ?? '')
  process.stderr.write(`rota-policy-sql: ${file} is not what ${source === '-' ? 'the policy' : source} gives; they first differ in line ${line + 1}
  is:        ${shown(found[line], column)}
  should be: ${shown(given[line], column)}
Write it anew with --out ${file}, or take back what was changed.
`)
  return DIFFERS
}

/** Git may have given the file other ends of lines. */
function linesOf(sql: string): string[] {
  return sql.split(/\r?\n/)
}

function differsAt(one: string, other: string): number {
  let at = 0
  while (at < one.length && one[at] === other[at]) at++
  return at
}

function shown(line: string | undefined, column: number): string {
  if (line === undefined) return '(the end)'
  // In both lines from the same place on, so that what differs is one below the other.
  const from = Math.max(0, column - SHOWN_BEFORE)
  return `${from > 0 ? '…' : ''}${line.slice(from, from + SHOWN)}${from + SHOWN < line.length ? '…' : ''}`
}

function misuse(what: string): Trouble {
  return new Trouble(`${what}\n--help says how it is called`)
}

function refuse(what: string, cause: unknown): never {
  throw new Trouble(`${what}: ${reasonOf(cause)}`, { cause })
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

void main()
