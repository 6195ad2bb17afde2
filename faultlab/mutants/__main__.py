"""`python -m faultlab.mutants`: break the product in one place after the other, and see a test fail each time.

What this is: a copy of the clone, one mutation at a time in it, and the tests that claim to kill it. What it is not:
a search for new mutants. The invariant: the clone itself is never changed; the killers pass on the unbroken copy first,
so that a failure means the mutation.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faultlab.mutants.catalogue import ROOT, CatalogueError, Mutant, catalogue

LIMIT_SECONDS = 300.0
"""A mutant that makes its tests hang counts as killed after this long."""
TESTS_FAILED = 1
_USED = ("pyproject.toml", "README.md", "reactor", "tests", "faultlab", "bench", "bin", "docs", "deploy", "examples")


def main() -> int:
    """Run the mutants named on the command line, or all; 1 when one survives, 2 when the list does not fit."""
    parser = argparse.ArgumentParser(prog="python -m faultlab.mutants", description="Break it, see a test fail.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="print what there is and run nothing")
    asked = parser.parse_args()
    try:
        mutants = _chosen(asked.names)
    except CatalogueError as error:
        print(f"faultlab.mutants: {error}", file=sys.stderr)
        return 2
    if asked.list:
        for mutant in mutants:
            print(f"{mutant.name:<40} {mutant.breaks}")
        return 0
    with tempfile.TemporaryDirectory(prefix="srmutants.") as scratch:
        return _judge(mutants, _copy(Path(scratch)))


def _chosen(names: list[str]) -> list[Mutant]:
    """Return the mutants of these names (none: all), each of which fits the product."""
    mutants = [mutant for mutant in catalogue() if not names or mutant.name in names]
    if unknown := set(names) - {mutant.name for mutant in mutants}:
        raise CatalogueError(f"no such mutant: {', '.join(sorted(unknown))}; see --list")
    for mutant in mutants:
        mutant.applied(ROOT)
    return mutants


def _judge(mutants: list[Mutant], copy: Path) -> int:
    killers = sorted({name for mutant in mutants for name in mutant.killed_by})
    print(f"{len(mutants)} mutants; first their {len(killers)} tests on the unbroken product", flush=True)
    if _pytest(copy, killers) != 0:
        print("the tests fail without any mutation: nothing can be said", file=sys.stderr)
        return 2
    alive: list[str] = []
    for mutant in mutants:
        began = time.monotonic()
        killed = _killed(mutant, copy)
        took = time.monotonic() - began
        print(f"{'killed' if killed else 'ALIVE':<7} {mutant.name:<40} {took:5.1f} s  {mutant.breaks}", flush=True)
        if not killed:
            alive.append(mutant.name)
    print(f"{len(mutants) - len(alive)} of {len(mutants)} killed" + (f"; alive: {', '.join(alive)}" if alive else ""))
    return 1 if alive else 0


def _copy(scratch: Path) -> Path:
    """Return a copy of what the tests need of the clone."""
    copy = scratch / "clone"
    copy.mkdir()
    for name in _USED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".cache", "node_modules")
            shutil.copytree(source, copy / name, symlinks=True, ignore=ignored)
        elif source.exists():
            shutil.copy(source, copy / name)
    return copy


def _killed(mutant: Mutant, copy: Path) -> bool:
    path = copy / mutant.file
    before = path.read_text(encoding="utf-8")
    path.write_text(mutant.applied(copy), encoding="utf-8")
    try:
        return _pytest(copy, list(mutant.killed_by)) == TESTS_FAILED
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(before, encoding="utf-8")


def _pytest(copy: Path, names: list[str]) -> int:
    """Run tests of the copy, whose own packages come first on the path; returns pytest's exit code."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if done.returncode not in (0, TESTS_FAILED):
        print(done.stdout[-3000:], done.stderr[-1000:], file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
