// Zoom, pan and pointing on the time line. The drawing stands in the page already; here only its window moves.
(() => {
  "use strict";
  const plot = document.querySelector(".plot");
  if (!plot) return;
  const S = 1e9;
  const end = Number(plot.dataset.end) / S;
  const units = Number(plot.dataset.units);
  const drawings = [...plot.querySelectorAll(".track svg")];
  const track = plot.querySelector(".track");
  const output = document.querySelector(".window");
  const brush = plot.querySelector(".brush");
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  const least = Math.max(end / 4000, 0.002);
  let from = 0, until = end;

  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const digits = (step) => (step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3);
  function clock(at, places) {
    const ticks = Math.round(at * 10 ** places);
    const whole = Math.floor(ticks / 10 ** places);
    const rest = places ? `.${String(ticks % 10 ** places).padStart(places, "0")}` : "";
    return `${two(whole / 3600)}:${two((whole / 60) % 60)}:${two(whole % 60)}${rest}`;
  }
  function lasting(s) {
    if (s < 1) return `${(s * 1000).toFixed(s < 0.01 ? 2 : s < 0.1 ? 1 : 0)} ms`;
    if (s < 120) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
    return `${(s / 3600).toFixed(1)} h`;
  }

  function show(a, b) {
    const span = Math.min(Math.max(b - a, least), end);
    from = Math.min(Math.max(a, 0), end - span);
    until = from + span;
    plot.style.setProperty("--a", from);
    plot.style.setProperty("--k", 100 / span);
    for (const drawing of drawings) {
      const tall = drawing.viewBox.baseVal.height;
      drawing.setAttribute("viewBox", `${(from / end) * units} 0 ${(span / end) * units} ${tall}`);
    }
    const step = STEPS.find((choice) => (choice / span) * track.clientWidth > 86) ?? 604800;
    const ticks = [];
    for (let place = Math.ceil(from / step - 1e-9); place * step <= until + 1e-9; place += 1) {
      const tick = document.createElement("span");
      tick.style.setProperty("--f", place * step);
      tick.textContent = clock(place * step, digits(step));
      ticks.push(tick);
    }
    plot.querySelector(".ticks").replaceChildren(...ticks);
    output.textContent = `${clock(from, Math.max(1, digits(step)))} to ${clock(until, Math.max(1, digits(step)))}`;
    document.querySelector("[data-zoom=in]").disabled = span <= least;
    for (const verb of ["out", "all", "left", "right"]) document.querySelector(`[data-zoom=${verb}]`).disabled = span >= end;
  }
  function zoom(factor, at = (from + until) / 2) {
    show(at - (at - from) * factor, at + (until - at) * factor);
  }
  const shift = (share) => show(from + (until - from) * share, until + (until - from) * share);
  const act = {
    in: () => zoom(0.5), out: () => zoom(2), left: () => shift(-0.5), right: () => shift(0.5), all: () => show(0, end),
  };
  for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", act[button.dataset.zoom]);
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all" };
  plot.addEventListener("keydown", (event) => {
    if (event.target === plot && keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      act[keys[event.key]]();
    }
  });

  // -- dragging and the wheel
  const edge = () => track.getBoundingClientRect();
  const timeAt = (x) => from + ((x - edge().left) / edge().width) * (until - from);
  let drag = null;
  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("a") || event.clientX < edge().left) return;
    drag = { x: event.clientX, at: timeAt(event.clientX), pan: event.shiftKey, from, until };
    plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    if (!drag) return point(event);
    tip.hidden = true;
    if (drag.pan) {
      const by = ((drag.x - event.clientX) / edge().width) * (drag.until - drag.from);
      show(drag.from + by, drag.until + by);
      return;
    }
    const box = plot.getBoundingClientRect();
    const left = Math.max(Math.min(drag.x, event.clientX), edge().left);
    const right = Math.min(Math.max(drag.x, event.clientX), edge().right);
    brush.hidden = false;
    brush.style.left = `${left - box.left}px`;
    brush.style.width = `${right - left}px`;
  });
  const drop = (event) => {
    if (!drag) return;
    const begun = drag;
    drag = null;
    brush.hidden = true;
    if (!begun.pan && event.type === "pointerup" && Math.abs(event.clientX - begun.x) > 6) {
      const at = timeAt(event.clientX);
      show(Math.min(begun.at, at), Math.max(begun.at, at));
    }
  };
  plot.addEventListener("pointerup", drop);
  plot.addEventListener("pointercancel", drop);
  plot.addEventListener("dblclick", (event) => event.target.closest("a") || show(0, end));
  plot.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(Math.min(Math.max(event.deltaY, -60), 60) * 0.01), timeAt(event.clientX));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && until - from < end) {
      event.preventDefault();
      shift(event.deltaX / edge().width);
    }
  }, { passive: false });

  // -- what lies under the pointer: the strokes of the row, read from the paths once
  const rows = new Map();
  function strokes(drawing) {
    if (rows.has(drawing)) return rows.get(drawing);
    const tall = Number(drawing.dataset.row);
    const found = [];
    for (const path of drawing.querySelectorAll("path")) {
      const notes = path.dataset.notes ? JSON.parse(path.dataset.notes) : null;
      let place = 0;
      for (const [, x, y, wide] of path.getAttribute("d").matchAll(/M(\d+) (\d+)h(\d+)/g)) {
        const row = Math.floor(Number(y) / tall);
        (found[row] ??= []).push({
          from: (Number(x) / units) * end, until: ((Number(x) + Number(wide)) / units) * end,
          state: path.dataset.state, note: notes ? notes[0][notes[1][place]] : "",
        });
        place += 1;
      }
    }
    rows.set(drawing, found);
    return found;
  }
  function point(event) {
    const drawing = event.target.closest("svg[data-row]");
    tip.hidden = true;
    if (!drawing) return;
    const row = Math.floor((event.clientY - drawing.getBoundingClientRect().top) / Number(drawing.dataset.row));
    const at = timeAt(event.clientX);
    const near = ((until - from) / edge().width) * 3;
    const here = (strokes(drawing)[row] ?? []).filter((one) => one.from - near <= at && at <= one.until + near);
    if (!here.length) return;
    const exact = here.filter((one) => one.from <= at && at < one.until);
    const shown = exact.length ? exact : here.slice(0, 1);
    const name = drawing.closest(".rows").querySelectorAll(".names > div")[row]?.textContent ?? "";
    tip.replaceChildren(
      Object.assign(document.createElement("b"), { textContent: name }),
      ...shown.map((one) => Object.assign(document.createElement("span"), {
        textContent: `${one.state} ${one.note}`.trim() + ` · ${clock(one.from, 1)} to ${clock(one.until, 1)} (${lasting(one.until - one.from)})`,
      })),
    );
    tip.hidden = false;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px`;
  }
  plot.addEventListener("pointerleave", () => { tip.hidden = true; });
  addEventListener("resize", () => show(from, until));
  show(0, end);
})();

// A link into something folded opens it.
(() => {
  "use strict";
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && (target.matches("details") ? target : target.closest("details"));
    if (folded) {
      folded.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();
})();
