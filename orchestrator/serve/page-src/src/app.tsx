import { useState } from "preact/hooks";
import { keepToken, post, Refused } from "./api";
import { Fleet } from "./fleet";
import { clock } from "./format";
import { Inspector } from "./inspector";
import { useFrame } from "./parts";
import * as store from "./store";
import { TimeLine } from "./timeline";

export function App() {
  return (
    <div class={`page link-${store.link.value}`}>
      <Header />
      <Connection />
      <main>
        <section class="stage" aria-label="Fleet">
          <Fleet />
        </section>
        <Inspector />
      </main>
      <TimeLine />
      <Toast />
    </div>
  );
}

function Header() {
  const down = [...store.machines.value.values()].filter((machine) => machine.state !== "admitted").length;
  const rollout = [...store.rollouts.value.values()].filter((one) => !["awaited", "finished"].includes(one.stage)).at(-1);
  const inForce = [...store.faults.value.values()].filter((fault) => fault.state === "in-force").length;
  const all = store.wanted.value.length;
  return (
    <header>
      <div class="brand">
        <span class="mark" aria-hidden="true"><i /><i /><i /></span>
        <div>
          <h1>Realmfleet</h1>
          <p>{store.cluster.value ? `${store.cluster.value.name} · seed ${store.cluster.value.seed}` : " "}</p>
        </div>
      </div>
      <Clock />
      <dl class="stats">
        <Stat name="Realms serving" value={`${store.serving.value}`} of={`/ ${all}`} tone={store.serving.value < all ? "warn" : "good"} share={all ? store.serving.value / all : 1} />
        <Stat name="machines" value={`${store.machines.value.size - down}`} of={`/ ${store.machines.value.size}`} tone={down ? "warn" : "good"} share={store.machines.value.size ? 1 - down / store.machines.value.size : 1} />
        <Stat name="faults in force" value={`${inForce}`} tone={inForce ? "chaos" : "quiet"} />
        <Stat name={rollout ? `${rollout.name} · ${rollout.version}` : "rollout"} value={rollout ? rollout.stage : "none"} of={rollout ? `wave ${rollout.wave}` : ""} tone={rollout ? (rollout.stage === "held" ? "bad" : "info") : "quiet"} />
      </dl>
      <span class="link" role="status" data-link={store.link.value}><i />{LINKS[store.link.value]}</span>
    </header>
  );
}

const LINKS = { connecting: "connecting", live: "live", lost: "connection lost", ended: "ended", token: "token needed" };

function Stat(props: { name: string; value: string; of?: string; tone: string; share?: number }) {
  return (
    <div class={`stat tone-${props.tone}`}>
      <dt>{props.name}</dt>
      <dd>
        {props.value} <small>{props.of}</small>
        {props.share === undefined ? null : <span class="bar"><i style={{ width: `${props.share * 100}%` }} /></span>}
      </dd>
    </div>
  );
}

function Clock() {
  useFrame(100);
  const { speed, paused, behind_ms } = store.pace.value;
  const set = (body: { speed?: number; paused?: boolean }) => void post("/clock", body).catch(report);
  return (
    <div class="clock">
      <time class={paused ? "paused" : ""}>{clock(store.presentNs())}</time>
      <div class="pace" role="group" aria-label="Pace">
        <button title={paused ? "Go on" : "Pause"} aria-pressed={paused} onClick={() => set({ paused: !paused })}>{paused ? "▶" : "❚❚"}</button>
        {[1, 5, 20, 60].map((choice) => (
          <button key={choice} aria-pressed={!paused && speed === choice} onClick={() => set({ speed: choice, paused: false })}>{choice}×</button>
        ))}
        {behind_ms > 500 ? <span class="late" title="The engine does not keep up with this pace">late</span> : null}
      </div>
    </div>
  );
}

export function report(error: unknown): void {
  if (error instanceof Refused) store.toast.value = { good: false, text: error.problem.detail, hint: error.problem.hint };
  else store.toast.value = { good: false, text: "the fleet does not answer" };
}

function Toast() {
  const said = store.toast.value;
  if (!said) return null;
  return (
    <div class={`toast ${said.good ? "good" : "bad"}`} role="alert" onClick={() => (store.toast.value = null)}>
      <b>{said.text}</b>
      {said.hint ? <span>{said.hint}</span> : null}
    </div>
  );
}

function Connection() {
  const [typed, type] = useState("");
  if (store.link.value === "lost") {
    return <div class="banner warn" role="alert">Connection lost. This is the fleet as of {clock(store.nowNs.value)}; trying again…</div>;
  }
  if (store.link.value === "ended") {
    return <div class="banner" role="alert">The fleet has ended at {clock(store.nowNs.value)}. Its run is in <code>{store.cluster.value?.run_dir}</code>; this page waits for the next one.</div>;
  }
  if (store.link.value !== "token") return null;
  return (
    <form class="banner" onSubmit={(event) => { event.preventDefault(); keepToken(typed); store.link.value = "connecting"; }}>
      <label>This fleet asks for its token <input type="password" value={typed} onInput={(event) => type(event.currentTarget.value)} /></label>
      <button>Enter</button>
    </form>
  );
}
