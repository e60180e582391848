"""`make bench`: how near the library is to what this machine can do, each figure a ratio measured side by side.

Writes bench.json (a list of name, value, target, ok) and bench_details.json (what was divided by what, curves,
roofline, machine) to the build folder. Exit code 1 if a figure misses its target. Measure on an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import parzen
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the literal transcription
import training

from aae_lib import store
from aae_lib.errors import exit_code


def main() -> int:
    """Measure everything, print it, write it; returns the exit code."""
    arguments = argparse.ArgumentParser(prog="make bench", description=__doc__)
    arguments.parse_args()
    started, provenance = time.monotonic(), store.provenance("cpu", torch.get_num_threads())
    figures = []
    print(f"{'figure':22} {'value':>8}  {'target':8} how", flush=True)
    for measure in (training.figures, parzen.figures):
        for figure in measure():
            mark = "ok" if figure.ok else "MISSED"
            print(
                f"{figure.name:22} {figure.value:8.3f}  {figure.target:8} {mark}: {figure.how}",
                flush=True,
            )
            figures.append(figure)
    curves = training.curves() | parzen.curves()
    rows = [
        {"name": f.name, "value": round(f.value, 4), "target": f.target, "ok": f.ok}
        for f in figures
    ]
    seconds = round(time.monotonic() - started)
    how = {figure.name: figure.how for figure in figures}
    path = store.write_measured("bench", rows, provenance, how=how, curves=curves, seconds=seconds)
    print(f"written: {path}; took {seconds / 60:.1f} min")
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(exit_code("bench", main))
