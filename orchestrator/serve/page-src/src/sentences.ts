// Each kind of trace record as a short sentence, with the tone in which it is shown and the object it is about.

import { duration, plural } from "./format";
import type { Fields, Line } from "./types";

export type Tone = "good" | "bad" | "warn" | "info" | "chaos" | "move" | "quiet" | "operator";

type Saying = [Tone, (what: Fields, line: Line) => string, ((what: Fields, line: Line) => string)?];

const realm = (what: Fields) => String(what.realm);
const machine = (what: Fields, line: Line) => String(what.machine ?? line.source);
const some = (names: string[]) => (names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", "));

const SAYINGS: Record<string, Saying> = {
  "machine.admitted": ["good", (w) => `${w.machine} admitted${w.vouched ? ", platform token verified" : ""}`, machine],
  "machine.distrusted": ["bad", (w) => `${w.machine} refused by the verifier: ${w.reason}`, machine],
  "machine.suspect": ["warn", (w) => `${w.machine} is silent: suspect`, machine],
  "machine.down": ["bad", (w) => `${w.machine} is down (${w.why}), ${plural(w.realms, "Realm")} to restart`, machine],
  "machine.back": ["good", (w) => `${w.machine} is back after ${duration(w.silent_ns)}${w.rebooted ? ", rebooted" : ""}`, machine],
  "machine.cordoned": ["info", (w) => `${w.machine} cordoned by ${w.by}: ${w.why}`, machine],
  "machine.uncordoned": ["info", (w) => `${w.machine} uncordoned by ${w.by}`, machine],
  "machine.booted": ["info", (_, l) => `${l.source} booted`, (_, l) => l.source],
  "machine.lost": ["bad", (w, l) => `${l.source} lost everything volatile (${w.why})`, (_, l) => l.source],
  "machine.frozen": ["bad", (_, l) => `${l.source} froze`, (_, l) => l.source],
  "machine.thawed": ["good", (_, l) => `${l.source} thawed`, (_, l) => l.source],
  "realm.wanted": ["quiet", (w) => `${w.realm} wanted (${w.why}), incarnation ${w.incarnation}`, realm],
  "realm.placed": ["info", (w) => `${w.realm} placed on ${w.machine}`, realm],
  "realm.unplaced": ["warn", (w) => `no machine takes ${w.realm}`, realm],
  "realm.state": ["quiet", (w) => `${w.realm}: ${w.was} → ${w.state} (${w.why})`, realm],
  "realm.verdict": ["good", (w) => (w.passed ? `${w.realm} attested (${w.why})` : `${w.realm} refused: ${w.reason}`), realm],
  "secret.released": ["good", (w) => `secret ${w.resource} released to ${w.realm}`, realm],
  "secret.withheld": ["bad", (w) => `secret withheld from ${w.realm}: ${w.reason}`, realm],
  "realm.restart": ["warn", (w) => `${w.realm} is gone with ${w.machine} (${w.why}); another is wanted`, realm],
  "realm.stray": ["warn", (w) => `${w.machine} still hosts an old ${w.realm}; it is stopped`, realm],
  "realm.live": ["quiet", (w, l) => `${w.realm} executes on ${l.source}`, realm],
  "realm.still": ["quiet", (w, l) => `${w.realm} stands still on ${l.source}: ${w.why}`, realm],
  "realm.built": ["quiet", (w, l) => `${w.realm} built on ${l.source}`, realm],
  "realm.destroyed": ["quiet", (w, l) => `${w.realm} destroyed on ${l.source}`, realm],
  "realm.evidence": ["quiet", (w, l) => `${w.realm} gave evidence on ${l.source}`, realm],
  "order.refused": ["warn", (w) => `${w.machine} refused ${w.command}: ${w.code}`, machine],
  "command.refused": ["warn", (w, l) => `${l.source} refused ${w.command}: ${w.code}`, (_, l) => l.source],
  "migration.started": ["move", (w) => `${w.realm} leaves ${w.source} for ${w.target}`, realm],
  "migration.committed": ["move", (w) => `${w.realm} committed to ${w.target}`, realm],
  "migration.aborted": ["warn", (w) => `move of ${w.realm} aborted: ${w.why}`, realm],
  "migration.finished": ["move", (w) => `${w.realm} ${w.outcome === "moved" ? `moved to ${w.target}` : w.outcome}`, realm],
  "migration.declined": ["warn", (w) => `${w.realm} does not move: ${w.why}`, realm],
  "migration.step": ["quiet", (w, l) => `${w.session}: ${l.source} (${w.role}) is ${w.state}`],
  "fault.injected": ["chaos", (w) => `${w.kind} strikes ${some(w.targets)}`, (w) => w.fault],
  "fault.healed": ["good", (w) => `${w.kind} undone on ${some(w.targets)}`, (w) => w.fault],
  "fault.skipped": ["quiet", (w) => `${w.kind} struck nobody: ${w.why}`, (w) => w.fault],
  "rollout.started": ["info", (w) => `${w.rollout}: ${w.component} ${w.version} for ${plural(w.machines, "machine")}`, (w) => w.rollout],
  "wave.started": ["info", (w) => `${w.rollout} wave ${w.wave}: ${plural(w.machines.length, "machine")}`, (w) => w.rollout],
  "rollout.machine": ["quiet", (w) => `${w.machine}: ${w.was} → ${w.phase}`, machine],
  "wave.finished": ["good", (w) => `${w.rollout} wave ${w.wave} baked: ${w.done} done, ${w.failed} failed`, (w) => w.rollout],
  "rollout.held": ["bad", (w) => `${w.rollout} holds: ${w.why}`, (w) => w.rollout],
  "rollout.paused": ["operator", (w) => `${w.rollout} paused in wave ${w.wave}`, (w) => w.rollout],
  "rollout.resumed": ["operator", (w) => `${w.rollout} resumed`, (w) => w.rollout],
  "rollout.aborted": ["operator", (w) => `${w.rollout} given up in wave ${w.wave}`, (w) => w.rollout],
  "rollout.rolled-back": ["warn", (w) => (w.refused ? `${w.held} is not taken back: ${w.refused}` : `${w.held} is taken back to ${w.release}`), (w) => w.held],
  "rollout.waiting": ["warn", (w) => `${w.rollout} waits for ${some(w.absent)}`, (w) => w.rollout],
  "rollout.finished": ["good", (w) => `${w.rollout} finished: ${w.done} done, ${w.failed} failed`, (w) => w.rollout],
  "firmware.activated": ["good", (w, l) => `${l.source} activated ${w.component} ${w.version} live, ${duration(w.pause_ns)} pause`, (_, l) => l.source],
  "firmware.refused": ["bad", (w, l) => `${l.source} refused firmware at ${w.step}: ${w.status}`, (_, l) => l.source],
  "operator.accepted": ["operator", (w) => `operator: ${w.asked} — ${w.what}`],
  "operator.refused": ["warn", (w) => `operator: ${w.asked} refused — ${w.why}`],
  "message.lost": ["quiet", (w, l) => `message ${l.source.replace("link:", "")} → ${w.target} lost`],
};

export interface Said { tone: Tone; text: string; subject: string }

export function say(line: Line): Said {
  const saying = SAYINGS[line.kind];
  if (!saying) return { tone: "quiet", text: `${line.source}: ${line.kind}`, subject: "" };
  const [tone, sentence, subject] = saying;
  const refused = line.kind === "realm.verdict" && !line.what.passed;
  return { tone: refused ? "bad" : tone, text: sentence(line.what, line), subject: subject?.(line.what, line) ?? "" };
}
