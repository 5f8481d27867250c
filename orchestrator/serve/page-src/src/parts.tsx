// Small parts that several rooms of the page use.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { shortClock } from "./format";
import { say } from "./sentences";
import { choose } from "./store";
import type { Line } from "./types";

/** Draw again every `ms` milliseconds, in step with the screen. */
export function useFrame(ms: number): void {
  const [, draw] = useState(0);
  useEffect(() => {
    let last = 0;
    let frame = requestAnimationFrame(function next(at) {
      if (at - last >= ms) {
        last = at;
        draw((count) => count + 1);
      }
      frame = requestAnimationFrame(next);
    });
    return () => cancelAnimationFrame(frame);
  }, [ms]);
}

export function Panel(props: { title: string; aside?: ComponentChildren; children: ComponentChildren; class?: string }) {
  return (
    <section class={`panel ${props.class ?? ""}`}>
      <h3>{props.title}<span>{props.aside}</span></h3>
      {props.children}
    </section>
  );
}

export function Facts(props: { rows: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {props.rows.filter(([, value]) => value !== "" && value !== null && value !== undefined).map(([name, value]) => (
        <div key={name}><dt>{name}</dt><dd>{value}</dd></div>
      ))}
    </dl>
  );
}

export function Name(props: { of: string }) {
  return <button class="name" onClick={() => choose(props.of)}>{props.of}</button>;
}

export function Lines(props: { lines: Line[]; most?: number }) {
  return (
    <ol class="lines">
      {props.lines.slice(0, props.most ?? 60).map((line) => {
        const said = say(line);
        return (
          <li key={line.place} class={`tone-${said.tone}`} data-kind={line.kind}>
            <time>{shortClock(line.at_ns)}</time>
            {said.subject ? <button onClick={() => choose(said.subject)}>{said.text}</button> : <span>{said.text}</span>}
          </li>
        );
      })}
    </ol>
  );
}

const KIND_HUES = ["#60c8ff", "#b79cff", "#5ee6b5", "#ff9ecb", "#c8e86b", "#ffb37a", "#8fb4ff", "#7fe3e0"];
const VERSION_HUES = ["#5673a8", "#1fc7a0", "#c07cff", "#ff9f5a", "#ff6f9c", "#e5d04c"];

export function kindHue(kinds: string[], kind: string): string {
  return KIND_HUES[Math.max(0, kinds.indexOf(kind)) % KIND_HUES.length]!;
}

export function versionHue(versions: string[], version: string): string {
  const place = versions.indexOf(version);
  return place < 0 ? "#3a4560" : VERSION_HUES[place % VERSION_HUES.length]!;
}
