/** Components of both frameworks that read from the tests' store, to be mounted and unmounted many times. */

import { createElement } from 'react'
import { flushSync } from 'react-dom'
import { createRoot } from 'react-dom/client'
import { RotaProvider, useAssignmentState as useReactAssignment, useRecord as useReactRecord, useRecords as useReactRecords, useStatus as useReactStatus } from 'rota-engine/react'
import { rotaPlugin, useAssignmentState, useRecord, useRecords, useStatus } from 'rota-engine/vue'
import { createApp, defineComponent, h } from 'vue'
import type { DemoStore, DemoTables } from '../../../www/src/tables.js'

const ReactReader = ({ id }: { readonly id: string }) => {
  const record = useReactRecord<DemoTables, 'companies'>('companies', id)
  const { ownerName } = useReactAssignment({ entityType: 'companies', entityId: id })
  return createElement('p', null, record?.name, ownerName, useReactRecords<DemoTables, 'leads'>('leads').length, useReactStatus().link.state)
}

/** Mounts and unmounts a component `count` times. Returns what the last one showed. */
export function mountInReact(store: DemoStore, count: number, id: string): string {
  const place = document.createElement('div')
  let text = ''
  for (let turn = 0; turn < count; turn++) {
    const root = createRoot(place)
    flushSync(() => root.render(createElement(RotaProvider, { store }, createElement(ReactReader, { id }))))
    text = place.textContent ?? ''
    flushSync(() => root.unmount())
  }
  return text
}

const VueReader = defineComponent({
  props: { id: { type: String, required: true } },
  setup({ id }) {
    const record = useRecord<DemoTables, 'companies'>('companies', id)
    const { ownerName } = useAssignmentState({ entityType: 'companies', entityId: id })
    const [leads, status] = [useRecords<DemoTables, 'leads'>('leads'), useStatus()]
    return () => h('p', null, [record.value?.name, ownerName.value, String(leads.value.length), status.value.link.state].join(''))
  },
})

export function mountInVue(store: DemoStore, count: number, id: string): string {
  const place = document.createElement('div')
  let text = ''
  for (let turn = 0; turn < count; turn++) {
    const app = createApp(VueReader, { id }).use(rotaPlugin(store))
    app.mount(place)
    text = place.textContent ?? ''
    app.unmount()
  }
  return text
}
