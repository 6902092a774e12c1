import { useEffect, useState } from 'react'

/** The seconds left until a time, counted down while there is one. */
export function useSecondsUntil(wallMs: number | undefined): number | undefined {
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    if (wallMs === undefined) return
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), 250)
    return () => clearInterval(timer)
  }, [wallMs])
  return wallMs === undefined ? undefined : Math.max(0, Math.ceil((wallMs - now) / 1000))
}
