/** What a user of the package gets of a policy for the server: as a function, and as a command. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { init, RotaError } from 'rota-engine'
import { policySql } from 'rota-engine/policy-sql'
import { afterAll, describe, expect, test } from 'vitest'
import { openDomains } from './domains.js'
import { refusal } from './world.js'

const fixtures = join(import.meta.dirname, '../fixtures/policy')
const declaration = join(fixtures, 'declaration.json')
const sql = readFileSync(join(fixtures, 'policy.sql'), 'utf8')
const declared = JSON.parse(readFileSync(declaration, 'utf8')) as Parameters<typeof policySql>[0]

const leads = { table: 'leads', owner: 'owner_id', department: 'department', people: { table: 'profiles', department: 'department' }, rules: [{ actions: ['patch'], scope: 'own' }] }

const folder = mkdtempSync(join(tmpdir(), 'rota-policy-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

describe('policySql', () => {
  test('writes what the engine writes natively, as often as it is asked', async () => {
    expect(await Promise.all([policySql(declared), policySql(declared)])).toEqual([sql, sql])
    expect(await policySql({ ...declared, rules: [] })).not.toBe(sql)
  })

  test('writes what the README shows', async () => {
    const readme = readFileSync(join(import.meta.dirname, '../../pkg/README.md'), 'utf8')
    const shown = /```json\n([^]*?)```/.exec(readme)?.[1] ?? ''
    expect(await policySql(JSON.parse(shown) as Parameters<typeof policySql>[0])).toContain('create or replace function rota_policy."guard companies"(op jsonb, "row" jsonb, actor text)')
  })

  test('refuses what store.policy refuses, with the same code and words', async () => {
    await init()
    const { store } = openDomains()
    const circle: Record<string, unknown> = { ...leads }
    circle['people'] = circle
    const long = Array.from({ length: 64 }, (_, at) => `${at}`.padEnd(63, 'x'))
    const wrong: unknown[] = [
      null,
      'leads',
      [leads],
      new Date(0),
      circle,
      { ...leads, colour: 'red' },
      { ...leads, owner: undefined },
      { ...leads, owner: null },
      { ...leads, owner: 7 },
      { ...leads, table: 'x'.repeat(64) + '\0' },
      { ...leads, people: undefined },
      { ...leads, people: 'profiles' },
      { ...leads, people: { table: 'profiles', rank: 'role' } },
      { ...leads, people: { table: 'profiles' }, rules: [{ actions: ['patch'], scope: 'department' }] },
      { ...leads, rules: {} },
      { ...leads, rules: ['patch'] },
      { ...leads, rules: [{ actions: [] }] },
      { ...leads, rules: [{ actions: ['patch'] }, { actions: ['patch'], scope: 'all' }] },
      { ...leads, rules: [{ actions: ['assign'], to: 'me' }] },
      { ...leads, rules: [{ actions: ['patch'], roles: () => true }] },
      { ...leads, rules: [{ actions: ['patch'], roles: [Number.NaN] }] },
      { ...leads, rules: Array.from({ length: 257 }, () => ({ actions: ['read'] })) },
      { ...leads, rules: Array.from({ length: 64 }, () => ({ actions: long })) },
    ]
    const codes = new Set<string>()
    for (const given of wrong) {
      const { code, message } = refusal(() => store.policy(given as never))
      const error: unknown = await policySql(given as never).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(RotaError)
      expect(error).toMatchObject({ code, message })
      codes.add(code)
    }
    expect([...codes].sort()).toEqual(['invalid-configuration', 'invalid-operation', 'invalid-value'])
    expect(await policySql(leads as never)).toContain('public."leads"')
  })

  test('says in which part what is wrong, and what there is', async () => {
    const said = (changes: object) => policySql({ ...leads, ...changes } as never).catch((error: RotaError) => error.reason)
    expect(await said({ rules: [{ actions: ['read'] }, { actions: ['patch'], scope: 'all' }] })).toBe('a policy has a rule with "scope" that is none of any, own, unowned, department (rules[1])')
    expect(await said({ people: { table: 'profiles', rank: 'role' } })).toBe('a policy does not know "rank", only table, key, role, department, active (people)')
    expect(await said({ rules: [{ actions: ['patch'], roles: () => true }] })).toContain('policy.rules[0].roles is a function')
  })
})

describe('rota-policy-sql', () => {
  const command = join(import.meta.dirname, '../../pkg/dist/rota-policy-sql.js')

  interface Ended {
    readonly code: number | null
    readonly out: string
    readonly said: string
  }

  /** Runs the command in a process of its own. */
  const run = (args: readonly string[], input = ''): Promise<Ended> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [command, ...args], { cwd: folder })
      const texts = { out: '', said: '' }
      child.stdout.setEncoding('utf8').on('data', (text: string) => (texts.out += text))
      child.stderr.setEncoding('utf8').on('data', (text: string) => (texts.said += text))
      child.on('error', reject).on('close', (code) => resolve({ code, ...texts }))
      child.stdin.on('error', () => undefined).end(input)
    })

  test('prints the SQL of a file, or of the standard input', async () => {
    expect(await run([declaration])).toEqual({ code: 0, out: sql, said: '' })
    expect(await run(['-'], readFileSync(declaration, 'utf8'))).toEqual({ code: 0, out: sql, said: '' })
    expect(await run([file('marked.json', `\uFEFF${readFileSync(declaration, 'utf8')}`)])).toEqual({ code: 0, out: sql, said: '' })
  })

  test('writes it to a file, and finds it there again, with whatever ends of lines', async () => {
    const out = join(folder, 'policy.sql')
    expect(await run([declaration, '--out', out])).toEqual({ code: 0, out: '', said: '' })
    expect(readFileSync(out, 'utf8')).toBe(sql)
    expect(await run([declaration, '--check', out])).toEqual({ code: 0, out: '', said: '' })
    writeFileSync(out, sql.replaceAll('\n', '\r\n'))
    expect(await run(['-', '-c', out], readFileSync(declaration, 'utf8'))).toEqual({ code: 0, out: '', said: '' })
  })

  test('says in which line a file first differs, and leaves it as it is', async () => {
    const lines = sql.split('\n')
    const at = lines.findIndex((line) => line.length > 300)
    const changed = lines.map((line, index) => (index === at ? `${line}x` : line)).join('\n')
    const out = file('changed.sql', changed)
    const { code, out: printed, said } = await run([declaration, '--check', out])
    expect([code, printed]).toEqual([1, ''])
    expect(said).toContain(`they first differ in line ${at + 1}\n`)
    const [is = '', shouldBe = ''] = said.split('\n').slice(1)
    expect(is.trimEnd()).toMatch(/^ {2}is: +…/)
    expect(is.endsWith('x')).toBe(true)
    expect(shouldBe.length).toBeLessThan(140)
    expect(readFileSync(out, 'utf8')).toBe(changed)
  })

  test.each([
    ['shorter', (text: string) => text.slice(0, text.lastIndexOf('\n', text.length - 2) + 1)],
    ['longer', (text: string) => `${text}select 1;\n`],
    ['empty', () => ''],
  ])('finds a file that is %s', async (name, change) => {
    const { code, said } = await run([declaration, '--check', file(`${name}.sql`, change(sql))])
    expect(code).toBe(1)
    expect(said).toMatch(/first differ in line \d+\n {2}is: .*\n {2}should be: /)
  })

  test.each([
    ['no policy', [], /name the file with the policy[^]*--help/],
    ['two policies', [declaration, declaration], /one policy at a time/],
    ['an option that there is not', [declaration, '--force'], /--force[^]*--help/],
    ['an option without its file', [declaration, '--out'], /--out[^]*--help/],
    ['two contradictory options', [declaration, '--out', 'a', '--check', 'b'], /take one of them/],
    ['a file that is not there', ['nowhere.json'], /nowhere\.json can't be read: ENOENT/],
    ['a file to compare with that is not there', [declaration, '--check', 'nowhere.sql'], /nowhere\.sql can't be read: ENOENT/],
    ['a file that can not be written', [declaration, '--out', 'nowhere/policy.sql'], /nowhere\/policy\.sql can't be written: ENOENT/],
    ['a folder', ['.'], /\. can't be read: EISDIR/],
  ])('is told %s: says so, and ends with 2', async (_what, args, words) => {
    const { code, out, said } = await run(args)
    expect([code, out]).toEqual([2, ''])
    expect(said).toMatch(words)
    expect(said).toMatch(/^rota-policy-sql: /)
    expect(said).not.toMatch(/^ +at /m)
  })

  test.each([
    ['is no JSON', '{"table": "leads",}', /the standard input is no JSON: /],
    ['is empty', '', /the standard input is no JSON: /],
    ['can not work', JSON.stringify({ ...leads, rules: [{ actions: ['patch'], scope: 'all' }] }), /the standard input: a policy has a rule with "scope" that is none of any, own, unowned, department \(rules\[0\]\) \[invalid-configuration\]/],
    ['is a list', JSON.stringify([leads]), /policy is not an object[^]*\[invalid-value\]/],
  ])('is given what %s: says so, and ends with 2', async (_what, input, words) => {
    const { code, out, said } = await run(['-'], input)
    expect([code, out]).toEqual([2, ''])
    expect(said).toMatch(words)
    expect(said).not.toMatch(/^ +at /m)
  })

  test('says how it is called', async () => {
    const { code, out, said } = await run(['--help'])
    expect([code, said]).toEqual([0, ''])
    for (const word of ['--out', '--check', '--help']) expect(out).toContain(word)
  })
})
