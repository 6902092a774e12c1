import { createElement, useId, useMemo, useState, type ChangeEvent, type ReactNode } from 'react'
import type { AssignmentCallbacks } from '../bindings/owning.js'
import { ASSIGNMENT_TEXTS, choicesOf, displayState, displayStatus, peopleOf, refusalsOf, troubleOf, type Assignable, type AssignmentTexts, type AssignmentTrouble } from '../bindings/displaying.js'
import { UPDATING, type Key, type RegisteredOwned } from '../index.js'
import { useAssignmentState } from './assignments.js'
import { useRecords } from './records.js'
import { useStore } from './store.js'

/** What a {@link UserAssignmentDisplay} takes. */
export interface UserAssignmentDisplayProps extends AssignmentCallbacks {
  /** The table. */
  readonly entityType: RegisteredOwned
  /** The record's key. */
  readonly entityId: Key
  /** Who may be chosen; those of the table that owners' names come from, where nobody is named. With nobody there is nothing to choose. */
  readonly people?: readonly Assignable[]
  readonly className?: string
  /** What it says; in English by default. */
  readonly texts?: Partial<AssignmentTexts>
}

/** Shows whose a record is, and lets a person choose. Plain elements, with the class `rota-assignment` and its state in `data-state`. */
export function UserAssignmentDisplay(props: UserAssignmentDisplayProps): ReactNode {
  const store = useStore()
  const hasTable = props.people === undefined && store.tables[props.entityType]?.ownerName !== undefined
  // What was tried with one record is nothing to another.
  const key = JSON.stringify([props.entityType, props.entityId])
  return hasTable ? createElement(AmongKnown, { ...props, key }) : createElement(Display, { ...props, people: props.people ?? [], key })
}

function AmongKnown(props: UserAssignmentDisplayProps): ReactNode {
  const store = useStore()
  const known = useRecords(store.tables[props.entityType]?.ownerName?.table ?? '')
  // oxlint-disable-next-line react-hooks/exhaustive-deps -- the people are read from the store whenever one of them has changed
  const people = useMemo(() => peopleOf(store, props.entityType), [store, props.entityType, known])
  return createElement(Display, { ...props, people })
}

function Display({ entityType, entityId, people, className, texts, onSuccess, onError }: UserAssignmentDisplayProps & { readonly people: readonly Assignable[] }): ReactNode {
  const store = useStore()
  const said = { ...ASSIGNMENT_TEXTS, ...texts }
  const { ownerId, ownerName, isLoading, isUpdating, error, canAssign, assignToUser } = useAssignmentState({ entityType, entityId, onSuccess, onError })
  const [refused, setRefused] = useState<AssignmentTrouble | null>(null)
  const [refusals, setRefusals] = useState<ReadonlyMap<string, string>>(new Map())
  const [tried, setTried] = useState<string | null>()
  const id = useId()
  const trouble = refused ?? error
  const assign = (to: string | null) => {
    setTried(to)
    setRefused(null)
    assignToUser(to)
  }
  const look = () => setRefusals(refusalsOf(store, entityType, entityId, people))
  const retry = () => {
    if (error?.outcome === 'dead' && !refused) setRefused(troubleOf(() => store.retry(error.operationId)))
    else if (tried !== undefined) assign(tried)
  }
  const choice = (value: string, name: string) =>
    createElement('option', { key: value, value, disabled: value !== (ownerId ?? '') && refusals.has(value), title: refusals.get(value) }, name)
  const owner = ownerName === UPDATING ? said.updating : ownerName
  const name = owner ?? said.nobody
  return createElement(
    'span',
    { className: ['rota-assignment', className].filter(Boolean).join(' '), 'data-state': displayState(isLoading, isUpdating, trouble), 'aria-busy': isLoading || isUpdating },
    people.length === 0
      ? createElement('span', { className: 'rota-assignment-owner', 'aria-label': `${said.label}: ${name}` }, name)
      : createElement(
          'select',
          {
            className: 'rota-assignment-owner',
            'aria-label': said.label,
            value: ownerId ?? '',
            disabled: !canAssign,
            'aria-invalid': trouble !== null,
            'aria-describedby': trouble ? id : undefined,
            onFocus: look,
            onPointerDown: look,
            onChange: ({ target }: ChangeEvent<HTMLSelectElement>) => assign(target.value === '' ? null : target.value),
          },
          choice('', said.nobody),
          choicesOf(people, ownerId, owner).map((person) => choice(person.id, person.name)),
        ),
    createElement('span', { className: 'rota-assignment-status', role: 'status' }, displayStatus(isLoading, isUpdating, said)),
    trouble &&
      createElement(
        'span',
        { className: 'rota-assignment-error' },
        createElement('span', { id, role: 'alert' }, trouble.message || trouble.code),
        createElement('button', { type: 'button', onClick: retry, hidden: error?.outcome !== 'dead' && tried === undefined }, said.retry),
      ),
  )
}
