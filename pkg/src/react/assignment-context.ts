import { createContext, createElement, useContext, useMemo, useState, useSyncExternalStore, type ReactNode } from 'react'
import { Asking } from '../bindings/asking.js'
import { Assigning, type AssignmentFailure, type UseAssignment } from '../bindings/assigning.js'
import { RotaError } from '../index.js'
import { useStore } from './store.js'
import { useLatest } from './stored.js'

const AssigningContext = createContext<Assigning | null>(null)

/** What an {@link AssignmentProvider} takes. */
export interface AssignmentProviderProps {
  /** Called with each assignment made below that could not be made, or did not come true. */
  readonly onError?: (failure: AssignmentFailure) => void
  readonly children?: ReactNode
}

/** Gives components below one way to assign whatever record, and one place for what goes wrong. */
export function AssignmentProvider(props: AssignmentProviderProps): ReactNode {
  const store = useStore()
  const latest = useLatest(props)
  const make = () => ({ store, assigning: new Assigning(store, (failure) => latest.current.onError?.(failure)) })
  const [made, setMade] = useState(make)
  if (made.store !== store) setMade(make)
  return createElement(AssigningContext.Provider, { value: made.assigning }, props.children)
}

function useAssigning(): Assigning {
  const assigning = useContext(AssigningContext)
  if (!assigning) throw new RotaError('no-provider', 'there is no <AssignmentProvider> above this component')
  return assigning
}

/** Returns how to assign whatever record. Renders again only when `canAssign` would answer differently what the component has asked. */
export function useAssignment(): UseAssignment {
  const assigning = useAssigning()
  const asking = useMemo(() => new Asking(assigning), [assigning])
  return useSyncExternalStore(asking.subscribe, asking.actions, asking.actions)
}

/** Returns the last assignment of the nearest {@link AssignmentProvider} that failed, until the next try; and renders again when that changes. */
export function useAssignmentError(): AssignmentFailure | null {
  const assigning = useAssigning()
  return useSyncExternalStore(assigning.subscribe, assigning.error, () => null)
}
