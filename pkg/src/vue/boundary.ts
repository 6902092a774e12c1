import { defineComponent, h, inject, onErrorCaptured, provide, shallowRef, type Component, type InjectionKey, type PropType, type SlotsType, type VNode } from 'vue'
import { BOUNDARY_TEXTS, reloadPage, retryPending, sayError, type BoundaryTexts, type Caught, type ErrorReport } from '../bindings/failing.js'
import { useStoreIfAny } from './store.js'

const HANDLER: InjectionKey<(error: unknown) => void> = Symbol('rota-errors')

/**
 * Catches what components in its slot throw, while they render, in hooks and in handlers of events, and lets a person go on: retrying also tries again what waits in the store
 * above, if there is one. The slot `fallback` replaces the message with its buttons to retry, reload and report.
 */
export const ErrorBoundary = defineComponent({
  name: 'ErrorBoundary',
  props: {
    /** Called with each error that is caught. */
    onError: Function as PropType<(error: unknown, info: { readonly componentStack: string }) => void>,
    /** Sends a report, when a person asks for it; without it there is no such button. */
    onReport: Function as PropType<(report: ErrorReport) => void>,
    /** What it says; in English by default. */
    texts: Object as PropType<Partial<BoundaryTexts>>,
  },
  slots: Object as SlotsType<{ default?: () => VNode[]; fallback?: (caught: Caught) => VNode[] }>,
  setup(props, { slots }) {
    const caught = shallowRef<{ readonly error: unknown; readonly stack: string } | null>(null)
    const store = useStoreIfAny()
    const take = (error: unknown, where: string) => {
      caught.value = { error, stack: where }
      props.onError?.(error, { componentStack: where })
    }
    onErrorCaptured((error, _, where) => {
      take(error, where)
      return false
    })
    provide(HANDLER, (error) => take(error, ''))
    const retry = () => {
      retryPending(store)
      caught.value = null
    }
    const report = () => {
      const now = caught.value
      if (now) props.onReport?.({ error: now.error, componentStack: now.stack, atMs: Date.now() })
    }
    return () => {
      const now = caught.value
      if (!now) return slots.default?.()
      if (slots.fallback) return slots.fallback({ error: now.error, retry, reload: reloadPage, report })
      const said = { ...BOUNDARY_TEXTS, ...props.texts }
      const { reason, details } = sayError(now.error, now.stack)
      const button = (text: string, onClick: () => void) => h('button', { type: 'button', onClick }, text)
      return h('div', { class: 'rota-error', role: 'alert' }, [
        h('p', said.message),
        reason ? h('p', reason) : null,
        h('p', { class: 'rota-error-actions' }, [button(said.retry, retry), ' ', button(said.reload, reloadPage), props.onReport ? [' ', button(said.report, report)] : null]),
        details ? h('details', [h('summary', said.details), h('pre', details)]) : null,
      ])
    }
  },
})

/** Puts an {@link ErrorBoundary} around a component. */
export function withErrorBoundary(wrapped: Component, boundary: InstanceType<typeof ErrorBoundary>['$props'] = {}): Component {
  return defineComponent({
    name: `withErrorBoundary(${wrapped.name ?? ''})`,
    inheritAttrs: false,
    setup: (_, { attrs, slots }) => () => h(ErrorBoundary, boundary, { default: () => [h(wrapped, attrs, slots)] }),
  })
}

/** Returns how to hand an error to the nearest {@link ErrorBoundary} that none would see by itself: of a promise, or a timer. Without one it is thrown. */
export function useErrorHandler(): (error: unknown) => void {
  const handle = inject(HANDLER, null)
  return (error) => {
    if (!handle) throw error
    handle(error)
  }
}
