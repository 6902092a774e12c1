import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { manifest, packageRoot } from './built.js'

/** The entry points an application imports: neither patterns nor the manifest. */
const entries = Object.keys(manifest.exports)
  .filter((entry) => !entry.includes('*') && !entry.endsWith('.json'))
  .map((entry) => manifest.name + entry.slice(1))

/**
 * Imports a module in a process of its own, with every door to the world replaced by one that tells, and says which were
 * used. That a name exists may be asked; using it is what counts.
 */
const spy = `
  const used = [];
  const tell = (name) => new Proxy(function () {}, {
    get(_, key) { used.push(name + "." + String(key)); return tell(name); },
    set(_, key) { used.push(name + "." + String(key) + "="); return true; },
    apply() { used.push(name + "()"); return tell(name); },
    construct() { used.push("new " + name); return tell(name); },
  });
  const doors = ["fetch", "XMLHttpRequest", "WebSocket", "EventSource", "BroadcastChannel", "Worker", "SharedWorker",
    "localStorage", "sessionStorage", "indexedDB", "caches", "window", "document", "navigator", "location", "history",
    "addEventListener", "setTimeout", "setInterval", "setImmediate", "queueMicrotask", "requestAnimationFrame",
    "requestIdleCallback", "console", "performance"];
  const real = {};
  for (const name of [...doors, "WebAssembly"]) {
    real[name] = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value: tell(name), configurable: true, writable: true });
  }
  const before = new Set(Reflect.ownKeys(globalThis));
  const listeners = process.eventNames().length;
  await import(process.argv[1]);
  const added = Reflect.ownKeys(globalThis).filter((key) => !before.has(key)).map(String);
  const replaced = Object.keys(real).filter((name) => typeof globalThis[name] !== "function");
  if (process.eventNames().length !== listeners) used.push("process.on");
  process.stdout.write(JSON.stringify({ used, added, replaced }));
`

function run(script: string, ...words: string[]): string {
  // Without --input-type the script would be CommonJS; the time limit fails the test when something keeps node awake.
  const options = { cwd: import.meta.dirname, encoding: 'utf8', timeout: 20_000 } as const
  return execFileSync(process.execPath, ['--input-type=module', '--eval', script, ...words], options)
}

describe('importing', () => {
  test('rota-engine does nothing: no request, no timer, no storage, no wasm, no global', () => {
    expect(JSON.parse(run(spy, 'rota-engine'))).toEqual({ used: [], added: [], replaced: [] })
  })

  test('what does something is noticed', () => {
    const door = (body: string): { used: string[]; added: string[] } =>
      JSON.parse(run(spy, `data:text/javascript,${encodeURIComponent(body)}`)) as { used: string[]; added: string[] }
    expect(door("fetch('/x')").used).toEqual(['fetch()'])
    expect(door("localStorage.getItem('x')").used).toContain('localStorage.getItem')
    expect(door('new WebAssembly.Module()').used).toContain('WebAssembly.Module')
    expect(door('globalThis.__rota = 1').added).toEqual(['__rota'])
    expect(door('typeof fetch').used).toEqual([])
  })

  test.each(entries)('%s works where there is no browser', (entry) => {
    const names = run('process.stdout.write(Object.keys(await import(process.argv[1])).join())', entry)
    expect(names).not.toBe('')
  })

  test.each(entries)('%s can be required', (entry) => {
    // What a top-level await anywhere below would make impossible.
    const script =
      "import { createRequire } from 'node:module'; createRequire(process.cwd() + '/x.js')(process.argv[1]); process.stdout.write('ok')"
    expect(run(script, entry)).toBe('ok')
  })

  test('finds the server kit by name', () => {
    const kit = readdirSync(join(packageRoot, 'sql'), { recursive: true, encoding: 'utf8' })
    const migration = kit.find((file) => file.endsWith('.sql'))
    const script = 'process.stdout.write(import.meta.resolve(process.argv[1]))'
    const found = run(script, `rota-engine/sql/${migration}`)
    expect(existsSync(fileURLToPath(found))).toBe(true)
  })

  test('reaches only what the package exports', () => {
    const script = 'try { await import(process.argv[1]) } catch (error) { process.stdout.write(error.code) }'
    expect(run(script, 'rota-engine/dist/index.js')).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED')
    expect(run(script, 'rota-engine/wasm/rota_engine.js')).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED')
  })
})
