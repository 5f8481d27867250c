// The event stream: read by fetch, so that a token can go with it; comes back by itself when the connection is lost.

import { batch, type Signal } from "@preact/signals";
import { get, headers } from "./api";
import { History } from "./history";
import { say } from "./sentences";
import * as store from "./store";
import type { Cluster, Line } from "./types";

const BACKLOG = 20_000;
const FEED = 300;
const SILENCE_MS = 15_000;

let lastPlace = -1;

export async function follow(): Promise<never> {
  let wait = 500;
  for (;;) {
    try {
      await connect();
      wait = 500;
      if (store.link.value === "ended") wait = 2000;
    } catch (error) {
      if (store.link.value !== "token") store.link.value = store.link.value === "ended" ? "ended" : "lost";
      console.debug("realmfleet stream", error);
    }
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 1.6, 5000);
  }
}

async function connect(): Promise<void> {
  const status = await fetch("/api/v1/status", { headers: headers(), cache: "no-store" });
  if (status.status === 401) {
    store.link.value = "token";
    return;
  }
  const lines: number = (await status.json()).trace_records;
  const found = await get<Cluster>("/cluster");
  if (store.cluster.value && store.cluster.value.run_dir !== found.run_dir) location.reload();
  store.cluster.value = found;
  const after = lastPlace >= 0 ? lastPlace : Math.max(-1, lines - BACKLOG);
  const stop = new AbortController();
  const answer = await fetch(`/api/v1/events?state=true&after=${after}`, { headers: headers(), signal: stop.signal });
  if (!answer.ok || !answer.body) throw new Error(answer.statusText);
  await read(answer.body as ReadableStream<BufferSource>, stop);
}

async function read(body: ReadableStream<BufferSource>, stop: AbortController): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const late = setTimeout(() => stop.abort(), SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(late));
    if (done) throw new Error("the stream ended");
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop()!;
    if (take(events)) return;
  }
}

/** Fold some events; true when the fleet said that it ends. */
function take(events: string[]): boolean {
  const lines: Line[] = [];
  let ended = false;
  batch(() => {
    for (const event of events) {
      const field = (name: string) => event.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const kind = field("event");
      if (kind === "record") {
        lines.push({ ...JSON.parse(field("data")!), place: Number(field("id")) });
      } else if (kind === "state" || kind === "change") picture(JSON.parse(field("data")!), kind === "state");
      else if (kind === "end") ended = true;
    }
    if (lines.length) records(lines);
    if (ended) store.link.value = "ended";
  });
  return ended;
}

function records(lines: Line[]): void {
  const kept: History = store.history.value.kept;
  for (const line of lines) {
    if (line.place <= lastPlace) continue;
    lastPlace = line.place;
    kept.take(line);
  }
  const loud = lines.filter((line) => say(line).tone !== "quiet");
  store.feed.value = [...loud.reverse(), ...store.feed.value].slice(0, FEED);
  store.history.value = { kept, number: store.history.value.number + 1 };
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- checked by shape below
function picture(sent: any, whole: boolean): void {
  store.link.value = "live";
  store.pace.value = sent.pace;
  store.tick(sent.now_ns);
  merge(store.machines, sent.machines, sent.gone?.machines, whole);
  merge(store.realms, sent.realms, sent.gone?.realms, whole);
  merge(store.rollouts, sent.rollouts, sent.gone?.rollouts, whole);
  merge(store.faults, sent.faults, sent.gone?.faults, whole);
  merge(store.sessions, sent.sessions, sent.gone?.sessions, whole);
}

function merge<T extends { name: string }>(kept: Signal<Map<string, T>>, rows: T[] | undefined, gone: string[] | undefined, whole: boolean): void {
  if (!whole && !rows && !gone) return;
  const next = whole ? new Map<string, T>() : new Map(kept.value);
  for (const row of rows ?? []) next.set(row.name, row);
  for (const name of gone ?? []) next.delete(name);
  kept.value = next;
}
