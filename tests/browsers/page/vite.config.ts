import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'

/** Who asks for it in its address is isolated from other origins, and so has fine clocks. */
const isolation: Plugin = {
  name: 'isolation',
  configurePreviewServer: (server) => {
    server.middlewares.use((request, response, next) => {
      const asking = [request.url, request.headers.referer].some((url) => url?.includes('isolated'))
      if (asking) {
        response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
        response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp')
      }
      next()
    })
  },
}

export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  plugins: [isolation],
  build: { target: 'es2022', sourcemap: true, chunkSizeWarningLimit: 1_500 },
})
