"""What is installed, where each list of packages says so, and the two commands of a newcomer."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import audit
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aae_lib.store import REPOSITORY

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
INSTALLED_EXTRAS = ("book", "test")


def constraints() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def direct(*extras: str) -> list[Requirement]:
    texts = [*PYPROJECT["dependencies"]]
    for extra in extras:
        texts += PYPROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def test_constraints_are_exact_pins_without_hosts_or_paths():
    text = (REPOSITORY / "constraints.txt").read_text()
    for line in text.splitlines():
        assert (
            not line or line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)
        )


def test_every_direct_dependency_is_pinned_within_its_bounds():
    pins = constraints()
    for requirement in direct(*PYPROJECT["optional-dependencies"]):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def needed_by(*extras: str) -> set[str]:
    """The installed packages that the project needs with these extras, transitive ones included."""
    todo, seen = direct(*extras), set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        for line in distribution(name).requires or []:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                todo.append(needed)
    return {name for name, _ in seen}


def test_every_transitive_dependency_is_pinned_at_the_installed_version():
    pins, needed = constraints(), needed_by(*INSTALLED_EXTRAS)
    for name in needed:
        assert version(name).split("+")[0] == pins.get(name), f"{name} in constraints.txt"
    assert len(needed) > 100


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-tools.lock"])
def test_a_lock_names_versions_of_the_pins_with_their_sums(name: str):
    text = (REPOSITORY / name).read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==([0-9][0-9a-z.]*) ", text, flags=re.MULTILINE))
    assert locked.items() <= constraints().items(), "make lock"
    entries = re.sub(r" \\\n", "", text).splitlines()
    assert all("--hash=sha256:" in line for line in entries if not line.startswith("#"))
    extras = re.findall(r"--extra ([a-z]+)", recipe_of(name))
    assert {requirement.name for requirement in direct(*extras)} <= {*locked, "torch"}, "make lock"


def recipe_of(lock: str) -> str:
    """The line of the Makefile that writes this lock."""
    lines = (REPOSITORY / "Makefile").read_text().splitlines()
    return next(line for line in lines if f"--output-file {lock} " in line)


def test_every_extra_is_in_one_of_the_locks():
    locks = recipe_of("requirements.lock"), recipe_of("requirements-tools.lock")
    extras = [extra for line in locks for extra in re.findall(r"--extra ([a-z]+)", line)]
    assert sorted(extras) == sorted(PYPROJECT["optional-dependencies"])


def test_the_lock_leaves_out_nothing_that_is_installed_but_torch():
    text = (REPOSITORY / "requirements.lock").read_text()
    locked = re.findall(r"^([a-z0-9-]+)==", text, flags=re.MULTILINE)
    unlocked = needed_by(*INSTALLED_EXTRAS) - {*locked}
    assert "torch" in unlocked
    assert all(re.match("torch|cuda|nvidia|triton", name) for name in unlocked), "make lock"


def test_no_other_version_of_a_pinned_package_is_installed():
    for name, pin in constraints().items():
        try:
            assert version(name).split("+")[0] == pin
        except PackageNotFoundError:
            continue  # for another platform


def test_conda_installs_what_make_installs():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in environment if isinstance(entry, dict))
    command = re.search(r"\$\(PIP\) (-c .*)", (REPOSITORY / "Makefile").read_text()).group(1)
    arguments = command.replace("'", "")
    assert " ".join(pip) == arguments == "-c constraints.txt -e .[book,test]"
    assert f"python{PYPROJECT['requires-python']}" in environment


def test_version_and_licence_agree():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == version("aae")
    assert citation["license"] == PYPROJECT["license"] == "MIT"


@pytest.mark.parametrize(("script", "code"), [("exit 1", 1), ('test "$1" != audit', 0)])
def test_ci_fails_with_the_tests_and_not_with_the_audit(clone: Path, script: str, code: int):
    program(clone, "make", script)
    (clone / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "run", clone / ".ci" / "run")
    environment = {"PATH": f"{clone}/bin:/usr/bin:/bin"}
    done = subprocess.run([clone / ".ci" / "run"], env=environment, check=False)
    assert done.returncode == code


# ---- the Makefile


def make(
    *arguments: str, folder: Path = REPOSITORY, **environment: str
) -> subprocess.CompletedProcess:
    """Run make as a reader would, whatever make runs these tests."""
    path = environment.pop("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    return subprocess.run(
        [shutil.which("make"), *arguments],
        cwd=folder,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
    )


def test_make_alone_lists_every_target():
    shown = make().stdout
    text = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", text, flags=re.MULTILINE))
    assert set(re.findall(r"^  ([a-z]+) +\S", shown, flags=re.MULTILINE)) == targets
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE).group(1)
    assert set(phony.split()) == targets
    assert make("help").stdout == shown


def test_clean_removes_folders_of_the_build_alone_whatever_it_is_called():
    shown = make("-n", "clean", AAE_BUILD="/scratch/my runs").stdout
    command = next(line for line in shown.splitlines() if line.startswith("rm "))
    assert shlex.split(command) == ["rm", "-rf", "/scratch/my runs/html", "/scratch/my runs/source"]


def test_what_make_book_is_given_reaches_snakemake():
    shown = make(
        "-n", "book", "PROFILE=paper", "SEED=7", "REPLICATES=2", "ALLOW_CPU=1", "THREADS=3"
    ).stdout
    assert "--keep-going" in shown  # one failed job does not cost the others their night
    for given in ("profile=paper", "seed=7", "replicates=2", "allow_cpu=1", "threads=3"):
        assert given in shown


@pytest.mark.parametrize("gpu", [True, False])
def test_all_seeds_of_an_experiment_are_one_job_where_there_is_a_gpu(gpu: bool, clone: Path):
    if gpu:
        program(clone, "nvidia-smi", "")
    # No other folder is searched: this machine may have one.
    shown = make("-n", "book", folder=clone, PATH=f"{clone}/bin").stdout
    assert re.search(r"\btogether=(\S*)", shown)[1] == ("1" if gpu else "")


def test_what_make_chapter_is_given_reaches_it():
    given = "CHAPTER=07", "PROFILE=standard", "SEED=3", "REPLICATES=2", "DATA=some images"
    shown = make("-n", "chapter", *given).stdout.replace("\\\n", " ")
    command = next(line for line in shown.splitlines() if "aae_lib.book run" in line)
    assert shlex.split(command)[4:] == [
        *("07", "--profile", "standard", "--seed", "3"),
        *("-p", "replicates", "2", "-p", "data", "some images"),
    ]


def test_a_chapter_without_a_gpu_can_be_insisted_on():
    asked = "-n", "chapter", "CHAPTER=07", "PROFILE=paper"
    assert "-p allow_cpu True" not in make(*asked).stdout
    assert "-p allow_cpu True" not in make(*asked, "ALLOW_CPU=0").stdout
    assert "-p allow_cpu True" in make(*asked, "ALLOW_CPU=1").stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the set-up reads, and stand-ins for programs."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements.lock"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac',
            "Python 3.9.2 cannot run this; Python 3.11 to 3.14",
        ),
        ('case "$2" in *venv*) exit 1;; *) exit 0;; esac', "has no venv module"),
    ],
)
def test_an_unfit_python_is_told_in_one_line(clone: Path, script: str, told: str):
    program(clone, "unfit", script)
    done = make("setup", "PYTHON=unfit", folder=clone, PATH=f"{clone}/bin:/usr/bin:/bin")
    assert done.returncode
    assert told in done.stderr
    assert not (clone / ".venv").exists()


def test_a_missing_program_is_told_in_one_line(clone: Path):
    done = make("setup", "PYTHON=python9", folder=clone)
    assert done.returncode
    assert "there is no python9" in done.stderr
    done = make("setup", "SHELL=/bin/sh", folder=clone, PATH=f"{clone}/bin")
    assert done.returncode
    assert "git is missing" in done.stderr


def test_packages_are_installed_once(clone: Path):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "bin" / "python3").symlink_to(sys.executable)
    program(clone, "installer", f'case "$*" in *pip*) echo "$*" >> "{clone}/log";; esac')
    shutil.move(clone / "bin" / "installer", clone / ".venv" / "bin" / "python")
    environment = {"folder": clone, "PATH": f"{clone}/bin:/usr/bin:/bin"}
    assert make("setup", **environment).returncode == 0
    assert make("setup", **environment).returncode == 0
    log = (clone / "log").read_text().splitlines()
    assert len(log) == 2
    assert "--require-hashes --no-deps -r requirements.lock" in log[0]
    assert "-c constraints.txt" in log[1]
    # What is told to one whose package is missing: they are asked for once more.
    assert make("-B", "setup", **environment).returncode == 0
    assert (clone / "log").read_text().splitlines() == 2 * log


def test_a_failed_installation_is_begun_anew(clone: Path):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "bin" / "python3").symlink_to(sys.executable)
    program(clone, "installer", 'case "$*" in *requirements.lock*) exit 1;; esac')
    shutil.move(clone / "bin" / "installer", clone / ".venv" / "bin" / "python")
    assert make("setup", folder=clone, PATH=f"{clone}/bin:/usr/bin:/bin").returncode
    assert not (clone / ".venv" / ".aae-installed").exists()


# ---- the audit


def package(name: str, *flaws: str) -> dict:
    vulns = [{"id": flaw, "fix_versions": ["2.0"]} for flaw in flaws]
    return {"name": name, "version": "1.0", "vulns": vulns}


@pytest.mark.parametrize(
    ("told", "code", "report"),
    [
        ([package("good")], 0, "1 of 1 packages asked for, 0 known"),
        ([package("bad", "CVE-1"), package("good")], 1, "bad 1.0: CVE-1 (mended in 2.0)"),
        ([{"name": "unknown", "skip_reason": "not found"}], 2, "not done"),
        ([package("good"), {"name": "unknown", "skip_reason": "?"}], 0, "1 of 2 packages"),
    ],
)
def test_the_audit_tells_good_news_from_no_answer(told: list, code: int, report: str):
    ended, said = audit.judge(1, json.dumps({"dependencies": told}), "")
    assert ended == code
    assert report in said


def test_an_audit_without_an_answer_says_why():
    assert audit.judge(1, "", "Traceback\nConnectionError: no route\n") == (
        2,
        "audit: not done, PyPI's advisories cannot be reached: ConnectionError: no route",
    )
