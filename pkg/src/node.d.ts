// What the command uses of Node. Its published types would bring all of it into everything here.
declare module 'node:fs/promises' {
  export function readFile(file: string, encoding: 'utf8'): Promise<string>
  export function writeFile(file: string, text: string): Promise<void>
}

declare module 'node:process' {
  interface Output {
    write(text: string): void
    on(event: 'error', listener: (error: Error & { readonly code?: string }) => void): void
  }
  const process: { readonly argv: readonly string[]; readonly stdin: object; readonly stdout: Output; readonly stderr: Output; exitCode?: number }
  export default process
}

declare module 'node:stream/consumers' {
  export function text(stream: object): Promise<string>
}

declare module 'node:util' {
  type Kinds = { readonly string: string; readonly boolean: boolean }
  export function parseArgs<O extends Readonly<Record<string, { readonly type: keyof Kinds; readonly short?: string }>>>(config: {
    readonly args: readonly string[]
    readonly options: O
    readonly allowPositionals: true
  }): { readonly values: { readonly [N in keyof O]?: Kinds[O[N]['type']] }; readonly positionals: readonly string[] }
}
