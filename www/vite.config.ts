import react from '@vitejs/plugin-react'
import vue from '@vitejs/plugin-vue'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

// The page alone. Who serves it (server/demo.ts) also gives it /config.json: where the gateway is, and its public key.
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  plugins: [react(), vue()],
  // The engine's WebAssembly is inside its JavaScript, so one chunk is larger than what Vite warns of.
  build: { target: 'es2022', sourcemap: true, chunkSizeWarningLimit: 1_500 },
})
