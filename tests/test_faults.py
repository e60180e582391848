"""The fast part of `make faults`: it tells what was lost from what survived, and the quick faults are survived."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from materials import main_of
from test_fuzz import FILES

from aae_lib import store

FOLDER = Path(__file__).parent / "faults"


@pytest.fixture(scope="module")
def harness():
    return main_of(FOLDER)


def test_the_quick_faults_are_survived(harness, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("AAE_BUILD", str(tmp_path))
    command = [sys.executable, str(FOLDER), "--share", "0.05", "--no-book", "--fuzz", "0"]
    command += ["--only", "damaged", "NaN", "(SIGTERM)"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "faults.json").exists()  # which is for all of it
    rows = json.loads((tmp_path / "faults_part.json").read_bytes())
    assert all(row["fault"] in done.stdout for row in rows)
    kinds = len(FILES) * len(harness.DAMAGE)
    assert {row["fault"]: (row["tried"], row["survived"], row["lost"]) for row in rows} == {
        "training stopped (SIGTERM)": (4, 4, 0),
        "damaged file of every kind": (kinds, kinds, 0),
        "last checkpoint damaged": (1, 1, 0),
        "weights become NaN or infinite": (1, 1, 0),
    }


def test_an_end_in_other_bits_is_not_survived(harness, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(harness.World, "train", lambda self, **_: (0, ""))
    for bits in "the bits", "other bits":
        monkeypatch.setattr(harness, "trained", lambda runs, bits=bits: bits)
        world = harness.World(tmp_path, tmp_path, {"run": "the bits"})
        assert world.ends_well() == (bits == "the bits")


def test_a_training_is_killed_as_often_as_the_table_says(harness, tmp_path: Path, monkeypatch):
    given = []
    monkeypatch.setattr(harness, "hits", lambda start, signals, *_: given.extend(signals) or [])
    monkeypatch.setattr(harness.World, "ends_well", lambda self: True)
    world = harness.World(tmp_path, tmp_path, {"seconds": 1})
    assert harness.killed_training(signal.SIGKILL, 4)(world, 0)
    assert given == [signal.SIGKILL] * 4


def test_what_is_lost_is_told_and_fails(harness, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("AAE_BUILD", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["faults"])
    monkeypatch.setattr(harness, "may_mount", lambda: False)
    monkeypatch.setattr(
        harness, "undisturbed", lambda folder, digits, _: harness.World(folder, digits, {})
    )

    def raises(world, i):
        raise OSError("the harness fell over")

    fuzz = [harness.Fault("fuzzed: a test", 30, survived=30)]
    monkeypatch.setattr(harness, "fuzzed", lambda folder, cases: fuzz)
    table = [
        harness.Fault("lost now and then", 3, lambda world, i: i != 1),
        harness.Fault("falls over", 1, raises),
        harness.Fault("three times in each world", 2, lambda world, i: i == 0, each=3),
    ]
    monkeypatch.setattr(harness, "faults", lambda share, mount: table)
    assert harness.main() == 1
    told = capsys.readouterr().out
    assert "1: another end than undisturbed" in told and "the harness fell over" in told
    assert "not tried: full and read-only disks" in told
    rows = json.loads((tmp_path / "faults.json").read_bytes())
    about = json.loads((tmp_path / "faults_details.json").read_bytes())
    assert about["provenance"]["commit"][:12] in store.made(about) and about["seconds"] >= 0
    assert rows == [
        {"fault": "lost now and then", "tried": 3, "survived": 2, "lost": 1},
        {"fault": "falls over", "tried": 1, "survived": 0, "lost": 1},
        {"fault": "three times in each world", "tried": 6, "survived": 3, "lost": 3},
        {"fault": "fuzzed: a test", "tried": 30, "survived": 30, "lost": 0},
    ]


def test_what_needs_a_disk_of_its_own_is_not_tried_without_one_and_told_so(harness):
    with_disk, without = ({f.name: f.times for f in harness.faults(1, m)} for m in (True, False))
    left_out = [name for name in with_disk if not without[name]]
    assert len(left_out) == 8 and all("disk" in n or "read-only" in n for n in left_out)


def test_fuzzing_is_told_by_its_tests(harness, tmp_path: Path, monkeypatch):
    def pytest_run(command, env, **_):
        counts = {"test_any_text": 40, "test_a_damaged_file[idx]": 17}
        Path(env["AAE_FUZZ_COUNTS"]).write_text(json.dumps(counts))
        told = "FAILED tests/test_fuzz.py::test_a_damaged_file[idx] - IndexError: 3\n1 failed, 1 passed\n"
        return subprocess.CompletedProcess(command, 1, told, "")

    monkeypatch.setattr(harness.subprocess, "run", pytest_run)
    table = harness.fuzzed(tmp_path, cases=40)
    assert [(f.name, f.times, f.survived, len(f.lost)) for f in table] == [
        ("fuzzed: any text", 40, 40, 0),
        ("fuzzed: a damaged file (idx)", 1, 0, 1),
    ]


def test_fuzzing_that_does_not_begin_is_lost(harness, tmp_path: Path, monkeypatch):
    def pytest_run(command, **_):
        return subprocess.CompletedProcess(command, 2, "collected 0 items / 1 error\n", "")

    monkeypatch.setattr(harness.subprocess, "run", pytest_run)
    (fault,) = harness.fuzzed(tmp_path, cases=40)
    assert fault.lost == ["collected 0 items / 1 error"]


def test_a_hurt_process_is_gone_with_all_that_it_started(harness, tmp_path: Path):
    world = harness.World(tmp_path, tmp_path, {})
    child = "import signal; print('here', flush=True); signal.pause()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = world.start("-c", code)
    assert process.stdout.readline() == "here\n"
    assert harness.hurt(process, signal.SIGKILL, after=0) == -signal.SIGKILL
    quick = world.start("-c", "pass")
    assert harness.hurt(quick, signal.SIGTERM, after=30) == 0  # it was over before
    with pytest.raises(RuntimeError, match=r"(?s)failed by itself, exit code 3: .*no such chapter"):
        failing = world.start("-c", "print('no such chapter'); raise SystemExit(3)")
        harness.hurt(failing, signal.SIGKILL, after=30)


def test_a_process_that_was_done_before_its_signal_came_does_not_count(harness, monkeypatch):
    codes, given = iter([0, -9, 0, -15]), []

    def hurt(process, how, after):
        given.append(how)
        assert 0 <= after <= 7
        return next(codes)

    monkeypatch.setattr(harness, "hurt", hurt)
    signals = [signal.SIGKILL, signal.SIGTERM]
    assert list(harness.hits(lambda: None, signals, 7, "name")) == [0, -9, 0, -15]
    assert given == [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGTERM]


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [(2, "aae: no", True), (0, "aae: no", False), (-9, "aae: no", False), (2, "Traceback …", False)],
)  # fmt: skip
def test_a_clear_end_has_a_code_and_no_traceback(harness, code: int, said: str, expected: bool):
    assert harness.clear(code, said) is expected
    assert not harness.clear(2, "aae: no", "Free some space")
