import { useCallback, useSyncExternalStore } from 'react'

/** The seconds left until a time, counted down while there is one. */
export function useSecondsUntil(wallMs: number | undefined): number | undefined {
  const subscribe = useCallback(
    (tick: () => void) => {
      if (wallMs === undefined) return () => undefined
      const timer = setInterval(tick, 250)
      return () => clearInterval(timer)
    },
    [wallMs],
  )
  return useSyncExternalStore(subscribe, () => (wallMs === undefined ? undefined : Math.max(0, Math.ceil((wallMs - Date.now()) / 1000))))
}
