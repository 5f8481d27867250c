// The time line: how many Realms serve, faults, waves, migrations and marks, scrolling with the fleet's clock.

import { useEffect, useRef, useState } from "preact/hooks";
import { duration, S, shortClock } from "./format";
import type { History, Mark, Point, Span } from "./history";
import { useFrame } from "./parts";
import * as store from "./store";

const WINDOWS = [60, 300, 900, 3600];
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];

export function TimeLine() {
  useFrame(66);
  const [window_s, zoom] = useState(300);
  const [width, measure] = useState(0);
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => measure(entry!.contentRect.width));
    watch.observe(frame.current!);
    return () => watch.disconnect();
  }, []);
  const now = store.presentNs();
  const from = Math.max(0, now - window_s * S * 0.97);
  const x = (at: number) => ((at - from) / (window_s * S)) * width;
  const { kept } = store.history.value;
  return (
    <footer class="timeline" aria-label="Time line">
      <div class="names">
        <span class="tall">Realms serving</span><span>faults</span><span>rollout waves</span><span>migrations</span><span>events</span>
        <div class="zoom" role="group" aria-label="Window">
          {WINDOWS.map((choice) => <button key={choice} aria-pressed={choice === window_s} onClick={() => zoom(choice)}>{choice < 60 ? `${choice}s` : choice < 3600 ? `${choice / 60}m` : "1h"}</button>)}
        </div>
      </div>
      <div ref={frame} class="lanes">
        {width > 0 ? <Lanes kept={kept} x={x} from={from} now={now} width={width} window_s={window_s} /> : null}
      </div>
    </footer>
  );
}

interface LanesProps { kept: History; x: (at: number) => number; from: number; now: number; width: number; window_s: number }

function Lanes({ kept, x, from, now, width, window_s }: LanesProps) {
  const step = (STEPS.find((choice) => (choice / window_s) * width > 70) ?? 3600) * S;
  const ticks = [];
  for (let at = Math.max(0, Math.ceil(from / step) * step); at <= now; at += step) ticks.push(at);
  return (
    <>
      {ticks.map((at) => <div key={at} class="tick" style={{ transform: `translateX(${x(at)}px)` }}><span>{shortClock(at)}</span></div>)}
      <Area points={kept.points} x={x} from={from} now={now} />
      <Lane spans={kept.faults} x={x} from={from} now={now} row={0} />
      <Lane spans={kept.waves} x={x} from={from} now={now} row={1} />
      <Lane spans={kept.moves} x={x} from={from} now={now} row={2} />
      <Marks marks={kept.marks} x={x} from={from} />
      <div class="now" style={{ transform: `translateX(${x(now)}px)` }} />
    </>
  );
}

const AREA = 46;

function Area({ points, x, from, now }: { points: Point[]; x: (at: number) => number; from: number; now: number }) {
  const most = Math.max(1, store.wanted.value.length, ...points.map((point) => point.serving));
  const y = (serving: number) => AREA - (serving / most) * (AREA - 6);
  let first = 0;
  while (first + 1 < points.length && points[first + 1]!.at < from) first += 1;
  const seen = points.slice(first);
  const start = Math.max(0, x(seen[0]?.at ?? 0));
  const steps = seen.map((point, place) => {
    const until = Math.max(0, x(seen[place + 1]?.at ?? now));
    return `V${y(point.serving).toFixed(1)} H${until.toFixed(1)}`;
  });
  const top = y(seen[0]?.serving ?? 0).toFixed(1);
  return (
    <svg class="area" height={AREA} aria-hidden="true">
      <path d={`M${start},${AREA} ${steps.join(" ")} V${AREA} Z`} class="fill" />
      <path d={`M${start},${top} ${steps.join(" ")}`} class="edge" />
    </svg>
  );
}

function Lane({ spans, x, from, now, row }: { spans: Map<string, Span>; x: (at: number) => number; from: number; now: number; row: number }) {
  const seen = [...spans.values()].filter((span) => (span.until ?? now) >= from);
  const ends: number[] = [];
  return (
    <div class={`lane row-${row}`}>
      {seen.map((span) => {
        const left = Math.max(x(span.from), -20);
        const right = x(span.until ?? now);
        let level = ends.findIndex((end) => end <= left + 1);
        if (level < 0) level = ends.length;
        ends[level] = Math.max(right, left + 6);
        return (
          <button
            key={span.key} class={`span tone-${span.tone} ${span.until === null ? "open" : ""}`} data-span={span.key}
            style={{ transform: `translate(${left}px, ${Math.min(level, 2) * 5}px)`, width: `${Math.max(4, right - left)}px` }}
            title={`${span.title} · ${shortClock(span.from)}, ${duration((span.until ?? now) - span.from)}`}
            onClick={() => store.choose(span.subject)}
          >
            {right - left > 46 ? span.label : ""}
          </button>
        );
      })}
    </div>
  );
}

function Marks({ marks, x, from }: { marks: Mark[]; x: (at: number) => number; from: number }) {
  const seen = [];
  for (let place = marks.length - 1; place >= 0 && marks[place]!.at >= from && seen.length < 250; place -= 1) seen.push(marks[place]!);
  return (
    <div class="lane row-3">
      {seen.map((mark, place) => (
        <button
          key={`${mark.at}/${mark.text}/${place}`} class={`mark tone-${mark.tone}`} title={`${shortClock(mark.at)} ${mark.text}`} aria-label={mark.text}
          style={{ translate: `${x(mark.at)}px` }} onClick={() => store.choose(mark.subject)}
        />
      ))}
    </div>
  );
}
