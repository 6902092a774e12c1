import { useEffect, type ReactNode } from 'react'
import { DEMO_PASSWORD, DEMO_PEOPLE, type DemoPerson } from '../../server/people.js'
import { initials } from '../owners.js'

interface StartProps {
  readonly signingIn: string | null
  readonly problem: string | null
  readonly choose: (person: DemoPerson) => void
}

/** Choose who you are. */
export function Start({ signingIn, problem, choose }: StartProps): ReactNode {
  useEffect(() => {
    document.title = 'Rota demo'
  }, [])
  return (
    <main className="start" data-testid="start-screen" aria-busy={signingIn !== null}>
      <p className="wordmark">Rota</p>
      <h1>Who are you today?</h1>
      <p className="start-lead">
        Companies and leads, shared by three departments. Choose a person to sign in; then open a second tab, or a private window as somebody
        else, and watch every change arrive.
      </p>
      <div role="alert">
        {problem && (
          <p className="start-problem" data-testid="start-problem">
            {problem}
          </p>
        )}
      </div>
      <ul className="people">
        {DEMO_PEOPLE.map((person) => (
          <li key={person.id}>
            <button
              type="button"
              className="person"
              data-testid="person-card"
              data-person={person.id}
              aria-disabled={signingIn !== null}
              aria-busy={signingIn === person.id}
              onClick={() => {
                if (signingIn === null) choose(person)
              }}
            >
              <span className="avatar avatar-large" data-department={person.department} aria-hidden="true">
                {initials(person.name)}
              </span>
              <span className="person-words">
                <span className="person-name">{person.name}</span>
                <span className="person-place">
                  {person.department} · {person.role}
                </span>
              </span>
              {signingIn === person.id && <span className="spinner" aria-hidden="true" />}
            </button>
          </li>
        ))}
      </ul>
      <p className="start-note">
        Members change what belongs to their department; managers add and delete there; the admin may do it everywhere. Everybody’s password is{' '}
        <code>{DEMO_PASSWORD}</code>: this is a demo on your own machine.
      </p>
    </main>
  )
}
