import { rotaPlugin } from 'rota-engine/vue'
import { useEffect, useRef, type ReactNode } from 'react'
import { createApp } from 'vue'
import type { DemoStore } from '../tables.js'
import LeadsPanel from './LeadsPanel.vue'

/** The place where Vue's panel stands in React's page. They share the store, and nothing else. */
export function LeadsMount({ store, me }: { readonly store: DemoStore; readonly me: string }): ReactNode {
  const place = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (!place.current) return
    const app = createApp(LeadsPanel, { me }).use(rotaPlugin(store))
    app.mount(place.current)
    return () => app.unmount()
  }, [store, me])
  return <div className="panel-place" ref={place} />
}
