// What the engine predicts, asked of `examples/predict.rs`: one question a line, one answer a line.
import { execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Json } from './plain.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export interface Predictor {
  ask(question: Json): Promise<Json>
  close(): void
}

export async function startPredictor(): Promise<Predictor> {
  await promisify(execFile)('cargo', ['build', '--quiet', '--example', 'predict'], { cwd: ROOT })
  const child = spawn(`${ROOT}/target/debug/examples/predict`, { stdio: ['pipe', 'pipe', 'pipe'] })
  const waiting: { resolve(answer: Json): void; reject(cause: Error): void }[] = []
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')))
  child.on('close', () => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`the predictor ended: ${said}`))
  })
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(JSON.parse(line) as Json))
  return {
    ask: (question) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
        child.stdin.write(`${JSON.stringify(question)}\n`)
      }),
    close: () => child.stdin.end(),
  }
}
