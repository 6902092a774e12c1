import { RotaProvider } from 'rota-engine/react'
import { useSyncExternalStore, type ReactNode } from 'react'
import { CompaniesPanel } from '../companies/CompaniesPanel.js'
import { LeadsMount } from '../leads/LeadsMount.js'
import type { Session } from '../session.js'
import { Header } from './Header.js'
import { Notices } from './Notices.js'
import { Start } from './Start.js'

export function App({ session }: { readonly session: Session }): ReactNode {
  const phase = useSyncExternalStore(session.subscribe, session.phase)
  if (phase.at === 'starting') return <p className="starting">Loading…</p>
  if (phase.at === 'choosing') return <Start signingIn={phase.signingIn} problem={phase.problem} choose={(person) => void session.signIn(person)} />
  const { store, person, problem } = phase
  return (
    // The key: another store is another page, with nothing left of the last one's.
    <RotaProvider store={store} key={person.id}>
      <Header person={person} problem={problem} leave={() => void session.leave()} />
      <main className="panels">
        <CompaniesPanel me={person.id} />
        <LeadsMount store={store} me={person.id} />
      </main>
      <Notices />
    </RotaProvider>
  )
}

/** What is left when the page can't even start. */
export function Broken({ message }: { readonly message: string }): ReactNode {
  return (
    <main className="broken" role="alert">
      <h1>The demo can’t start</h1>
      <p>{message}</p>
      <button type="button" className="button" onClick={() => location.reload()}>
        Load again
      </button>
    </main>
  )
}
