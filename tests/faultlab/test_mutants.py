"""The list of mutants fits the product, and the command that runs it tells the killed from the living."""

import subprocess
import sys
from pathlib import Path

import pytest

from faultlab.mutants.catalogue import ROOT, CatalogueError, Mutant, catalogue


def test_there_are_at_least_twenty_mutants_and_each_changes_one_place() -> None:
    """A line that moved is an error here, so that no mutant is lost in silence."""
    mutants = catalogue()
    assert len(mutants) >= 20
    for mutant in mutants:
        assert mutant.applied(ROOT) != (ROOT / mutant.file).read_text(encoding="utf-8")


def test_every_killer_exists() -> None:
    """Each named test stands in the file that is named."""
    for mutant in catalogue():
        for killer in mutant.killed_by:
            path, _, name = killer.partition("::")
            assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8") if name else (ROOT / path).is_file()


def test_a_line_that_the_product_does_not_have_is_an_error() -> None:
    """Once is right; never is as wrong as twice."""
    mutant = Mutant(name="m", breaks="b", file="README.md", old="\0", new="", killed_by=("t",))
    with pytest.raises(CatalogueError, match="0 times"):
        mutant.applied(ROOT)


def test_a_mutant_without_a_killer_or_with_a_name_that_is_taken_is_an_error(tmp_path: Path) -> None:
    """The list is checked before anything runs."""
    entry = '[[mutant]]\nname = "m"\nbreaks = "b"\nfile = "f"\nold = "o"\nnew = "n"\nkilled_by = ["t"]\n'
    path = tmp_path / "list.toml"
    path.write_text(entry)
    assert [mutant.name for mutant in catalogue(path)] == ["m"]
    path.write_text(entry * 2)
    with pytest.raises(CatalogueError, match="twice"):
        catalogue(path)
    path.write_text(entry.replace('["t"]', "[]"))
    with pytest.raises(CatalogueError, match="notices"):
        catalogue(path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_mutants_are_killed() -> None:
    """Every third of the list, each in a copy of the clone; all of them: `python -m faultlab.mutants`."""
    names = [mutant.name for mutant in catalogue()[::3]]
    done = subprocess.run(
        [sys.executable, "-m", "faultlab.mutants", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed ") == len(names) > 10


def test_an_unknown_name_is_said() -> None:
    """A typing error does not pass for a killed mutant."""
    done = subprocess.run(
        [sys.executable, "-m", "faultlab.mutants", "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such mutant: nonsense" in done.stderr
