// The side panel: one machine, one Realm, one rollout, or, when nothing is chosen, what goes on and what can be done.

import { useEffect, useState } from "preact/hooks";
import { get, post } from "./api";
import { report } from "./app";
import { clock, duration, plural, short, size } from "./format";
import { Facts, Lines, Name, Panel } from "./parts";
import * as store from "./store";
import type { Fields, Line, Machine, Realm, Rollout } from "./types";

type Detail<T> = T & { history: Line[]; verdict?: Line; placement?: Line; move?: Line; appraisal?: Line; residents?: string[] };

export function Inspector() {
  const choice = store.choice.value;
  return (
    <aside class="inspector" aria-label="Inspector">
      {choice === null ? <Overview /> : (
        <>
          <button class="close" title="Back to the overview" onClick={() => (store.choice.value = null)}>‹ fleet</button>
          {choice.sort === "machine" ? <MachineRoom key={choice.name} name={choice.name} /> : null}
          {choice.sort === "realm" ? <RealmRoom key={choice.name} name={choice.name} /> : null}
          {choice.sort === "rollout" ? <RolloutRoom key={choice.name} name={choice.name} /> : null}
        </>
      )}
    </aside>
  );
}

/** What the API knows of one object, asked anew whenever something happened to it, at most twice a second. */
function useDetail<T>(path: string, changed: unknown): Detail<T> | null {
  const [found, keep] = useState<Detail<T> | null>(null);
  const latest = store.feed.value[0]?.place ?? 0;
  const [due, wake] = useState(0);
  useEffect(() => {
    const timer = setTimeout(() => wake((count) => count + 1), 450);
    return () => clearTimeout(timer);
  }, [changed, latest]);
  useEffect(() => {
    let here = true;
    get<Detail<T>>(path).then((answer) => here && keep(answer), () => undefined);
    return () => { here = false; };
  }, [path, due]);
  return found;
}

function act(path: string, body?: unknown): void {
  post<{ what: string }>(path, body).then((answer) => {
    store.toast.value = { good: true, text: answer.what };
    const said = store.toast.value;
    setTimeout(() => { if (store.toast.value === said) store.toast.value = null; }, 4000);
  }, report);
}

// -- nothing chosen ---------------------------------------------------------------------------------------------------

function Overview() {
  const inForce = [...store.faults.value.values()].filter((fault) => fault.state === "in-force");
  const coming = [...store.faults.value.values()].filter((fault) => fault.state === "coming");
  return (
    <>
      <Actions />
      <Panel title="Faults" aside={inForce.length ? plural(inForce.length, "fault") + " in force" : "calm"}>
        {inForce.map((fault) => (
          <div key={fault.name} class="row fault" data-fault={fault.name}>
            <div><b>{fault.kind}</b><small>{fault.targets.join(", ")}{fault.peers.length ? ` — ${fault.peers.join(", ")}` : ""}</small></div>
            <small>until {clock(fault.until_ns).slice(0, 8)}</small>
            <button onClick={() => act(`/faults/${fault.name}/heal`)}>heal</button>
          </div>
        ))}
        {coming.slice(0, 3).map((fault) => (
          <div key={fault.name} class="row coming"><div><b>{fault.kind}</b></div><small>at {clock(fault.at_ns).slice(0, 8)}</small></div>
        ))}
      </Panel>
      <Panel title="Rollouts">
        {[...store.rollouts.value.values()].map((rollout) => <RolloutRow key={rollout.name} rollout={rollout} />)}
      </Panel>
      <Panel title="What happens" class="grow"><Lines lines={store.feed.value} most={120} /></Panel>
    </>
  );
}

