/**
 * The demo's page: React draws the frame and the companies, Vue the leads, both on one store.
 *
 * Tests and the console hold on to these:
 *   window.rota                      the open store, or undefined
 *   start-screen, person-card        [data-person=<id>]; start-problem
 *   me, switch-person                who is signed in; switch-dialog, switch-anyway, switch-stay
 *   status-link                      [data-state=live|connecting|offline|degraded|paused|stopped]; reconnect
 *   status-role, status-unsent       [data-role=…]; [data-count=…], hidden at 0; status-durability, only if not full
 *   companies-panel, leads-panel     each with: search, scope-all, scope-mine, scope-unassigned, department, list,
 *                                    count-all, count-mine, count-unassigned, list-loading, list-empty, list-problem
 *   company-row, lead-row            [data-key=c-0001] [data-owner=<id or empty>] [data-updating=true|false], each with:
 *                                    owner-select, owner-name, updating, row-error, row-error-dismiss
 *   notices, notice                  [data-operation=<id>] [data-state=refused|conflicted|dead|unknown] [data-mine];
 *                                    notice-message, notice-dismiss, notice-retry, notice-drop
 */
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { loadConfig } from './config.js'
import { App, Broken } from './frame/App.js'
import { Session } from './session.js'
import './styles/base.css'
import './styles/start.css'
import './styles/frame.css'
import './styles/panel.css'

const place = document.getElementById('page')
if (!place) throw new Error('index.html has no #page')
const root = createRoot(place)

async function start(): Promise<void> {
  const session = new Session(await loadConfig())
  root.render(
    <StrictMode>
      <App session={session} />
    </StrictMode>,
  )
  await session.start()
}

start().catch((error: unknown) => {
  root.render(<Broken message={error instanceof Error ? error.message : String(error)} />)
  throw error
})
