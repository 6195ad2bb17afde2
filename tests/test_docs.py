"""The documents say what the code does: commands, settings, words, codes, links, samples.

What this is: everything in README and docs that can be compared with the code or run, compared or run. What it is not:
a judgement of the prose. The invariant: a name in the documents exists, and what users see is in the documents.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import redis

from reactor import errors
from reactor.cli.main import cli
from reactor.keys import Keys
from reactor.plan import Action, Kind
from reactor.reconcile import BrakeEngaged
from reactor.registry import Terms
from reactor.runtime.labels import LABEL, Labels, Member
from reactor.session import DatabaseId, Deployment, Detector, EndReason, HostName, SessionId, State, Token
from reactor.settings import Settings
from reactor.settings_file import TemplateTable
from reactor.settings_source import CONFIG_VARIABLE, NAMES, SECRETS
from reactor.templates import parse_duration

if TYPE_CHECKING:
    from tests.services.redis import RedisServer

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(ROOT.glob("docs/*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
HEARTBEAT = (ROOT / "docs" / "heartbeat.md").read_text(encoding="utf-8")
KEY = "mcp:session:user-123:heartbeat"
SETTINGS = {
    *NAMES.values(),
    CONFIG_VARIABLE,
    *(f"{NAMES[name]}_FILE" for name in SECRETS),
    "REACTOR_LOG",
    "REACTOR_DEBUG",
}
"""What a user may set; NO_COLOR is everybody's."""
MEMBER = Member(
    prefix="mcp", deployment=Deployment("d"), host=HostName("h"), db=DatabaseId("b"), template="t", ttl=timedelta(1),
    token=Token("k"), shape="s", made_us=1,
)  # fmt: skip
LUA = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "reactor/registry/lua").glob("*.lua")}


def fences(text: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(text: str) -> dict[str, list[str]]:
    """Return every table row of a document by the code in its first cell."""
    cells = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in cells}


def words(text: str, before: str) -> set[str]:
    """Return the words in backticks in the parenthesis that follows `before`."""
    (inside,) = re.findall(rf"{re.escape(before)} \(([^)]*)\)", text)
    return set(re.findall(r"`(\w+)`", inside))


def commands() -> dict[str, click.Command]:
    """Return the commands of the command line."""
    return dict(cli.commands)


def test_every_command_is_in_the_readme_and_every_command_of_the_readme_exists() -> None:
    """The table lists them all; no sample calls another."""
    table = {name.split()[1] for name in rows(README) if name.startswith("reactor ")}
    assert table == set(commands())
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    code = "\n".join([*re.findall(r"`([^`\n]+)`", prose), *fences(README, "console"), *fences(README, "sh")])
    called = set(re.findall(r"(?<![\w/.-])reactor ([a-z]+)(?=[ \n]|$)", code)) - {"reactor"}
    assert called - set(commands()) == set()


@pytest.mark.parametrize("line", [name for name in rows(README) if name.startswith("reactor ")])
def test_every_option_in_the_command_table_exists(line: str) -> None:
    """What stands in the brackets is what `--help` shows."""
    command = commands()[line.split()[1]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line)) <= known


def test_every_setting_is_in_the_readme_and_every_setting_of_the_readme_exists() -> None:
    """Names that belong to the compose file are known from there."""
    table = {name for name in rows(README) if re.fullmatch(r"[A-Z_]+", name)}
    assert table == SETTINGS | {"NO_COLOR"}
    composed = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    named = {
        name for path in DOCUMENTS for name in re.findall(r"\bREACTOR_[A-Z_]+\b", path.read_text(encoding="utf-8"))
    }
    assert named - SETTINGS - composed == {"REACTOR_TEST_QUICK"}


@pytest.mark.parametrize("name", [n for n in NAMES if isinstance(getattr(Settings(), n), timedelta)])
def test_the_readme_names_each_default_duration(name: str) -> None:
    """The table's second column is what holds when nothing is set."""
    shown = rows(README)[NAMES[name]][0].strip("`")
    assert parse_duration(shown) == getattr(Settings(), name)


def _error_classes(root: type[errors.ReactorError]) -> set[type[errors.ReactorError]]:
    return {root}.union(*(_error_classes(child) for child in root.__subclasses__()))


def test_the_exit_codes_of_the_readme_are_those_of_the_errors() -> None:
    """Each error has a row, each row an error; 0, 130 and 141 come from no error."""
    assert BrakeEngaged in _error_classes(errors.ReactorError)
    section = README.split("| exit code |")[1].split("\n\n")[0]
    table = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for code in row.split(",")}
    assert table == {error.exit_code for error in _error_classes(errors.ReactorError)} | {0, 130, 141}


def test_the_words_of_events_and_plan_lines_are_those_of_the_code() -> None:
    """Events as the scripts write them, reasons, detectors, actions and kinds as the types have them."""
    logged = {word for text in LUA.values() for word in re.findall(r"log\(KEYS\[\d\], '(\w+)'", text)}
    assert words(README, "`event`") == logged | {"brake"}
    assert words(README, "`reason`") == set(EndReason)
    assert words(README, "`detector`") == set(Detector)
    assert words(README, "`action`") == set(Action)
    assert words(README, "`kind`") == set(Kind)


def test_the_labels_of_the_readme_are_those_of_the_containers() -> None:
    """Whoever cleans up from outside finds them by these names."""
    sentence = README.split("The\nlabels are ")[1].split("A reactor")[0]
    named = {word.removeprefix(LABEL).removeprefix(".") for word in re.findall(r"`([\w.-]+)`", sentence)}
    assert set(Labels.__slots__) | {"pool", "made"} == named
    of_a_pool = {word.removeprefix(LABEL) for word in MEMBER.as_dict()}
    assert of_a_pool == set(Labels.__slots__) - {"session", "generation"} | {"pool", "made"}