function Actions() {
  const offered = store.cluster.value;
  const [kind, pickKind] = useState("");
  const [fault, pickFault] = useState("machine.power-loss");
  const [target, pickTarget] = useState("");
  const [lasts, pickLasts] = useState("30s");
  const [release, pickRelease] = useState("");
  if (!offered) return null;
  const releases = Object.keys(offered.releases).filter((name) => offered.releases[name]!.RMM && Object.keys(offered.releases[name]!).length === 1);
  const struck = target || [...store.machines.value.keys()][0] || "";
  const selector = offered.racks.includes(struck) ? { rack: struck } : { machine: struck };
  const deed = fault.startsWith("network.")
    ? { between: [selector, "control"], ...(fault === "network.loss" ? { loss: "20%" } : fault === "network.delay" ? { delay: "200ms" } : {}) }
    : { select: selector };
  return (
    <Panel title="Act">
      <form class="act" data-act="fault" onSubmit={(event) => { event.preventDefault(); act("/faults", { fault, for: lasts, ...deed }); }}>
        <label>fault <select name="fault" value={fault} title={offered.faults[fault]?.does} onChange={(event) => pickFault(event.currentTarget.value)}>
          {Object.keys(offered.faults).map((name) => <option key={name} value={name}>{name}</option>)}
        </select></label>
        <label>strikes <select name="target" value={struck} onChange={(event) => pickTarget(event.currentTarget.value)}>
          <optgroup label="machines">{[...store.machines.value.keys()].map((name) => <option key={name}>{name}</option>)}</optgroup>
          <optgroup label="racks">{offered.racks.map((name) => <option key={name}>{name}</option>)}</optgroup>
        </select></label>
        <label>for <input name="for" value={lasts} size={5} onInput={(event) => pickLasts(event.currentTarget.value)} /></label>
        <button class="strike">Inject</button>
        <p>{offered.faults[fault]?.does}</p>
      </form>
      <form class="act" onSubmit={(event) => { event.preventDefault(); act("/realms", { kind: kind || Object.keys(offered.kinds)[0], count: 1 }); }}>
        <label>Realm <select value={kind || Object.keys(offered.kinds)[0]} onChange={(event) => pickKind(event.currentTarget.value)}>
          {Object.keys(offered.kinds).map((name) => <option key={name}>{name}</option>)}
        </select></label>
        <button>Launch one</button>
      </form>
      {releases.length ? (
        <form class="act" onSubmit={(event) => { event.preventDefault(); act("/rollouts", { release: release || releases[0] }); }}>
          <label>release <select value={release || releases[0]} onChange={(event) => pickRelease(event.currentTarget.value)}>
            {releases.map((name) => <option key={name}>{name}</option>)}
          </select></label>
          <button>Roll out</button>
        </form>
      ) : null}
    </Panel>
  );
}

// -- rollouts ---------------------------------------------------------------------------------------------------------

const PHASES = ["done", "reattesting", "appraising", "activating", "priming", "draining", "failed", "absent", "queued"];

function RolloutRow({ rollout }: { rollout: Rollout }) {
  const phases = Object.values(rollout.machines);
  const count = (phase: string) => phases.filter((found) => found === phase).length;
  return (
    <div class="row rollout" data-rollout={rollout.name}>
      <div>
        <b><Name of={rollout.name} /> <small>{rollout.component} {rollout.version}</small></b>
        <span class="phases">{PHASES.map((phase) => (count(phase) ? <i key={phase} class={phase} style={{ flexGrow: count(phase) }} title={`${count(phase)} ${phase}`} /> : null))}</span>
        <small>{rollout.stage}{rollout.wave ? `, wave ${rollout.wave} of ${Math.max(rollout.waves, rollout.wave)}` : rollout.stage === "awaited" ? ` until ${clock(rollout.at_ns).slice(0, 8)}` : ""}</small>
      </div>
      {["running", "baking", "waiting"].includes(rollout.stage) ? <button onClick={() => act(`/rollouts/${rollout.name}/pause`)}>pause</button> : null}
      {rollout.stage === "paused" ? <button onClick={() => act(`/rollouts/${rollout.name}/resume`)}>resume</button> : null}
      {["finished", "held", "aborting"].includes(rollout.stage) ? null : <button onClick={() => act(`/rollouts/${rollout.name}/abort`)}>abort</button>}
    </div>
  );
}

function RolloutRoom({ name }: { name: string }) {
  const rollout = store.rollouts.value.get(name);
  const detail = useDetail<Rollout>(`/rollouts/${name}`, rollout);
  if (!rollout) return null;
  return (
    <>
      <h2>{name}<em class={`chip ${rollout.stage}`}>{rollout.stage}</em></h2>
      <Panel title="Progress"><RolloutRow rollout={rollout} />
        <Facts rows={[["release", `${rollout.release} (${rollout.component} ${rollout.version})`], ["failures", `${rollout.failures} of ${rollout.max_failures} allowed`]]} />
      </Panel>
      <Panel title="Machines">
        <ul class="chips">{Object.entries(rollout.machines).map(([machine, phase]) => <li key={machine}><Name of={machine} /><small class={phase}>{phase}</small></li>)}</ul>
      </Panel>
      <Panel title="History" class="grow"><Lines lines={detail?.history ?? []} /></Panel>
    </>
  );
}

// -- one machine ------------------------------------------------------------------------------------------------------

