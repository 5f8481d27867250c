// What the API sends; the records are `orchestrator.serve.views`. Instants are virtual nanoseconds.

export interface Pace { speed: number; paused: boolean; behind_ms: number }

export interface Machine {
  name: string; rack: string; profile: string; state: string; since_ns: number; boot: number;
  versions: Record<string, string>; cordons: Record<string, string>; activity: string; distrusted: string;
  pes: number; granules: number; free_granules: number | null; realms: number; faults: string[];
  truth: string;
}

export interface Realm {
  name: string; kind: string; state: string; since_ns: number; machine: string; incarnation: number;
  session: string; target: string; restarts: number; refusals: number; attested_ns: number; attestations: number;
  failure: string; unplaced: Record<string, number>;
  executes: Record<string, boolean>;
}

export interface Rollout {
  name: string; release: string; component: string; version: string; stage: string; wave: number; waves: number;
  at_ns: number; bake_until_ns: number; failures: number; max_failures: number; machines: Record<string, string>;
}

export interface Fault {
  name: string; kind: string; state: string; targets: string[]; peers: string[]; at_ns: number; until_ns: number;
}

export interface Session {
  name: string; realm: string; source: string; target: string; phase: string; opened_ns: number; deadline_ns: number;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- fields differ by kind of record
export type Fields = Record<string, any>;

export interface Line { place: number; at_ns: number; source: string; kind: string; what: Fields }

export interface Cluster {
  name: string; description: string; seed: number; run_dir: string; racks: string[]; kinds: Record<string, number>;
  releases: Record<string, Record<string, string>>;
  faults: Record<string, { does: string; acts_in: string; undo: string }>;
}

export interface Problem { title: string; detail: string; hint?: string; status: number }
