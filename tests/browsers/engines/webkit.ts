import { spawn } from 'node:child_process'
import { createServer, type AddressInfo } from 'node:net'
import { Builder, Capabilities, type WebDriver } from 'selenium-webdriver'
import { Lacking, sharedMs, type Driver, type DriverTab } from './driver.js'
import { ended, family, killAll } from './processes.js'

export async function launchWebkit(): Promise<Driver> {
  const [executable, binary] = [process.env['WEBKIT_DRIVER'], process.env['MINIBROWSER']]
  if (!executable || !binary) throw new Error('Set WEBKIT_DRIVER to the path of a WebKitWebDriver, and MINIBROWSER to that of the browser that it drives.')
  const DISPLAY = await startDisplay()
  // A driver serves one session.
  const port = await freePort()
  const server = spawn(executable, ['--host=127.0.0.1', `--port=${port}`], { stdio: 'ignore', env: { ...process.env, DISPLAY, WEBKIT_DISABLE_COMPOSITING_MODE: '1' } })
  await answering(port)
  const capabilities = new Capabilities({ browserName: 'MiniBrowser', 'webkitgtk:browserOptions': { binary, args: ['--automation'] } })
  const driver = await new Builder().usingServer(`http://127.0.0.1:${port}`).withCapabilities(capabilities).build()
  await driver.manage().setTimeouts({ script: 90_000, pageLoad: 60_000 })
  const found = await driver.getCapabilities()
  const session = new Session(driver)
  const end = async () => {
    const processes = family(server.pid ?? -1)
    killAll(processes)
    await ended(processes)
  }
  return {
    name: 'webkit',
    version: String(found.get('browserVersion')),
    // It keeps nothing when it is driven, renderer and driver's session end together, and its network can't be taken away.
    abilities: new Set(),
    newTab: () => session.newTab(),
    setOffline: () => Promise.reject(new Lacking('webkit', 'offline')),
    close: async () => {
      await session.quit()
      await end()
    },
    kill: end,
  }
}

/** WebDriver has one current window, so whoever wants something of one waits for the others. */
class Session {
  readonly #driver: WebDriver
  #last: Promise<unknown> = Promise.resolve()

  constructor(driver: WebDriver) {
    this.#driver = driver
  }

  alone<V>(work: (driver: WebDriver) => Promise<V>): Promise<V> {
    const done = this.#last.then(() => work(this.#driver))
    this.#last = done.catch(() => undefined)
    return done
  }

  /** The first window stays, so that the session outlives its tabs. */
  newTab(): Promise<DriverTab> {
    return this.alone(async (driver) => {
      const [first = ''] = await driver.getAllWindowHandles()
      await driver.switchTo().window(first)
      await driver.switchTo().newWindow('tab')
      return new WebkitTab(this, await driver.getWindowHandle())
    })
  }

  async quit(): Promise<void> {
    await this.alone((driver) => driver.quit()).catch(() => undefined)
  }
}

class WebkitTab implements DriverTab {
  readonly #session: Session
  readonly #window: string

  constructor(session: Session, window: string) {
    this.#session = session
    this.#window = window
  }

  goto(url: string): Promise<void> {
    return this.#in((driver) => driver.get(url))
  }

  reload(): Promise<void> {
    return this.#in((driver) => driver.navigate().refresh())
  }

  async evaluate(expression: string): Promise<unknown> {
    const script = `const done = arguments[0];
      (async () => (${expression}\n))().then((value) => done({ value }), (error) => done({ error: error instanceof Error ? error.message + '\\n' + error.stack : String(error) }))`
    const { value, error } = await this.#in((driver) => driver.executeAsyncScript<{ value?: unknown; error?: string }>(script))
    if (error !== undefined) throw new Error(error)
    return value
  }

  close(): Promise<number> {
    return this.#in(async (driver) => {
      const toldAt = sharedMs()
      await driver.close()
      return toldAt
    })
  }

  crash(): Promise<number> {
    return Promise.reject(new Lacking('webkit', 'crash'))
  }

  freeze(): Promise<void> {
    return Promise.reject(new Lacking('webkit', 'freeze'))
  }

  resume(): Promise<void> {
    return Promise.reject(new Lacking('webkit', 'freeze'))
  }

  show(): Promise<void> {
    return Promise.reject(new Lacking('webkit', 'hide'))
  }

  #in<V>(work: (driver: WebDriver) => Promise<V>): Promise<V> {
    return this.#session.alone(async (driver) => {
      await driver.switchTo().window(this.#window)
      return work(driver)
    })
  }
}

function startDisplay(): Promise<string> {
  return new Promise((resolve, reject) => {
    // It takes a number that is free, says which, and ends with the last who uses it.
    const args = ['-displayfd', '3', '-terminate', '-screen', '0', '1280x800x24', '-nolisten', 'tcp']
    const server = spawn('Xvfb', args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] })
    server.once('error', reject)
    server.once('exit', (code) => reject(new Error(`Xvfb ended with ${code}`)))
    server.stdio[3]?.once('data', (number: Buffer) => resolve(`:${number.toString().trim()}`))
  })
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo
      probe.close(() => resolve(port))
    })
  })
}

async function answering(port: number): Promise<void> {
  const endMs = performance.now() + 10_000
  for (;;) {
    const isReady = await fetch(`http://127.0.0.1:${port}/status`).then(
      (response) => response.ok,
      () => false,
    )
    if (isReady) return
    if (performance.now() > endMs) throw new Error('WebKitWebDriver does not answer')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
