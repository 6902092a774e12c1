import { Component, createElement, useCallback, useState, type ComponentType, type ErrorInfo, type ReactNode } from 'react'
import { BOUNDARY_TEXTS, reloadPage, retryPending, sayError, type BoundaryTexts, type Caught, type ErrorReport } from '../bindings/failing.js'
import type { Store } from '../index.js'
import { StoreContext } from './store.js'

/** What an {@link ErrorBoundary} takes. */
export interface ErrorBoundaryProps {
  readonly children?: ReactNode
  /** What shows in the place of the children; by default a message, and buttons to retry, reload and report. */
  readonly fallback?: ReactNode | ((caught: Caught) => ReactNode)
  /** Called with each error that is caught. */
  readonly onError?: (error: unknown, info: { readonly componentStack: string }) => void
  /** Sends a report, when a person asks for it; without it there is no such button. */
  readonly onReport?: (report: ErrorReport) => void
  /** What it says; in English by default. */
  readonly texts?: Partial<BoundaryTexts>
}

interface State {
  readonly caught: { readonly error: unknown; readonly stack: string } | null
}

/** Catches what components below throw while they render, and lets a person go on: retrying also tries again what waits in the store above, if there is one. */
export class ErrorBoundary extends Component<ErrorBoundaryProps, State> {
  static override readonly contextType = StoreContext
  declare readonly context: Store | null
  override readonly state: State = { caught: null }

  static getDerivedStateFromError(error: unknown): State {
    return { caught: { error, stack: '' } }
  }

  override componentDidCatch(error: unknown, { componentStack }: ErrorInfo): void {
    const stack = componentStack ?? ''
    this.setState(({ caught }) => (caught?.error === error ? { caught: { error, stack } } : null))
    this.props.onError?.(error, { componentStack: stack })
  }

  override render(): ReactNode {
    const { caught } = this.state
    const { children, fallback } = this.props
    if (!caught) return children
    const given: Caught = { error: caught.error, retry: this.#retry, reload: reloadPage, report: this.#report }
    if (typeof fallback === 'function') return fallback(given)
    return fallback === undefined ? this.#message(caught) : fallback
  }

  readonly #retry = (): void => {
    retryPending(this.context)
    this.setState({ caught: null })
  }

  readonly #report = (): void => {
    const { caught } = this.state
    if (caught) this.props.onReport?.({ error: caught.error, componentStack: caught.stack, atMs: Date.now() })
  }

  #message({ error, stack }: NonNullable<State['caught']>): ReactNode {
    const { onReport, texts } = this.props
    const said = { ...BOUNDARY_TEXTS, ...texts }
    const { reason, details } = sayError(error, stack)
    const button = (text: string, onClick: () => void) => createElement('button', { type: 'button', onClick }, text)
    return createElement(
      'div',
      { className: 'rota-error', role: 'alert' },
      createElement('p', null, said.message),
      reason && createElement('p', null, reason),
      createElement('p', { className: 'rota-error-actions' }, button(said.retry, this.#retry), ' ', button(said.reload, reloadPage), onReport && [' ', createElement('span', { key: 'report' }, button(said.report, this.#report))]),
      details && createElement('details', null, createElement('summary', null, said.details), createElement('pre', null, details)),
    )
  }
}

/** Puts an {@link ErrorBoundary} around a component. */
export function withErrorBoundary<P extends object>(Wrapped: ComponentType<P>, boundary: Omit<ErrorBoundaryProps, 'children'> = {}): ComponentType<P> {
  const Guarded = (props: P): ReactNode => createElement(ErrorBoundary, boundary, createElement(Wrapped, props))
  Guarded.displayName = `withErrorBoundary(${Wrapped.displayName ?? Wrapped.name})`
  return Guarded
}

/** Returns how to hand an error to the nearest {@link ErrorBoundary} that no boundary would see by itself: of a promise, a timer, or an event's handler. */
export function useErrorHandler(): (error: unknown) => void {
  const [failed, setFailed] = useState<{ readonly error: unknown } | null>(null)
  if (failed) throw failed.error
  return useCallback((error: unknown) => setFailed({ error }), [])
}
