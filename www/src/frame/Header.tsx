import type { Status } from 'rota-engine'
import { useStatus, useStore } from 'rota-engine/react'
import { useEffect, type ReactNode } from 'react'
import type { DemoPerson } from '../../server/people.js'
import { initials } from '../owners.js'
import { SwitchPerson } from './SwitchPerson.js'
import { useSecondsUntil } from './time.js'

interface HeaderProps {
  readonly person: DemoPerson
  readonly problem: string | null
  readonly leave: () => void
}

export function Header({ person, problem, leave }: HeaderProps): ReactNode {
  const status = useStatus()
  useEffect(() => {
    document.title = `${person.name} · Rota demo`
  }, [person])
  return (
    <header className="header">
      <p className="wordmark">
        Rota<span className="wordmark-sub">demo</span>
      </p>
      <nav className="jumps" aria-label="Panels">
        <a href="#companies">Companies</a>
        <a href="#leads">Leads</a>
      </nav>
      <div className="state">
        <Unsent status={status} />
        <Link status={status} />
        <TabRole status={status} />
      </div>
      <div className="me" data-testid="me" data-person={person.id}>
        <span className="avatar" data-department={person.department} aria-hidden="true">
          {initials(person.name)}
        </span>
        <span className="me-words">
          <span className="me-name">{person.name}</span>
          <span className="me-place">
            {person.department} · {person.role}
          </span>
        </span>
        <SwitchPerson name={person.name} unsent={status.unsent} leave={leave} />
      </div>
      <div role="alert" className="header-problem">
        {problem}
      </div>
    </header>
  )
}

const LINK_WORDS: Readonly<Record<Status['link']['state'], string>> = {
  live: 'Live',
  connecting: 'Connecting',
  offline: 'Offline',
  degraded: 'Checking now and then',
  stopped: 'Not connected',
  paused: 'Signing in again',
}

function Link({ status: { link } }: { readonly status: Status }): ReactNode {
  const store = useStore()
  const seconds = useSecondsUntil(link.retryAtMs)
  const words = LINK_WORDS[link.state]
  return (
    <div className="link" data-testid="status-link" data-state={link.state} title={link.why || undefined}>
      <span className="link-dot" aria-hidden="true" />
      {/* Only the state is spoken; the countdown would never stop talking. */}
      <span role="status">{words}</span>
      {seconds !== undefined && (
        <span className="link-countdown" aria-hidden="true">
          {seconds === 0 ? 'now' : `${seconds} s`}
        </span>
      )}
      {((link.retryAtMs !== undefined && (link.state === 'offline' || link.state === 'degraded')) || link.state === 'stopped') && (
        <button type="button" className="button button-small" data-testid="reconnect" onClick={() => store.reconnect()}>
          Reconnect now
        </button>
      )}
    </div>
  )
}

function Unsent({ status: { unsent } }: { readonly status: Status }): ReactNode {
  return (
    <span className="unsent" data-testid="status-unsent" data-count={unsent} hidden={unsent === 0} title="Changes that the server has not confirmed yet. They are kept in this browser.">
      {unsent} unsent
    </span>
  )
}

const DURABILITY_WORDS: Readonly<Record<Exclude<Status['durability'], 'full'>, string>> = {
  async: 'storage nearly full: changes are kept a moment later',
  tab: 'changes survive this tab, not the browser',
  memory: 'changes are kept in memory only',
}

function TabRole({ status: { role, durability, ready } }: { readonly status: Status }): ReactNode {
  return (
    <span className="role" data-testid="status-role" data-role={role} title="The leader holds the connection and sends for all tabs of this browser.">
      {role === 'alone' ? 'only tab' : role}
      {ready && durability !== 'full' && (
        <span className="durability" data-testid="status-durability" data-durability={durability}>
          {' '}
          · {DURABILITY_WORDS[durability]}
        </span>
      )}
    </span>
  )
}
