import { useRef, type ReactNode } from 'react'

interface SwitchPersonProps {
  readonly name: string
  readonly unsent: number
  readonly leave: () => void
}

/** Signs out; asks first while there are changes that the server has not heard of. */
export function SwitchPerson({ name, unsent, leave }: SwitchPersonProps): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null)
  const title = unsent === 1 ? 'One change has not reached the server' : `${unsent} changes have not reached the server`
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
          {unsent === 0 ? 'Now everything has been sent' : title}
        </h2>
        {unsent > 0 && <p>What is not sent stays in this browser, and goes out the next time {name} signs in here.</p>}
        <form method="dialog" className="dialog-buttons">
          <button className="button" data-testid="switch-stay">
            Stay
          </button>
          <button className="button button-strong" data-testid="switch-anyway" onClick={leave}>
            {unsent === 0 ? 'Switch' : 'Switch anyway'}
          </button>
        </form>
      </dialog>
    </>
  )
}