def test_the_times_of_the_failure_table_are_those_of_the_leases() -> None:
    """A spawn's and a claim's lease, and a tombstone's hour."""
    table = README.split("## Failure table")[1].split("## Notifications")[0]
    assert Terms() == Terms(
        spawn_lease=timedelta(seconds=10), claim_lease=timedelta(seconds=15), tombstone=timedelta(hours=1)
    )
    assert re.search(r"reserve and create .*\| 10 s \|", table)
    assert re.search(r"claim and remove .*\| 15 s \|", table)
    assert "after an hour" in table


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Files exist, and headings too."""
    text = path.read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        file = path.parent / target if target else path
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, heading


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_and_file_that_a_document_names_exists(path: Path) -> None:
    """The failure table names its proofs; a proof that was renamed is missed here."""
    text = path.read_text(encoding="utf-8")
    there = "\n".join(file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in there, name
    for name in re.findall(r"(?<![\w/-])((?:reactor|tests|deploy|docs)/[\w/.-]+\.\w+)", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_samples_compile(path: Path) -> None:
    """Each block is a whole program, and takes from `reactor` only what is there."""
    import reactor  # noqa: PLC0415 (its lazy names are what is looked at)

    for sample in fences(path.read_text(encoding="utf-8"), "python"):
        tree = ast.parse(sample)
        compile(tree, path.name, "exec")
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "reactor"]
        for name in [alias.name for node in imports for alias in node.names]:
            assert hasattr(reactor, name), name


def test_reactor_toml_samples_load(tmp_path: Path) -> None:
    """Each sample is accepted as it stands, and together they show every key of a template."""
    shown: set[str] = set()
    for number, sample in enumerate(fences(README, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(sample, encoding="utf-8")
        settings = Settings.load(env={CONFIG_VARIABLE: str(path)}, cwd=tmp_path)
        assert settings.template().name == "default"
        shown |= set(re.findall(r"^(\w+) =", sample, re.MULTILINE))
    assert shown == set(TemplateTable.__struct_fields__)


def test_every_key_is_in_the_architecture() -> None:
    """The table of keys holds what `Keys` builds, and nothing else."""
    keys, host, session_id = Keys("mcp"), HostName("<host>"), SessionId("<id>")
    built = {keys.record(session_id), keys.heartbeat(session_id), keys.hosts, keys.events, keys.meta}
    built |= {keys.pool(host, "<template>"), keys.taken(host)}
    built |= {keys.due(host), keys.seen(host), keys.engine(host), keys.wake(host), keys.canary(host)}
    assert {name for name in rows(ARCHITECTURE) if name.startswith("mcp:")} == built


def test_every_field_of_a_record_is_in_the_architecture() -> None:
    """What the scripts write into a record, and what says where it is reached."""
    written = {
        word
        for text in LUA.values()
        for call in re.findall(r"'HSET', KEYS\[1\],(.*?)\)\n", text, re.DOTALL)
        for word in re.findall(r"'([a-z_]+)'", call)
    }
    section = ARCHITECTURE.split("| field | while | means |")[1].split("\n\n")[0]
    first_cells = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    documented = {word for cell in first_cells for word in re.findall(r"`([^`]+)`", cell)}
    others = {"id", "root", "renamed", "db", "deployment", "layout", "guessed", "run_id"}  # of meta, engine and seen
    others |= {"refused", "well_at", "present_until", "watched_until", "ahead_ms"}
    assert documented - {"ip", "port.<PORT>/<PROTOCOL>"} == written - set(State) - set(EndReason) - others


def test_every_module_is_in_the_architecture() -> None:
    """The map is whole."""
    section = ARCHITECTURE.split("## Modules")[1].split("## Decided")[0]
    named = set(re.findall(r"`(\w+)`", section))
    modules = {
        path.stem for path in (ROOT / "reactor").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules - {"__init__"} - named == set()


def test_the_journeys_as_redis_commands_give_the_answers_that_the_architecture_shows(redis_server: RedisServer) -> None:
    """Pasted line by line into an empty Redis."""
    for line in "".join(fences(ARCHITECTURE, "redis")).splitlines():
        command, _, answer = line.partition("  # ")
        words_of_it = ["redis-cli", "--no-raw", "-p", str(redis_server.port), *shlex.split(command)]
        done = subprocess.run(words_of_it, capture_output=True, text=True, check=True)
        said = done.stdout.strip()
        assert not said.startswith("(error)"), f"{command}: {said}"
        if answer:
            assert said == answer.strip(), command


def _heartbeats() -> list[tuple[str, str]]:
    section = HEARTBEAT.split("## Run by the tests")[1].split("## Run by hand")[0]
    return [(language, code) for language in ("sh", "bash", "python") for code in fences(section, language)]


@pytest.mark.parametrize("language, code", _heartbeats())
def test_a_heartbeat_of_the_documents_does_what_it_says(redis_server: RedisServer, language: str, code: str) -> None:
    """It sets the TTL and says yes; without a session it says no, and makes none."""
    program = [sys.executable, "-c"] if language == "python" else ["bash", "-c"]
    environment = {**os.environ, "REDIS_URL": redis_server.url, "HOST": "127.0.0.1", "PORT": str(redis_server.port)}

    def beat() -> str:
        command: list[Any] = [*program, code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with redis.Redis.from_url(redis_server.url) as client:
        client.set(KEY, "1", ex=30)
        assert beat() in {"1", ":1", "True"}
        assert int(client.ttl(KEY)) > 800
        client.delete(KEY)
        assert beat() in {"0", ":0", "False"}
        assert client.keys() == []
