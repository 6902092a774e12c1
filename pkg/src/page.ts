import type { RotaEngine } from './init.js'

/** How long nobody must have touched the page before nobody is taken to work in it. */
const IDLE_MS = 60_000

/** What somebody does who works in a page. */
const ACTIONS = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'scroll', 'focus'] as const

/**
 * Reports what a page hears about itself, until `signal` aborts. These are facts and hints, and the engine decides what to make of them:
 * any of these events may be missing, and some browsers leave them out just when a page comes back. In a worker, and on a server, there is
 * little to hear.
 */
export function listenToPage(tell: (fact: (engine: RotaEngine) => void) => void, signal: AbortSignal): void {
  const { document } = globalThis
  if (typeof globalThis.addEventListener !== 'function') return
  globalThis.addEventListener('online', () => tell((engine) => engine.hinted(true)), { signal })
  globalThis.addEventListener('offline', () => tell((engine) => engine.hinted(false)), { signal })
  if (!document) return

  let isVisible = true
  const tellVisible = () => {
    const isVisibleNow = (isVisible = document.visibilityState !== 'hidden')
    tell((engine) => engine.visible(isVisibleNow))
  }
  const look = () => {
    if (isVisible !== (document.visibilityState !== 'hidden')) tellVisible()
  }
  document.addEventListener('visibilitychange', tellVisible, { signal })
  // A page may be opened in the background.
  look()

  const activity = watchActivity((isActive) => {
    look()
    tell((engine) => engine.active(isActive))
  }, signal)

  let isAway = false
  const leave = () => {
    isAway = true
    activity.forget()
    tell((engine) => engine.froze())
  }
  const comeBack = () => {
    isAway = false
    look()
    tell((engine) => engine.woke())
  }
  document.addEventListener('freeze', leave, { signal })
  document.addEventListener('resume', comeBack, { signal })
  // Whether a page that goes is kept for the way back is not known yet, whatever the event says.
  globalThis.addEventListener('pagehide', leave, { signal })
  globalThis.addEventListener('pageshow', (event) => (isAway || event.persisted) && comeBack(), { signal })
}

/** Says when somebody begins to work in the page, and when nobody has for a while: never more than two words a minute. */
function watchActivity(tell: (isActive: boolean) => void, signal: AbortSignal): { forget(): void } {
  let lastMs = performance.now()
  let timer: ReturnType<typeof setTimeout> | undefined
  const rest = () => {
    const leftMs = lastMs + IDLE_MS - performance.now()
    timer = leftMs > 0 ? setTimeout(rest, leftMs) : undefined
    if (timer === undefined) tell(false)
  }
  const act = () => {
    lastMs = performance.now()
    if (timer !== undefined) return
    timer = setTimeout(rest, IDLE_MS)
    tell(true)
  }
  const forget = () => {
    clearTimeout(timer)
    timer = undefined
  }
  for (const action of ACTIONS) globalThis.addEventListener(action, act, { signal, capture: true, passive: true })
  signal.addEventListener('abort', forget, { once: true })
  // Whoever has just opened it is taken to be there, by the engine too.
  timer = setTimeout(rest, IDLE_MS)
  return { forget }
}

/** True where there may be storage and other tabs: in a page and in a worker, but neither in Node nor in its kin, whatever they have of the like. */
export function isInBrowser(): boolean {
  return ['window', 'Window', 'WorkerGlobalScope'].some((name) => name in globalThis)
}
