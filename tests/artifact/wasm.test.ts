import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { read, wasmBytes } from './built.js'

interface Link {
  objects: number
  libraries: string[]
}

/** What the linker was given, as `cargo xtask build` wrote it into the wasm. */
function linkOf(bytes: BufferSource): Link | undefined {
  const [section] = WebAssembly.Module.customSections(new WebAssembly.Module(bytes), 'rota.link')
  return section && (JSON.parse(Buffer.from(section).toString()) as Link)
}

/** With fat link-time optimisation one object holds the whole program, and no crate is linked as a library. */
function wasOptimisedAsAWhole(link: Link | undefined): boolean {
  return link?.objects === 1 && link.libraries.every((library) => library === 'compiler_builtins')
}

describe.each(['rota_engine', 'policy_sql'])('the wasm of %s', (name) => {
  test('was linked with fat link-time optimisation', () => {
    const link = linkOf(new Uint8Array(wasmBytes(name)))
    expect(link).toBeDefined()
    expect(link).toSatisfy(wasOptimisedAsAWhole)
  })

  test('would be found out if it had not been', () => {
    const empty = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
    expect(linkOf(empty)).toSatisfy((link: Link | undefined) => !wasOptimisedAsAWhole(link))
    expect(wasOptimisedAsAWhole({ objects: 2, libraries: ['compiler_builtins'] })).toBe(false)
    expect(wasOptimisedAsAWhole({ objects: 1, libraries: ['std', 'compiler_builtins'] })).toBe(false)
  })

  test('holds none of the faults that the simulator plants', () => {
    const source = readFileSync(join(import.meta.dirname, '../../src/engine/sabotage.rs'), 'utf8')
    const names = [...source.matchAll(/^ +\w+ = "([a-z-]+)",$/gm)].map((match) => match[1] ?? '')
    expect(names.length).toBeGreaterThanOrEqual(15)
    const wasm = wasmBytes(name)
    expect(names.filter((fault) => wasm.includes(fault))).toEqual([])
  })

  test('imports from its glue alone, nothing from env', () => {
    const imports = WebAssembly.Module.imports(new WebAssembly.Module(new Uint8Array(wasmBytes(name))))
    const modules = new Set(imports.map((entry) => entry.module))
    expect([...modules]).toEqual([`./${name}_bg.js`])
  })

  test('finds every import in its glue', () => {
    const glue = read(`wasm/${name}.js`)
    const imports = WebAssembly.Module.imports(new WebAssembly.Module(new Uint8Array(wasmBytes(name))))
    expect(imports.map((entry) => entry.name).filter((imported) => !glue.includes(imported))).toEqual([])
  })

  test.each(['name', 'producers', '__wasm_bindgen_unstable'])('carries no %s section', (section) => {
    const module = new WebAssembly.Module(new Uint8Array(wasmBytes(name)))
    expect(WebAssembly.Module.customSections(module, section)).toHaveLength(0)
  })

  test('says nothing about the machine it was built on', () => {
    const text = wasmBytes(name).toString('latin1')
    expect(text.match(/\/(?:root|home|Users|build|runner)\/[\w./-]*/g)).toBeNull()
  })
})

test('the wasm that writes the SQL of policies is small: it has no engine in it', () => {
  expect(wasmBytes('policy_sql').length).toBeLessThan(100_000)
})

describe.each([
  ['rota_engine', ''],
  ['policy_sql', 'policy_sql_'],
])('the copies of the wasm of %s', (name, prefix) => {
  test('the bytes are the wasm, packed, byte for byte', async () => {
    const { default: encoded } = (await import(`../../pkg/wasm/${prefix}bytes.js`)) as { default: string }
    expect(gunzipSync(Buffer.from(encoded, 'base64')).equals(wasmBytes(name))).toBe(true)
  })

  test('the record of the build describes this very wasm', () => {
    const record = JSON.parse(read(`wasm/${prefix}build.json`)) as { sha256: string; bytes: { wasm_opt: number } }
    expect(record.sha256).toBe(createHash('sha256').update(wasmBytes(name)).digest('hex'))
    expect(record.bytes.wasm_opt).toBe(wasmBytes(name).length)
  })
})
