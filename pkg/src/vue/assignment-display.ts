import { computed, defineComponent, h, shallowRef, watch, type PropType } from 'vue'
import { ASSIGNMENT_TEXTS, choicesOf, displayState, displayStatus, peopleOf, refusalsOf, troubleOf, type Assignable, type AssignmentTexts, type AssignmentTrouble } from '../bindings/displaying.js'
import type { AssignmentCallbacks } from '../bindings/owning.js'
import { UPDATING, type Key } from '../index.js'
import { useAssignmentState } from './assignments.js'
import { useRecords } from './records.js'
import { useStore } from './store.js'

/** Numbers the messages; no server renders one. */
let lastNumber = 0

/** Shows whose a record is, and lets a person choose. Plain elements, with the class `rota-assignment` and its state in `data-state`. */
export const UserAssignmentDisplay = defineComponent({
  name: 'UserAssignmentDisplay',
  props: {
    /** The table. */
    entityType: { type: String, required: true },
    /** The record's key. */
    entityId: { type: [String, Number, Array] as PropType<Key>, required: true },
    /** Who may be chosen; those of the table that owners' names come from, where nobody is named. With nobody there is nothing to choose. */
    people: Array as unknown as PropType<readonly Assignable[]>,
    /** What it says; in English by default. */
    texts: Object as PropType<Partial<AssignmentTexts>>,
    onSuccess: Function as PropType<NonNullable<AssignmentCallbacks['onSuccess']>>,
    onError: Function as PropType<NonNullable<AssignmentCallbacks['onError']>>,
  },
  setup(props) {
    const store = useStore()
    const { ownerId, ownerName, isLoading, isUpdating, error, canAssign, assignToUser } = useAssignmentState({
      entityType: () => props.entityType,
      entityId: () => props.entityId,
      onSuccess: (settlement) => props.onSuccess?.(settlement),
      onError: (failed) => props.onError?.(failed),
    })
    const names = store.tables[props.entityType]?.ownerName
    const known = names ? useRecords(names.table) : shallowRef<readonly object[]>([])
    const people = computed(() => {
      if (props.people) return props.people
      // Whenever one of them has changed.
      void known.value
      return peopleOf(store, props.entityType)
    })
    const refused = shallowRef<AssignmentTrouble | null>(null)
    const refusals = shallowRef<ReadonlyMap<string, string>>(new Map())
    const tried = shallowRef<string | null>()
    const about = () => JSON.stringify([props.entityType, props.entityId])
    // What was tried with one record is nothing to another.
    watch(about, () => {
      refused.value = null
      tried.value = undefined
      refusals.value = new Map()
    })
    const id = `rota-assignment-${++lastNumber}`
    const trouble = computed(() => refused.value ?? error.value)
    const assign = (to: string | null) => {
      tried.value = to
      refused.value = null
      assignToUser(to)
    }
    const look = () => {
      refusals.value = refusalsOf(store, props.entityType, props.entityId, people.value)
    }
    const retry = () => {
      const failed = error.value
      if (failed?.outcome === 'dead' && !refused.value) refused.value = troubleOf(() => store.retry(failed.operationId))
      else if (tried.value !== undefined) assign(tried.value)
    }
    const change = ({ target }: Event) => {
      const select = target as HTMLSelectElement
      assign(select.value === '' ? null : select.value)
      // What was refused is not what shows.
      select.value = ownerId.value ?? ''
    }
    return () => {
      const said = { ...ASSIGNMENT_TEXTS, ...props.texts }
      const owner = ownerName.value === UPDATING ? said.updating : ownerName.value
      const name = owner ?? said.nobody
      const current = ownerId.value ?? ''
      const choice = (value: string, text: string) =>
        h('option', { key: value, value, selected: value === current, disabled: value !== current && refusals.value.has(value), title: refusals.value.get(value) }, text)
      const failed = trouble.value
      return h('span', { class: 'rota-assignment', 'data-state': displayState(isLoading.value, isUpdating.value, failed), 'aria-busy': isLoading.value || isUpdating.value }, [
        people.value.length === 0
          ? h('span', { class: 'rota-assignment-owner', 'aria-label': `${said.label}: ${name}` }, name)
          : h(
              'select',
              {
                class: 'rota-assignment-owner',
                'aria-label': said.label,
                value: current,
                disabled: !canAssign.value,
                'aria-invalid': failed !== null,
                'aria-describedby': failed ? id : undefined,
                onFocus: look,
                onPointerdown: look,
                onChange: change,
              },
              [choice('', said.nobody), ...choicesOf(people.value, ownerId.value, owner).map((person) => choice(person.id, person.name))],
            ),
        h('span', { class: 'rota-assignment-status', role: 'status' }, displayStatus(isLoading.value, isUpdating.value, said)),
        failed &&
          h('span', { class: 'rota-assignment-error' }, [
            h('span', { id, role: 'alert' }, failed.message || failed.code),
            h('button', { type: 'button', onClick: retry, hidden: error.value?.outcome !== 'dead' && tried.value === undefined }, said.retry),
          ]),
      ])
    }
  },
})
