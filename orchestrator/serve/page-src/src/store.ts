// What the page knows, as signals; `stream.ts` keeps them fresh.

import { computed, signal } from "@preact/signals";
import { History } from "./history";
import type { Cluster, Fault, Line, Machine, Pace, Realm, Rollout, Session } from "./types";

export type Link = "connecting" | "live" | "lost" | "ended" | "token";
export type Choice = { sort: "machine" | "realm" | "rollout"; name: string } | null;

export const link = signal<Link>("connecting");
export const cluster = signal<Cluster | null>(null);
export const pace = signal<Pace>({ speed: 1, paused: false, behind_ms: 0 });
export const nowNs = signal(0);
export const machines = signal<Map<string, Machine>>(new Map());
export const realms = signal<Map<string, Realm>>(new Map());
export const rollouts = signal<Map<string, Rollout>>(new Map());
export const faults = signal<Map<string, Fault>>(new Map());
export const sessions = signal<Map<string, Session>>(new Map());
export const feed = signal<Line[]>([]);
export const history = signal({ kept: new History(), number: 0 });
export const choice = signal<Choice>(null);
export const hover = signal("");
export const toast = signal<{ good: boolean; text: string; hint?: string } | null>(null);

let heardMs = 0;

/** Note the instant of the fleet's clock, as of now on the wall. */
export function tick(at_ns: number): void {
  nowNs.value = at_ns;
  heardMs = performance.now();
}

/** The fleet's clock at this moment, run on at its pace while the next word is awaited. */
export function presentNs(): number {
  if (link.value !== "live" || pace.value.paused) return nowNs.value;
  const ahead = Math.min(performance.now() - heardMs, 400);
  return nowNs.value + ahead * 1e6 * pace.value.speed;
}

export const wanted = computed(() => [...realms.value.values()].filter((realm) => realm.state !== "stopped" && realm.state !== "stopping"));
export const serving = computed(() => wanted.value.filter(executesServing).length);
export const versions = computed(() => {
  const found = new Set([...machines.value.values()].map((machine) => machine.versions.RMM ?? "").filter(Boolean));
  for (const release of Object.values(cluster.value?.releases ?? {})) if (release.RMM) found.add(release.RMM);
  return [...found].sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
});

export function executesServing(realm: Realm): boolean {
  return Object.entries(realm.executes).some(([name, doing]) => doing && machines.value.get(name)?.truth === "up");
}

export function choose(name: string): void {
  const sort = machines.value.has(name) ? "machine" : realms.value.has(name) ? "realm" : rollouts.value.has(name) ? "rollout" : null;
  choice.value = sort ? { sort, name } : choice.value;
}
