// Where racks, machines and Realms stand: computed, so that a Realm that moves can fly from one machine to another.

import type { Machine, Realm } from "./types";

export interface Box { x: number; y: number; w: number; h: number }
export interface Spot { x: number; y: number }
export interface Plan {
  width: number; height: number; dense: boolean; dot: number;
  racks: { name: string; box: Box; machines: number }[];
  machines: Map<string, Box>;
  realms: Map<string, Spot>;
}

const GAP = 16;
const HEAD = 34;
const TILE_HEAD = 32;
/** Distances of two Realms, from a fleet that has room to one that has none. */
const PITCHES = [38, 32, 26, 22, 19];
/** Sides of a machine in a large fleet. */
const SIDES = [52, 44, 36, 30, 24, 18, 14, 10];
/** What a tile may be taller than it must, where there is room. */
const MOST_AIR = 44;
const DENSE_FROM = 160;
const MOST_DOTS = 1500;

const slots = new Map<string, (string | null)[]>();

/** Give each Realm a place on its machine that it keeps while it is there. */
function settle(machines: Map<string, Machine>, realms: Map<string, Realm>): void {
  for (const [machine, taken] of slots) {
    for (let place = 0; place < taken.length; place += 1) {
      const name = taken[place];
      if (name && realms.get(name)?.machine !== machine) taken[place] = null;
    }
    while (taken.length && taken.at(-1) === null) taken.pop();
  }
  for (const realm of realms.values()) {
    if (!realm.machine || !machines.has(realm.machine)) continue;
    let taken = slots.get(realm.machine);
    if (!taken) slots.set(realm.machine, (taken = []));
    if (taken.includes(realm.name)) continue;
    const free = taken.indexOf(null);
    if (free >= 0) taken[free] = realm.name;
    else taken.push(realm.name);
  }
}

/** The largest picture of the fleet that fits into `width` by `height`; one that never fits may be scrolled. */
export function plan(width: number, height: number, machines: Map<string, Machine>, realms: Map<string, Realm>): Plan {
  const dense = machines.size > DENSE_FROM || realms.size > MOST_DOTS;
  if (!dense) settle(machines, realms);
  for (const pitch of dense ? SIDES : PITCHES) {
    const made = draw(width, pitch, 0, dense, machines);
    if (made.height > height) continue;
    if (dense) return made;
    const tallest = Math.max(1, ...made.racks.map((rack) => rack.machines));
    const rows = Math.max(1, new Set(made.racks.map((rack) => rack.box.y)).size);
    return draw(width, pitch, Math.min(MOST_AIR, Math.floor((height - made.height) / (tallest * rows))), dense, machines);
  }
  return draw(width, (dense ? SIDES : PITCHES).at(-1)!, 0, dense, machines);
}

function draw(width: number, pitch: number, air: number, dense: boolean, machines: Map<string, Machine>): Plan {
  const racks = new Map<string, Machine[]>();
  for (const machine of machines.values()) {
    const found = racks.get(machine.rack);
    if (found) found.push(machine);
    else racks.set(machine.rack, [machine]);
  }
  const most = Math.max(1, Math.floor((width + GAP) / (dense ? 180 : 236)));
  const columns = Math.min(racks.size || 1, most);
  const rackWidth = Math.min((width - GAP * (columns - 1)) / columns, 460);
  const left = Math.max(0, (width - columns * rackWidth - GAP * (columns - 1)) / 2);
  const made: Plan = { width, height: 0, dense, dot: Math.round(pitch * 0.62), racks: [], machines: new Map(), realms: new Map() };
  let top = 0;
  let rowHeight = 0;
  [...racks].forEach(([name, members], index) => {
    const column = index % columns;
    if (index && column === 0) {
      top += rowHeight + GAP;
      rowHeight = 0;
    }
    const x = left + column * (rackWidth + GAP);
    const height = dense ? placeDense(made, members, x, top, rackWidth, pitch) : placeTiles(made, members, x, top, rackWidth, pitch, air);
    made.racks.push({ name, box: { x, y: top, w: rackWidth, h: height }, machines: members.length });
    rowHeight = Math.max(rowHeight, height);
  });
  made.height = top + rowHeight;
  for (const rack of made.racks) rack.box.h = Math.max(rack.box.h, columns === racks.size ? rowHeight : rack.box.h);
  return made;
}

function placeTiles(made: Plan, members: Machine[], x: number, top: number, width: number, pitch: number, air: number): number {
  const inner = width - 24;
  const perRow = Math.max(1, Math.floor((inner - 20) / pitch));
  const rows = Math.max(pitch > 24 ? 1 : 2, ...members.map((machine) => Math.ceil((slots.get(machine.name)?.length ?? 0) / perRow)));
  const height = TILE_HEAD + rows * pitch + 8 + air;
  let y = top + HEAD;
  for (const machine of members) {
    made.machines.set(machine.name, { x: x + 12, y, w: inner, h: height });
    (slots.get(machine.name) ?? []).forEach((name, place) => {
      if (!name) return;
      const spot = { x: x + 12 + 10 + pitch / 2 + (place % perRow) * pitch, y: y + TILE_HEAD + air * 0.4 + (Math.floor(place / perRow) + 0.5) * pitch - 2 };
      made.realms.set(name, spot);
    });
    y += height + 10;
  }
  return y - top + 2;
}

function placeDense(made: Plan, members: Machine[], x: number, top: number, width: number, side: number): number {
  const perRow = Math.max(1, Math.floor((width - 20) / (side + 4)));
  members.forEach((machine, place) => {
    const box = { x: x + 12 + (place % perRow) * (side + 4), y: top + HEAD + Math.floor(place / perRow) * (side + 4), w: side, h: side };
    made.machines.set(machine.name, box);
  });
  return HEAD + Math.ceil(members.length / perRow) * (side + 4) + 10;
}
