// Racks, machines and Realms. Outline: what the control plane believes. Fill and dots: what is true.

import { useEffect, useRef, useState } from "preact/hooks";
import { plural } from "./format";
import { type Box, type Plan, plan, type Spot } from "./layout";
import { kindHue, versionHue } from "./parts";
import * as store from "./store";
import type { Machine, Realm } from "./types";

/** Height of legend and tray, above the racks. */
const HEADROOM = 74;

export function Fleet() {
  const [[width, height], measure] = useState([0, 0]);
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => measure([entry!.contentRect.width, entry!.contentRect.height]));
    watch.observe(frame.current!);
    return () => watch.disconnect();
  }, []);
  const made = width && height ? plan(width, height - HEADROOM, store.machines.value, store.realms.value) : null;
  return (
    <div ref={frame} class="fleet-frame">
      <Legend />
      <Tray />
      <div class="fleet" style={{ height: `${made?.height ?? 0}px`, "--dot": `${made?.dot ?? 12}px` }}>
        {made ? <Floor made={made} /> : null}
      </div>
    </div>
  );
}

function Floor({ made }: { made: Plan }) {
  const kinds = Object.keys(store.cluster.value?.kinds ?? {});
  return (
    <>
      {made.racks.map((rack) => (
        <div key={rack.name} class="rack" style={box(rack.box)}>
          <h2>{rack.name}<small>{plural(rack.machines, "machine")}</small></h2>
        </div>
      ))}
      <Cuts made={made} />
      {[...made.machines].map(([name, place]) => {
        const machine = store.machines.value.get(name)!;
        return <Tile key={name} machine={machine} place={place} dense={made.dense} />;
      })}
      <Flights made={made} />
      <Strays made={made} />
      {[...made.realms].map(([name, spot]) => {
        const realm = store.realms.value.get(name)!;
        return <Dot key={name} realm={realm} spot={spot} hue={kindHue(kinds, realm.kind)} />;
      })}
    </>
  );
}

function box(place: Box) {
  return { transform: `translate(${place.x}px, ${place.y}px)`, width: `${place.w}px`, height: `${place.h}px` };
}

function Tile({ machine, place, dense }: { machine: Machine; place: Box; dense: boolean }) {
  const version = machine.versions.RMM ?? "";
  const chosen = store.choice.value?.name === machine.name;
  const struck = machine.faults.map((name) => store.faults.value.get(name)?.kind ?? name);
  const classes = [
    "machine", `believed-${machine.state}`, `truth-${machine.truth}`, chosen ? "chosen" : "", dense ? "dense" : "",
    machine.activity ? "active" : "", struck.length ? "struck" : "", Object.keys(machine.cordons).length ? "cordoned" : "",
  ];
  const said = `${machine.name}: believed ${machine.state}, ${machine.truth}${struck.length ? `, ${struck.join(", ")}` : ""}`;
  return (
    <button
      class={classes.join(" ")} data-machine={machine.name} title={said} aria-label={said} aria-pressed={chosen}
      style={{ ...box(place), "--version": versionHue(store.versions.value, version) }}
      onClick={() => (store.choice.value = { sort: "machine", name: machine.name })}
    >
      {dense ? (place.w < 28 ? null : <span class="count">{machine.realms || ""}</span>) : (
        <>
          <span class="head">
            <b>{machine.name.slice(machine.rack.length + 1)}</b>
            <em>{struck[0] ?? (machine.activity || (machine.state === "admitted" ? "" : machine.state))}</em>
            <i>{version}</i>
          </span>
          {machine.truth === "up" ? null : <span class="truth">{machine.truth}</span>}
        </>
      )}
    </button>
  );
}

function stage(realm: Realm): string {
  const here = realm.executes[realm.machine];
  switch (realm.state) {
    case "serving":
      return store.machines.value.get(realm.machine)?.truth !== "up" ? "dead" : here ? "serving" : here === false ? "starting" : "still";
    case "migrating":
      return "moving";
    case "placed": case "launching": case "verifying": case "releasing":
      return "starting";
    case "replacing": case "stopping":
      return "leaving";
    default:
      return "gone";
  }
}

