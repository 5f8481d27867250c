// Instants, durations and sizes for people.

export const S = 1_000_000_000;

export function clock(ns: number): string {
  const tenths = Math.floor(ns / (S / 10));
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(Math.floor(tenths / 36000))}:${two(Math.floor(tenths / 600) % 60)}:${two(Math.floor(tenths / 10) % 60)}.${tenths % 10}`;
}

export function shortClock(ns: number): string {
  return clock(ns).replace(/^00:/, "").replace(/\.\d$/, "");
}

export function duration(ns: number): string {
  if (ns < 1_000_000) return `${Math.round(ns / 1000)} µs`;
  if (ns < S) return `${(ns / 1_000_000).toFixed(ns < 10_000_000 ? 1 : 0)} ms`;
  if (ns < 120 * S) return `${(ns / S).toFixed(ns < 10 * S ? 1 : 0)} s`;
  if (ns < 7200 * S) return `${Math.floor(ns / S / 60)} min ${Math.round(ns / S) % 60} s`;
  return `${(ns / S / 3600).toFixed(1)} h`;
}

export function size(granules: number): string {
  const mib = granules / 256;
  return mib >= 1024 ? `${(mib / 1024).toFixed(1)} GiB` : `${mib.toFixed(0)} MiB`;
}

export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

export function short(digest: string): string {
  return digest.length > 18 ? `${digest.slice(0, 12)}…` : digest;
}
