/**
 * Stands at every way into the engine's WebAssembly. What is thrown out of there, whatever it is — a panic, a trap, no memory, too deep a
 * recursion — has left the engine in the middle of something, so from then on nobody is let in again.
 */

/** Why the engine has stopped for good. It is noted out here, as in there nothing can be relied on any more. */
let crash: string | undefined
/** What was thrown out of there, which is noted first: where the stack is full, there is no room yet to say what that means. */
let thrown: unknown
let hasThrown = false
const watchers = new Set<(why: string) => void>()

/** The methods of exported classes, and the closures that the browser calls. What else is exported only serves these. */
const METHODS = 'rotaengine_'
const CLOSURES = 'wasm_bindgen__convert__closures'
/** What may still be tried after a crash, to give back what the browser lent. */
const LAST_CALL = 'rotaengine_abandon'

/** What a closure that may fail returns when it did nothing: no value, and no error. */
const NOTHING = Object.freeze([0, 0])

/** Says why the engine has crashed, if it has. */
export function crashed(): string | undefined {
  return crash
}

/** Calls back, a moment later, when the engine crashes; returns how to stop. */
export function watchCrash(watcher: (why: string) => void): () => void {
  watchers.add(watcher)
  return () => {
    watchers.delete(watcher)
  }
}

/** Wraps what WebAssembly exports. */
export function guardExports(exports: WebAssembly.Exports): WebAssembly.Exports {
  const guarded: Record<string, WebAssembly.ExportValue> = { ...exports }
  for (const [name, value] of Object.entries(exports)) {
    const isMethod = name.startsWith(METHODS)
    if (typeof value !== 'function' || name === LAST_CALL || (!isMethod && !name.startsWith(CLOSURES))) continue
    const enter = value as (...given: unknown[]) => unknown
    guarded[name] = (...given: unknown[]) => {
      if (hasThrown) {
        noteCrash(thrown)
        // Whoever calls hears of it. What was set up before comes to nothing.
        if (isMethod) throw { code: 'engine-crashed', message: messageOf(crash ?? String(thrown)) }
        return NOTHING
      }
      try {
        return enter(...given)
      } catch (error) {
        hasThrown = true
        thrown = error
        noteCrash(error)
        throw error
      }
    }
  }
  return guarded
}

/** What a person is told. */
export function messageOf(why: string): string {
  return `the engine has crashed and can't go on; reload the page, nothing that was accepted is lost. It said: ${why}`
}

/** What a panic said last is kept by its hook, and is better than what the trap says. */
let panicMessage: (() => string | undefined) | undefined

export function askForPanic(ask: () => string | undefined): void {
  panicMessage = ask
}

/** Notes what was thrown out of there. */
export function noteCrash(error: unknown): void {
  if (crash !== undefined) return
  const said = readPanic() ?? (error instanceof Error ? error.message : String(error))
  // What spoilt memory holds is no text.
  crash = said.includes('\uFFFD') ? 'its memory is spoilt' : said
  const why = crash
  // Not now: the engine may be further up the stack.
  for (const watcher of watchers) queueMicrotask(() => watcher(why))
}

function readPanic(): string | undefined {
  try {
    const said: unknown = panicMessage?.()
    return typeof said === 'string' && said !== '' ? said : undefined
  } catch {
    return undefined
  }
}
