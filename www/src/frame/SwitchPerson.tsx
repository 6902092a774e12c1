import { useRef, type ReactNode } from 'react'

interface SwitchPersonProps {
  readonly name: string
  readonly unsent: number
  readonly leave: () => void
}

/** Signs out; asks first while there are changes that the server has not heard of. */
export function SwitchPerson({ name, unsent, leave }: SwitchPersonProps): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null)
  const [changes, have, they] = unsent === 1 ? ['change', 'has', 'It stays'] : ['changes', 'have', 'They stay']
  return (
    <>
      <button
        type="button"
        className="button button-small"
        data-testid="switch-person"
        onClick={() => {
          if (unsent > 0) dialog.current?.showModal()
          else leave()
        }}
      >
        Switch person
      </button>
      <dialog ref={dialog} className="dialog" data-testid="switch-dialog" aria-labelledby="switch-title">
        <h2 id="switch-title">
          {unsent} {changes} {have} not reached the server
        </h2>
        <p>
          {they} stored in this browser, and will be sent the next time {name} signs in here.
        </p>
        <form method="dialog" className="dialog-buttons">
          <button className="button" data-testid="switch-stay">
            Stay
          </button>
          <button className="button button-strong" data-testid="switch-anyway" onClick={leave}>
            Switch anyway
          </button>
        </form>
      </dialog>
    </>
  )
}
