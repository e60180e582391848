"""`make audit`: does PyPI know of a vulnerability in one of the pinned packages?

Asks for every package of constraints.txt, at its version. Exit code 0 if all that could be asked for are without one, 1
if one is not, 2 if nothing could be asked, with a line that says so: no answer is no good news.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from aae_lib.store import REPOSITORY


def pinned() -> str:
    """The pins of constraints.txt, a line each."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if re.match(r"[a-z]", line))


def judge(code: int, told: str, errors: str) -> tuple[int, str]:
    """Exit code and report, from what pip-audit ended with and printed as JSON."""
    try:
        packages = json.loads(told)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (errors.strip().splitlines() or [f"pip-audit ended with {code}"])[-1]
        return 2, f"audit: not done, PyPI's advisories cannot be reached: {last[:300]}"
    asked = [package for package in packages if "vulns" in package]
    if not asked:
        return 2, "audit: not done, this package index knows no advisories"
    found = [
        f"  {package['name']} {package['version']}: {flaw['id']}"
        f" (mended in {', '.join(flaw['fix_versions']) or 'no version yet'})"
        for package in asked
        for flaw in package["vulns"]
    ]
    summary = f"audit: {len(asked)} of {len(packages)} packages asked for, {len(found)} known vulnerabilities"
    return (1 if found else 0), "\n".join([summary, *found])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text(pinned())
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            str(pins),
            "--format",
            "json",
        ]
        command += ["--disable-pip", "--no-deps", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True)
    code, report = judge(done.returncode, done.stdout, done.stderr)
    print(report)
    return code


if __name__ == "__main__":
    sys.exit(main())
