/** Looks at the processes of this machine, for what drivers don't tell and can't do. Linux, from /proc. */

import { readdirSync, readFileSync } from 'node:fs'

export interface Process {
  readonly id: number
  readonly command: string
  /** How long it has worked, in ticks of 10 ms. */
  readonly ticks: number
}

/** A process and all that come from it. */
export function family(id: number): Process[] {
  const found = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => read(Number(name)))
    .filter((process) => process !== undefined)
  const all = [id]
  for (const at of all) all.push(...found.filter(({ parent }) => parent === at).map((child) => child.id))
  return found.filter((process) => all.includes(process.id))
}

function read(id: number): (Process & { parent: number }) | undefined {
  try {
    // The name is in brackets, and may have anything in it.
    const stat = readFileSync(`/proc/${id}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const command = readFileSync(`/proc/${id}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
    return { id, command, parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) }
  } catch {
    return undefined // It has ended meanwhile.
  }
}

export function killAll(processes: readonly Process[]): void {
  for (const { id } of processes) {
    try {
      process.kill(id, 'SIGKILL')
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ESRCH') throw cause
    }
  }
}

/** Waits until none of them is left. */
export async function ended(processes: readonly Process[]): Promise<void> {
  const isThere = ({ id }: Process): boolean => {
    const process = read(id)
    return process !== undefined && process.command !== ''
  }
  const endMs = performance.now() + 10_000
  while (processes.some(isThere)) {
    if (performance.now() > endMs) throw new Error('processes of the browser do not end')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
