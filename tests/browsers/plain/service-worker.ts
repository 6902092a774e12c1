/** The application's own service worker: the package's handler, and nothing else. */

import type * as Handler from 'rota-engine/service-worker'
// @ts-expect-error -- it is there on the server, and a worker imports nothing later
// oxlint-disable-next-line import/no-absolute-path -- the same
import * as handler from '/new/dist/service-worker.js'

const { handlePushes } = handler as typeof Handler
handlePushes({ title: 'Rota' })

const worker = globalThis as unknown as EventTarget & { skipWaiting(): Promise<void>; clients: { claim(): Promise<void> } }
worker.addEventListener('install', () => void worker.skipWaiting())
worker.addEventListener('activate', (event) => (event as Event & { waitUntil(promise: Promise<void>): void }).waitUntil(worker.clients.claim()))
