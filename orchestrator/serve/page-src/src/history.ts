// The trace as the time line draws it: spans of faults, waves and migrations, marks, and how many Realms served.

import { say, type Tone } from "./sentences";
import type { Line } from "./types";

export interface Span { key: string; label: string; subject: string; from: number; until: number | null; tone: Tone; title: string }
export interface Mark { at: number; tone: Tone; text: string; subject: string }
export interface Point { at: number; serving: number }

const MARKED = new Set([
  "machine.suspect", "machine.down", "machine.back", "machine.lost", "machine.frozen", "realm.restart", "rollout.held",
  "operator.accepted", "operator.refused", "firmware.activated", "firmware.refused", "secret.withheld", "machine.distrusted",
]);
const MOST_MARKS = 1500;
const MOST_SPANS = 400;
const MOST_POINTS = 4000;

export class History {
  faults = new Map<string, Span>();
  waves = new Map<string, Span>();
  moves = new Map<string, Span>();
  marks: Mark[] = [];
  points: Point[] = [{ at: 0, serving: 0 }];
  private copies = new Map<string, Map<string, boolean>>();
  private frozen = new Set<string>();

  take(line: Line): void {
    const { kind, what, at_ns: at } = line;
    if (MARKED.has(kind)) {
      const said = say(line);
      this.marks.push({ at, tone: said.tone, text: said.text, subject: said.subject });
      if (this.marks.length > MOST_MARKS) this.marks.splice(0, 300);
    }
    if (kind === "fault.injected") {
      open(this.faults, { key: what.fault, label: what.kind, subject: what.targets.length === 1 ? what.targets[0] : what.fault, from: at, until: null, tone: "chaos", title: say(line).text });
    } else if (kind === "fault.healed") close(this.faults, what.fault, at);
    else if (kind === "wave.started") {
      const key = `${what.rollout}/${what.wave}`;
      open(this.waves, { key, label: `wave ${what.wave} · ${what.machines.length}`, subject: what.rollout, from: at, until: null, tone: "info", title: say(line).text });
    } else if (kind === "wave.finished") close(this.waves, `${what.rollout}/${what.wave}`, at);
    else if (kind === "rollout.held" || kind === "rollout.finished") closeAll(this.waves, what.rollout, at);
    else if (kind === "migration.started") {
      open(this.moves, { key: what.session, label: what.realm, subject: what.realm, from: at, until: null, tone: "move", title: say(line).text });
    } else if (kind === "migration.finished") close(this.moves, what.session, at);
    this.count(line);
  }

  private count(line: Line): void {
    const { kind, what, source } = line;
    if (kind === "realm.live") this.copy(what.realm).set(source, what.serving);
    else if (kind === "realm.still" || kind === "realm.destroyed") this.copy(what.realm).delete(source);
    else if (kind === "machine.lost" || kind === "machine.booted") {
      for (const where of this.copies.values()) where.delete(source);
      this.frozen.delete(source);
    } else if (kind === "machine.frozen") this.frozen.add(source);
    else if (kind === "machine.thawed") this.frozen.delete(source);
    else return;
    let serving = 0;
    for (const where of this.copies.values()) {
      for (const [machine, doing] of where) {
        if (doing && !this.frozen.has(machine)) {
          serving += 1;
          break;
        }
      }
    }
    const last = this.points.at(-1)!;
    if (last.at === line.at_ns) last.serving = serving;
    else if (last.serving !== serving) this.points.push({ at: line.at_ns, serving });
    if (this.points.length > MOST_POINTS) this.points.splice(0, 1000);
  }

  private copy(realm: string): Map<string, boolean> {
    let found = this.copies.get(realm);
    if (!found) this.copies.set(realm, (found = new Map()));
    return found;
  }
}

function open(spans: Map<string, Span>, span: Span): void {
  spans.set(span.key, span);
  if (spans.size > MOST_SPANS) spans.delete(spans.keys().next().value!);
}

function close(spans: Map<string, Span>, key: string, at: number): void {
  const span = spans.get(key);
  if (span && span.until === null) spans.set(key, { ...span, until: at });
}

function closeAll(spans: Map<string, Span>, subject: string, at: number): void {
  for (const span of spans.values()) if (span.subject === subject) close(spans, span.key, at);
}