function MachineRoom({ name }: { name: string }) {
  const machine = store.machines.value.get(name);
  const detail = useDetail<Machine>(`/machines/${name}`, machine);
  if (!machine) return null;
  const cordoned = "operator" in machine.cordons;
  const free = machine.free_granules;
  const appraisal = detail?.appraisal;
  const residents = [...store.realms.value.values()].filter((realm) => realm.machine === name);
  return (
    <>
      <h2>{name}<em class={`chip ${machine.state}`}>{machine.state}</em></h2>
      {machine.truth !== "up" || machine.faults.length ? (
        <p class="truth-note">In truth it is <b>{machine.truth}</b>{machine.faults.length ? <> under {machine.faults.map((fault) => store.faults.value.get(fault)?.kind ?? fault).join(", ")}</> : null}; the control plane believes <b>{machine.state}</b>{machine.state === "admitted" ? " and will learn by silence" : ""}.</p>
      ) : null}
      <Panel title="Machine">
        <Facts rows={[
          ["rack", `${machine.rack} · profile ${machine.profile}`],
          ["believed since", clock(machine.since_ns)],
          ["boot", machine.boot || "not yet"],
          ["firmware", Object.entries(machine.versions).map(([part, version]) => `${part} ${version}`).join(" · ")],
          ["activity", machine.activity],
          ["cordoned", Object.entries(machine.cordons).map(([by, why]) => `by ${by}: ${why}`).join("; ")],
          ["distrusted", machine.distrusted],
          ["processing elements", machine.pes],
        ]} />
        {free === null ? null : <Meter share={1 - free / machine.granules} text={`${size(machine.granules - free)} of ${size(machine.granules)} in granules of Realms`} />}
      </Panel>
      <Panel title="Realms here" aside={String(residents.length)}>
        <ul class="chips">{residents.map((realm) => <li key={realm.name}><Name of={realm.name} /><small class={realm.state}>{realm.state}</small></li>)}</ul>
      </Panel>
      <Panel title="Platform attestation">
        {appraisal ? (
          <Facts rows={[
            ["verdict", appraisal.kind === "machine.admitted" ? (appraisal.what.vouched ? <em class="tier affirming">verified</em> : <em class="tier none">not yet verified</em>) : <em class="tier contraindicated">{appraisal.what.reason}</em>],
            ["token", appraisal.what.platform_token_sha256 ? short(appraisal.what.platform_token_sha256) : ""],
            ["why", appraisal.what.why ?? ""],
            ["at", clock(appraisal.at_ns)],
          ]} />
        ) : <p class="quiet">no token has been judged in the lines that are kept</p>}
      </Panel>
      <Panel title="Act">
        <div class="buttons">
          <button onClick={() => act(`/machines/${name}/${cordoned ? "uncordon" : "cordon"}`)}>{cordoned ? "Uncordon" : "Cordon"}</button>
          {["machine.power-loss", "machine.freeze", "rmm.panic", "attest.tampered-token"].map((fault) => (
            <button key={fault} class="strike" onClick={() => act("/faults", { fault, for: "30s", select: { machine: name } })}>{fault.split(".")[1]}</button>
          ))}
          <button class="strike" onClick={() => act("/faults", { fault: "network.partition", for: "50s", between: [{ machine: name }, "control"] })}>cut off</button>
        </div>
      </Panel>
      <Panel title="History" class="grow"><Lines lines={detail?.history ?? []} /></Panel>
    </>
  );
}

function Meter(props: { share: number; text: string }) {
  return <div class="meter"><i style={{ width: `${Math.min(100, Math.max(0.5, props.share * 100))}%` }} /><small>{props.text}</small></div>;
}

// -- one Realm --------------------------------------------------------------------------------------------------------

