/** A store in a dedicated worker. */

import type * as Stores from './store.js'
import type { Opened } from './store.js'

let opened: Opened | undefined

addEventListener('message', ({ data: [number, question, ...words] }: MessageEvent<[number, string, ...never[]]>) => {
  void answer(question, words).then((said) => postMessage([number, said]))
})

async function answer(question: string, words: never[]): Promise<unknown> {
  if (question === 'open') {
    const { openStore } = (await import('/store.js' as string)) as typeof Stores
    opened = await openStore(words[0] ?? {})
    return
  }
  if (!opened) throw new Error('there is no store yet')
  const { store, patch, ends, problems } = opened
  switch (question) {
    case 'city':
      return store.get('companies', words[0] as never)?.city
    case 'patch':
      return patch(words[0] as never, words[1] as never)
    case 'end':
      return ends[words[0] as never]
    case 'problems':
      return problems
    case 'close':
      return store.close()
    default:
      return store.status()
  }
}
