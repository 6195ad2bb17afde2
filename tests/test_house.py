"""The rules of the house that no tool checks: small files, tests that say what they claim, nothing of one machine."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 300
CODE = {".py", ".lua", ".js", ".html", ".css"}
# The names of package indexes, and paths that only one machine has; written so that this file does not match itself.
FORBIDDEN = re.compile(
    r"(?:^|[^a-z])/(?:wor[k]|far[m]|tmp/[w])/"
    r"|https?://[a-z0-9.-]*(?:py.?pi|npm.?js|deb[i]an|python.?hosted)[a-z0-9.-]*"
    r"|\.\./share[d]"
)


def _files() -> list[Path]:
    """Every file that is tracked or would be: not what .gitignore names."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def test_no_file_is_longer_than_300_lines() -> None:
    """Each source file holds one responsibility, and fits in a head."""
    lengths = {str(path.relative_to(ROOT)): _text(path).count("\n") for path in _files() if path.suffix in CODE}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_every_test_says_what_it_claims() -> None:
    """Each test function has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in _files()
        if path.suffix == ".py" and path.is_relative_to(ROOT / "tests")
        for node in ast.walk(ast.parse(_text(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_file_names_one_machine_or_a_package_index() -> None:
    """What is here works on any machine, with the package index that the machine has."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in _files()
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]
    assert found == []