function RealmRoom({ name }: { name: string }) {
  const realm = store.realms.value.get(name);
  const detail = useDetail<Realm>(`/realms/${name}`, realm);
  if (!realm) return <p class="quiet">{name} was deleted.</p>;
  const executes = Object.entries(realm.executes);
  return (
    <>
      <h2>{name}<em class={`chip ${realm.state}`}>{realm.state}</em></h2>
      <Panel title="Realm">
        <Facts rows={[
          ["kind", realm.kind],
          ["machine", realm.machine ? <Name of={realm.machine} /> : "none"],
          ["on its way to", realm.target ? <Name of={realm.target} /> : ""],
          ["executes on", executes.length ? executes.map(([machine, doing]) => `${machine}${doing ? "" : " (no secret yet)"}`).join(", ") : "nowhere"],
          ["believed since", clock(realm.since_ns)],
          ["incarnation", `${realm.incarnation}${realm.restarts ? `, ${plural(realm.restarts, "restart")}` : ""}`],
          ["attested", realm.attested_ns ? `${plural(realm.attestations, "time")}, last at ${clock(realm.attested_ns)}` : "not yet"],
          ["last failure", realm.failure],
        ]} />
        <div class="buttons">
          <button disabled={realm.state !== "serving"} onClick={() => act(`/realms/${name}/migrate`, {})}>Migrate</button>
          <button onClick={() => act(`/realms/${name}/stop`)}>Stop</button>
        </div>
      </Panel>
      <Placement placement={detail?.placement} move={detail?.move} realm={realm} />
      <Verdict verdict={detail?.verdict} />
      <Panel title="History" class="grow"><Lines lines={detail?.history ?? []} /></Panel>
    </>
  );
}

function Placement({ placement, move, realm }: { placement?: Line; move?: Line; realm: Realm }) {
  if (!placement) return <Panel title="Why it is where it is"><p class="quiet">no placement in the lines that are kept</p></Panel>;
  const what = placement.what;
  const moved = move && move.at_ns > placement.at_ns && move.what.incarnation === realm.incarnation;
  const refused = Object.entries(what.refused as Record<string, number>);
  const best = (what.best ?? []) as { machine: string; score: number; parts: Record<string, number> }[];
  const most = Math.max(1, ...best.map((scored) => positive(scored.parts)));
  return (
    <Panel title="Why it is where it is" aside={clock(placement.at_ns).slice(0, 8)}>
      {moved ? <p>A migration took it from <Name of={move.what.source} /> to <Name of={move.what.target} /> at {clock(move.at_ns)}. Before that:</p> : null}
      <p>{placement.kind === "realm.placed" ? <>The scheduler looked at {plural(what.considered, "machine")} and chose <Name of={what.machine} />.</> : `None of ${plural(what.considered, "machine")} would take it.`}</p>
      {best.map((scored) => (
        <div key={scored.machine} class="score" data-score={scored.machine}>
          <Name of={scored.machine} />
          <span class="parts">{Object.entries(scored.parts).filter(([, value]) => value > 0).map(([part, value], place) => <i key={part} class={`part-${place % 4}`} style={{ width: `${(value / most) * 100}%` }} title={`${part} ${value}`} />)}</span>
          <b>{scored.score.toLocaleString("en")}</b>
          <small>{Object.entries(scored.parts).map(([part, value]) => `${part} ${value > 0 ? "+" : ""}${value.toLocaleString("en")}`).join("  ")}</small>
        </div>
      ))}
      {refused.length ? <p>Refused: {refused.map(([filter, count]) => `${count} by ${filter}`).join(", ")}.</p> : <p class="quiet">No filter refused any machine.</p>}
      <ul class="samples">{Object.entries(what.samples as Record<string, string>).map(([machine, why]) => <li key={machine}><Name of={machine} /> {why}</li>)}</ul>
    </Panel>
  );
}

function positive(parts: Record<string, number>): number {
  return Object.values(parts).reduce((sum, value) => sum + Math.max(value, 0), 0);
}

function Verdict({ verdict }: { verdict?: Line }) {
  if (!verdict) return <Panel title="Last verdict"><p class="quiet">its evidence has not been judged yet</p></Panel>;
  const what: Fields = verdict.what;
  const tiers = Object.entries(what.tiers as Record<string, string>);
  return (
    <Panel title="Last verdict" aside={<em class={`tier ${what.passed ? "affirming" : "contraindicated"}`} data-verdict={what.passed ? "passed" : "refused"}>{what.passed ? "passed" : what.reason}</em>}>
      <table class="claims">
        <tbody>{tiers.map(([claim, tier]) => {
          const [half, called] = claim.split("/");
          return <tr key={claim}><td>{half}</td><td>{called}</td><td><em class={`tier ${tier}`}>{tier}</em></td></tr>;
        })}</tbody>
      </table>
      <Facts rows={[
        ["asked for", what.why], ["said", what.detail], ["evidence", short(what.evidence_sha256)], ["RIM", what.rim ? short(what.rim) : ""],
        ["took", `${duration(what.replied_ns - what.arrived_ns)}: waited ${duration(what.started_ns - what.arrived_ns)}, judged ${duration(what.done_ns - what.started_ns)}, reply ${duration(what.replied_ns - what.done_ns)}`],
        ["at", clock(verdict.at_ns)],
      ]} />
    </Panel>
  );
}
