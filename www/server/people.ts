// The demo's people, as plain data: the server seeds them, the page offers them at sign-in. Imports nothing.

export type DemoRole = 'admin' | 'manager' | 'member'
export type DemoDepartment = 'Sales' | 'Support' | 'Operations'

export interface DemoPerson {
  readonly id: string
  readonly name: string
  readonly email: string
  readonly department: DemoDepartment
  readonly role: DemoRole
}

/** One for all: it is a demo, and the page says so. */
export const DEMO_PASSWORD = 'demo-demo-1'

export const DEMO_PEOPLE: readonly DemoPerson[] = [
  { id: '11111111-1111-4111-8111-111111111111', name: 'Maya Okafor', email: 'maya.okafor@rota.example', department: 'Sales', role: 'manager' },
  { id: '22222222-2222-4222-8222-222222222222', name: 'Jonas Lindqvist', email: 'jonas.lindqvist@rota.example', department: 'Sales', role: 'member' },
  { id: '33333333-3333-4333-8333-333333333333', name: 'Aiko Tanaka', email: 'aiko.tanaka@rota.example', department: 'Sales', role: 'member' },
  { id: '44444444-4444-4444-8444-444444444444', name: 'Priya Raman', email: 'priya.raman@rota.example', department: 'Support', role: 'manager' },
  { id: '55555555-5555-4555-8555-555555555555', name: 'Tomás Herrera', email: 'tomas.herrera@rota.example', department: 'Support', role: 'member' },
  {
    id: '66666666-6666-4666-8666-666666666666',
    name: 'Lena Hoffmann',
    email: 'lena.hoffmann@rota.example',
    department: 'Operations',
    role: 'manager',
  },
  {
    id: '77777777-7777-4777-8777-777777777777',
    name: 'Samuel Adeyemi',
    email: 'samuel.adeyemi@rota.example',
    department: 'Operations',
    role: 'member',
  },
  {
    id: '88888888-8888-4888-8888-888888888888',
    name: 'Ruth Castellano',
    email: 'ruth.castellano@rota.example',
    department: 'Operations',
    role: 'admin',
  },
]
