import { defineComponent, inject, onScopeDispose, provide, shallowReadonly, shallowRef, type InjectionKey, type PropType, type ShallowRef } from 'vue'
import { Asking } from '../bindings/asking.js'
import { Assigning, type AssignmentFailure, type UseAssignment } from '../bindings/assigning.js'
import { RotaError } from '../index.js'
import { useStore } from './store.js'
import { useStored } from './stored.js'

const ASSIGNING: InjectionKey<Assigning> = Symbol('rota-assigning')

/** Gives components in its slot one way to assign whatever record, and one place for what goes wrong. */
export const AssignmentProvider = defineComponent({
  name: 'AssignmentProvider',
  props: {
    /** Called with each assignment made below that could not be made, or did not come true. */
    onError: Function as PropType<(failure: AssignmentFailure) => void>,
  },
  setup(props, { slots }) {
    provide(ASSIGNING, new Assigning(useStore(), (failure) => props.onError?.(failure)))
    return () => slots['default']?.()
  },
})

function useAssigning(): Assigning {
  const assigning = inject(ASSIGNING, null)
  if (!assigning) throw new RotaError('no-provider', 'there is no <AssignmentProvider> above this component')
  return assigning
}

/** Returns how to assign whatever record. What `canAssign` says stays current wherever it is asked while rendering, or in what is computed. */
export function useAssignment(): UseAssignment {
  const asking = new Asking(useAssigning())
  const actions = useStored(() => asking.subscribe, asking.actions, asking.actions)
  const { assignEntity, clearError } = asking.actions()
  return { assignEntity, clearError, canAssign: (...question) => actions.value.canAssign(...question) }
}

/** Returns the last assignment of the nearest {@link AssignmentProvider} that failed, until the next try. */
export function useAssignmentError(): Readonly<ShallowRef<AssignmentFailure | null>> {
  const assigning = useAssigning()
  const error = shallowRef(assigning.error())
  onScopeDispose(assigning.subscribe(() => (error.value = assigning.error())))
  return shallowReadonly(error)
}
