"""What a run costs with the fleet's size: 10 to 10 000 machines of `clusters/region.yaml`, idle and busy.

For each size the region is cut down to so many machines, arrivals in proportion. Two runs, each in a process of its
own: a day in which nothing happens after the boot, and half an hour in which Realms come and go. Processor time and
the peak of memory are the process's own. Writes `scaling.csv` and `scaling.svg` beside this file; run it with
`python docs/experiments/scaling.py [--largest N]`.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REGION = HERE.parents[1] / "clusters" / "region.yaml"
SIZES = (10, 100, 1_000, 10_000)
PER_RACK = 40
FIELDS = ("machines", "boot_cpu_s", "boot_mib", "idle_day_cpu_s", "busy_realms", "busy_cpu_s", "busy_mib")
BOOTED_S, IDLE_S, BUSY_S = 60, 24 * 3600, 1800


def cut_down(machines: int, arrivals: bool) -> str:
    """The text of the region with so many machines, without rollout and faults; without arrivals if so wished."""
    racks = -(-machines // PER_RACK)
    lines = []
    for line in REGION.read_text(encoding="utf-8").splitlines():
        rack = re.match(r"  r(\d{3}): ", line)
        if rack is not None:
            if int(rack.group(1)) > racks:
                continue
            line = re.sub(r"(std|dense|old): \d+", f"std: {min(PER_RACK, machines)}", line)
        elif re.match(r"  (dense|old): \{pes", line):
            continue
        lines.append(line)
    text = "\n".join(lines) + "\n"
    text = re.sub(r"\nevents:.*", "\n", text, flags=re.S)
    if not arrivals:
        text = re.sub(r"\narrivals:.*", "\n", text, flags=re.S)
        text = text.replace("  tiny: {image", "  tiny: {start_at: 23h, image")
        return re.sub(r"\n  (small|medium|wide|large|larger|heavy|giant|huge): \{image.*", "", text)
    found = re.search(r"per_hour: (\d+)", text)
    assert found is not None
    rate = max(int(found.group(1)) * machines // SIZES[-1], 4)
    return text.replace(found.group(0), f"per_hour: {rate}")


def measure(text: str, until_s: int) -> dict[str, float]:
    """Run a cluster in this process; seconds of processor time and MiB, after the boot and at the end."""
    from orchestrator.api import Run, RunOptions
    from orchestrator.cluster.load import load_text

    loaded = load_text(text.encode(), "scaling.yaml")
    if loaded.value is None:
        raise SystemExit(loaded.render())
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        with Run(loaded.value, text, RunOptions(fleet="local", out=Path(folder) / "run")) as run:
            run.run_until(BOOTED_S * 10**9)
            booted, booted_kib = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            run.run_until(until_s * 10**9)
            realms = run.assembly.control.store.realms.values()
            built = sum(realm.attestations > 0 for realm in realms)
        return {
            "boot_cpu_s": booted,
            "boot_mib": booted_kib / 1024,
            "cpu_s": time.process_time() - start - booted,
            "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "realms": built,
        }


def apart(machines: int, arrivals: bool) -> dict[str, float]:
    """The same in a process of its own, whose peak of memory nothing else has raised."""
    words = [sys.executable, __file__, "--one", str(machines), *(["--busy"] if arrivals else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def draw(rows: list[dict[str, str]]) -> str:
    """A picture of the table: both axes in decades, lines for time and memory."""
    width, height, left, low = 640, 400, 70, 50
    series = (
        ("boot, processor s", "boot_cpu_s", "#0072b2"), ("idle day, processor s", "idle_day_cpu_s", "#009e73"),
        ("busy half hour, processor s", "busy_cpu_s", "#d55e00"), ("peak memory, MiB", "busy_mib", "#cc79a7"),
    )  # fmt: skip

    def place(machines: float, value: float) -> str:
        from math import log10

        x = left + (log10(machines) - 1) / 3 * (width - left - 30)
        y = height - low - (log10(max(value, 0.01)) + 2) / 6 * (height - low - 30)
        return f"{x:.1f},{y:.1f}"

    view = f'viewBox="0 0 {width} {height}"'
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" {view} font-family="sans-serif" font-size="11">']
    for decade in range(-2, 5):
        y = place(10, 10.0**decade).split(",")[1]
        out.append(f'<line x1="{left}" x2="{width - 30}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>')
    for machines in SIZES:
        x = place(machines, 1).split(",")[0]
        out.append(f'<text x="{x}" y="{height - low + 18}" text-anchor="middle">{machines}</text>')
    out.append(f'<text x="{width // 2}" y="{height - 12}" text-anchor="middle">machines</text>')
    for number, (label, field, colour) in enumerate(series):
        points = " ".join(place(float(row["machines"]), float(row[field])) for row in rows)
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<text x="{left + 10}" y="{42 + number * 15}" fill="{colour}">{label}</text>')
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    """Measure every size and write table and picture."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--largest", type=int, default=SIZES[-1])
    words.add_argument("--one", type=int)
    words.add_argument("--busy", action="store_true")
    asked = words.parse_args()
    if asked.one is not None:
        print(json.dumps(measure(cut_down(asked.one, asked.busy), BUSY_S if asked.busy else IDLE_S)))
        return
    rows = []
    for machines in (size for size in SIZES if size <= asked.largest):
        idle, busy = apart(machines, False), apart(machines, True)
        values = (
            machines, idle["boot_cpu_s"], idle["boot_mib"], idle["cpu_s"], busy["realms"], busy["cpu_s"], busy["mib"],
        )  # fmt: skip
        rows.append(dict(zip(FIELDS, (f"{value:.2f}".rstrip("0").rstrip(".") for value in values), strict=True)))
        print(rows[-1], flush=True)
    with (HERE / "scaling.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (HERE / "scaling.svg").write_text(draw(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
