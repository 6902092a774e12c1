/** What a page's origin has stored, read from inside the page. For `tab.evaluate`: each function stands for itself. */

/** Runs in the page: the keys and values of everything that stores of Rota keep, in both places. */
export async function storedByRota(): Promise<[string, unknown][]> {
  const found: [string, unknown][] = Object.entries(localStorage).filter(([key]) => key.startsWith('rota:')) as [string, string][]
  for (const { name } of await indexedDB.databases()) {
    if (!name?.startsWith('rota:')) continue
    const database = await new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(name)
      request.addEventListener('success', () => resolve(request.result))
      request.addEventListener('error', () => reject(request.error))
    })
    for (const store of database.objectStoreNames) {
      await new Promise<void>((resolve, reject) => {
        const request = database.transaction(store).objectStore(store).openCursor()
        request.addEventListener('error', () => reject(request.error))
        request.addEventListener('success', () => {
          const cursor = request.result
          if (!cursor) return resolve()
          found.push([`${store} ${JSON.stringify(cursor.key)}`, cursor.value])
          cursor.continue()
        })
      })
    }
    database.close()
  }
  return found
}
