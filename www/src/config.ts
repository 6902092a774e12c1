/** Where the page's server is. Served beside the page, so the page can be built once and know it at run time. */
export interface Config {
  readonly gatewayUrl: string
  readonly anonKey: string
}

export async function loadConfig(): Promise<Config> {
  const response = await fetch('/config.json', { cache: 'no-store' })
  if (!response.ok) throw new Error(`/config.json was answered with ${response.status}; start the page with "cargo xtask demo"`)
  const { gatewayUrl, anonKey } = (await response.json()) as Partial<Config>
  if (typeof gatewayUrl !== 'string' || typeof anonKey !== 'string') throw new Error('/config.json names no gateway')
  return { gatewayUrl, anonKey }
}