function Dot({ realm, spot, hue }: { realm: Realm; spot: Spot; hue: string }) {
  const chosen = store.choice.value?.name === realm.name;
  return (
    <button
      class={`dot ${stage(realm)} ${chosen ? "chosen" : ""}`} data-realm={realm.name} data-state={realm.state}
      title={`${realm.name}: ${realm.state}`} aria-label={`${realm.name}: ${realm.state}`}
      style={{ translate: `${spot.x}px ${spot.y}px`, "--hue": hue }}
      onClick={() => (store.choice.value = { sort: "realm", name: realm.name })}
    />
  );
}

function centre(place: Box): Spot {
  return { x: place.x + place.w / 2, y: place.y + place.h / 2 };
}

/** The way of each Realm that a migration session holds. */
function Flights({ made }: { made: Plan }) {
  const ways = [...store.sessions.value.values()].flatMap((session) => {
    const from = made.machines.get(session.source);
    const to = made.machines.get(session.target);
    return from && to ? [{ name: session.name, from: centre(from), to: centre(to) }] : [];
  });
  return (
    <svg class="flights" aria-hidden="true" width={made.width} height={made.height}>
      {ways.map(({ name, from, to }) => (
        <path key={name} d={`M${from.x},${from.y} Q${(from.x + to.x) / 2 + (to.y - from.y) * 0.3},${(from.y + to.y) / 2 - Math.abs(to.x - from.x) * 0.3} ${to.x},${to.y}`} />
      ))}
    </svg>
  );
}

/** Copies that execute where the control plane does not believe them: two lives, when the first lives too. */
function Strays({ made }: { made: Plan }) {
  const counts = new Map<string, number>();
  return (
    <>
      {[...store.realms.value.values()].flatMap((realm) => Object.keys(realm.executes).filter((machine) => machine !== realm.machine && machine !== realm.target).map((machine) => {
        const place = made.machines.get(machine);
        const number = counts.get(machine) ?? 0;
        counts.set(machine, number + 1);
        if (!place) return null;
        const said = `${realm.name} still executes on ${machine}, where nobody believes it`;
        return <button key={`${machine}/${realm.name}`} class="dot stray" title={said} aria-label={said} style={{ translate: `${place.x + place.w - 16 - number * 16}px ${place.y + place.h - 14}px` }} onClick={() => store.choose(realm.name)} />;
      }))}
    </>
  );
}

/** Link faults: a line of breaks across the racks or machines that are cut off. */
function Cuts({ made }: { made: Plan }) {
  const cut = new Map<string, string>();
  for (const fault of store.faults.value.values()) {
    if (fault.state !== "in-force" || !fault.kind.startsWith("network.")) continue;
    for (const end of [...fault.targets, ...fault.peers]) cut.set(end, fault.kind);
  }
  return (
    <svg class="cuts" aria-hidden="true" width={made.width} height={made.height}>
      {[...cut].map(([name, kind]) => {
        const place = made.machines.get(name);
        return place ? <rect key={name} class={kind.replace(".", "-")} x={place.x - 4} y={place.y - 4} width={place.w + 8} height={place.h + 8} rx="13" /> : null;
      })}
    </svg>
  );
}

/** Realms that are nowhere: waiting for a machine, or failed. */
function Tray() {
  const kinds = Object.keys(store.cluster.value?.kinds ?? {});
  const nowhere = [...store.realms.value.values()].filter((realm) => ["wanted", "failed"].includes(realm.state));
  return (
    <div class={`tray ${nowhere.length ? "" : "empty"}`} aria-label="Realms without a machine">
      {nowhere.length ? <span>without a machine</span> : null}
      {nowhere.slice(0, 60).map((realm) => (
        <button key={realm.name} class={realm.state} data-realm={realm.name} style={{ "--hue": kindHue(kinds, realm.kind) }} onClick={() => (store.choice.value = { sort: "realm", name: realm.name })}>
          {realm.name}
        </button>
      ))}
    </div>
  );
}

function Legend() {
  const kinds = Object.keys(store.cluster.value?.kinds ?? {});
  return (
    <div class="legend">
      {kinds.map((kind) => <span key={kind}><i class="dot-mark" style={{ "--hue": kindHue(kinds, kind) }} />{kind}</span>)}
      <span class="rule" />
      {store.versions.value.map((version) => <span key={version}><i class="version-mark" style={{ background: versionHue(store.versions.value, version) }} />RMM {version}</span>)}
      <span class="rule" />
      <span><i class="outline-mark suspect" />suspect</span>
      <span><i class="outline-mark down" />down</span>
      <span class="note">outline: what the control plane believes · fill and dots: what is true</span>
    </div>
  );
}
