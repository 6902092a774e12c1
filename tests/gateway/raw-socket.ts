/** A bare WebSocket that speaks frames, for what the real client would never send. */
/* oxlint-disable typescript/no-explicit-any */

import { WebSocket } from 'ws'
import type { World } from './world.js'

export type Frame = [joinRef: string | null, ref: string | null, topic: string, event: string, payload: Record<string, any>]

export interface RawSocket {
  ws: WebSocket
  frames: Frame[]
  closed: Promise<{ code: number; reason: string }>
  send(frame: Frame): void
  /** The first frame, past or future, that fits. */
  next(fits: (frame: Frame) => boolean, ms?: number): Promise<Frame>
  /** Joins and answers the reply's payload. */
  join(topic: string, changes: unknown[], extra?: Record<string, unknown>, ref?: string): Promise<Record<string, any>>
}

export async function rawSocket(world: World, vsn: '1.0.0' | '2.0.0' = '2.0.0', query = ''): Promise<RawSocket> {
  const ws = new WebSocket(`${world.gateway.url.replace('http', 'ws')}/realtime/v1/websocket?apikey=${world.gateway.anonKey}&vsn=${vsn}${query}`)
  const frames: Frame[] = []
  const waiting = new Set<() => void>()
  ws.on('error', () => {})
  ws.on('message', (data) => {
    const parsed: any = JSON.parse(data.toString())
    frames.push(vsn === '2.0.0' ? parsed : [parsed.join_ref, parsed.ref, parsed.topic, parsed.event, parsed.payload])
    for (const look of waiting) look()
  })
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }))
  })
  await new Promise((resolve, reject) => {
    ws.once('open', resolve)
    ws.once('error', reject)
  })

  const socket: RawSocket = {
    ws,
    frames,
    closed,
    send([join_ref, ref, topic, event, payload]) {
      ws.send(JSON.stringify(vsn === '2.0.0' ? [join_ref, ref, topic, event, payload] : { join_ref, ref, topic, event, payload }))
    },
    next(fits, ms = 5_000) {
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const found = frames.find(fits)
          if (found === undefined) return
          clearTimeout(timer)
          waiting.delete(look)
          resolve(found)
        }
        const timer = setTimeout(() => {
          waiting.delete(look)
          reject(new Error(`no such frame; came: ${JSON.stringify(frames).slice(0, 2_000)}`))
        }, ms)
        waiting.add(look)
        look()
      })
    },
    async join(topic, changes, extra = {}, ref = '1') {
      const { config, ...rest } = extra as { config?: Record<string, unknown> }
      const base = { broadcast: { ack: false, self: false }, presence: { key: '', enabled: false }, private: false }
      socket.send([ref, ref, topic, 'phx_join', { config: { ...base, postgres_changes: changes, ...config }, ...rest }])
      return (await socket.next((frame) => frame[2] === topic && frame[3] === 'phx_reply' && frame[1] === ref))[4]
    },
  }
  return socket
}

export function isLive(topic: string): (frame: Frame) => boolean {
  return (frame) => frame[2] === topic && frame[3] === 'system' && frame[4]['status'] === 'ok'
}

export function isChange(frame: Frame): boolean {
  return frame[3] === 'postgres_changes'
}
