"""What a template of `reactor.toml` may ask for.

These are not the settings beside it (test_settings), nor what an engine makes of it (tests of the runtimes).
They keep this: each rule is shown by the smallest file that breaks it.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import ConfigError, UsageError
from reactor.settings import Settings
from reactor.template_rules import format_memory, parse_memory
from reactor.templates import Pull, ReadyKind

FULL = """
redis_url = "redis://cache:6380/2"
ttl = "4s"
janitor_every = 0

[template.default]
image = "example:1"
command = ["serve", "--port", "8000"]
ports = ["8000/tcp", "53/udp", "9000"]
ready = "http:8000/health"
max_ttl = "1h"
memory = "64m"
cpus = 2
pids = 32
network = "bridge"
environment = { LOG_LEVEL = "info" }
pull = "missing"
user = "1000:1000"
working_dir = "/srv"
read_only = false
tmpfs = ["/tmp", "/run:size=1m"]
cap_add = ["NET_BIND_SERVICE"]
volumes = ["data:/data:ro"]
pool = 3
pool_drain = true

[template.slow]
image = "example:2"
ttl = "1h"
"""


def load(directory: Path, text: str | None = None, /, **env: str) -> Settings:
    """Load from a file with `text` (None: no file) and this environment alone."""
    if text is not None:
        (directory / "reactor.toml").write_text(text)
    return Settings.load(env=env, cwd=directory)


def template(directory: Path, lines: str, /, **env: str) -> Settings:
    """Load one template with an image and these lines."""
    return load(directory, f'[template.default]\nimage = "x"\n{lines}\n', **env)


def test_a_complete_file_is_read_into_types(tmp_path: Path) -> None:
    """Every key of a template arrives."""
    settings = load(tmp_path, FULL)
    made = settings.template()
    assert (made.image, made.command, made.pull) == ("example:1", ("serve", "--port", "8000"), Pull.MISSING)
    assert made.ports == ("8000/tcp", "53/udp", "9000/tcp")
    assert (made.ready.kind, made.ready.port, made.ready.path) == (ReadyKind.HTTP, 8000, "/health")
    assert (made.memory, made.cpus, made.pids) == (64 * 1024**2, 2.0, 32)
    assert (made.network, made.environment, made.read_only) == ("bridge", {"LOG_LEVEL": "info"}, False)
    assert (made.user, made.working_dir, made.cap_add) == ("1000:1000", "/srv", ("NET_BIND_SERVICE",))
    assert (made.pool, made.pool_drain) == (3, True)
    assert (made.tmpfs, made.volumes) == (("/tmp", "/run:size=1m"), ("data:/data:ro",))  # noqa: S108
    assert settings.janitor_every == timedelta(0)
    assert settings.redis_address.database == 2


def test_a_template_without_its_own_ttl_takes_the_general_one(tmp_path: Path) -> None:
    """And one with its own keeps it."""
    settings = load(tmp_path, FULL)
    assert settings.template().ttl == timedelta(seconds=4)
    assert settings.template("slow").ttl == timedelta(hours=1)
    assert load(tmp_path, REACTOR_TTL="9s").template().ttl == timedelta(seconds=9)


@pytest.mark.parametrize(
    "lines, text",
    [
        ('ports = ["8000/tcp"]', "ports need a network"),
        ('ports = ["8000/tcp"]\nnetwork = "host"', "not published"),
        ('ports = ["80/sctp"]\nnetwork = "bridge"', "not like 8000/tcp"),
        ('ports = ["0/tcp"]\nnetwork = "bridge"', "not like 8000/tcp"),
        ('ports = ["65536/tcp"]\nnetwork = "bridge"', "not like 8000/tcp"),
        ('ports = ["80", "80/tcp"]\nnetwork = "bridge"', "twice"),
        ('ready = "tcp:8000"', "needs a network"),
        ('ready = "http:8000/"', "needs a network"),
        ('ready = "http:8000"', "is not started, healthy"),
        ('ready = "tcp:0"\nnetwork = "bridge"', "port 0"),
        ('network = "container:x"', "network"),
        ('ttl = "1s"', "at least 2s"),
        ('ttl = "2h"\nmax_ttl = "1h"', "above max_ttl"),
        ('max_ttl = "5m"', "above max_ttl"),
        ('memory = "512mb"', "not like 512m"),
        ('memory = "1m"', "at least 6m"),
        ("memory = 512", "expected str, got int"),
        ("cpus = 0", "cpus"),
        ("cpus = inf", "cpus"),
        ("cpus = nan", "cpus"),
        ("cpus = true", "expected float"),
        ("pids = 0", "pids"),
        ("pool = -1", "pool"),
        ("pool = 1001", "pool"),
        ('pool = "2"', "pool"),
        ("pool = true", "pool"),
        ('environment = { "A=B" = "x" }', "no variable name"),
        ('environment = { SESSION_ID = "x" }', "SESSION_ID is set by the reactor"),
        ("environment = { A = 1 }", "expected str, got int"),
        ('command = ["a\\u0000"]', "NUL"),
        ('command = [""]', "program is empty"),
        ('pull = "always"', "pull: invalid enum value 'always'"),
        ('working_dir = "srv"', "absolute"),
        ('tmpfs = ["tmp"]', "absolute"),
        ('cap_add = ["net admin"]', "cap_add"),
        ('volumes = ["/data"]', "volumes"),
        ("imagge = 3", "did you mean 'image'"),
        ("max_sessions = 3", "unknown key 'max_sessions'"),
    ],
)
def test_a_template_that_cannot_work_is_refused_at_start(tmp_path: Path, lines: str, text: str) -> None:
    """With the file, the template and the reason in one line, not at the first acquire."""
    with pytest.raises(ConfigError) as caught:
        template(tmp_path, lines)
    message = str(caught.value)
    assert text in message
    assert "\n" not in message
    assert message.startswith(f"{tmp_path / 'reactor.toml'}: ")
    assert "[template.default]" in message


def test_a_ready_port_need_not_be_published(tmp_path: Path) -> None:
    """The container's own address may be within reach; the runtime knows."""
    assert template(tmp_path, 'ready = "tcp:80"\nnetwork = "bridge"').template().ports == ()


@pytest.mark.parametrize("name", ["a b", "", "a:b", "-a", "a" * 64])
def test_a_template_name_is_fit_for_a_label(tmp_path: Path, name: str) -> None:
    """It stands in labels, records and keys."""
    with pytest.raises(ConfigError, match="template name"):
        load(tmp_path, f'[template."{name}"]\nimage = "x"\n')


def test_the_docker_runtime_needs_an_image_and_the_process_runtime_a_command(tmp_path: Path) -> None:
    """Each its own."""
    with pytest.raises(ConfigError, match="image is missing"):
        load(tmp_path, '[template.default]\ncommand = ["serve"]\n')
    with pytest.raises(ConfigError, match="needs a command"):
        load(tmp_path, '[template.default]\nimage = "x"\n', REACTOR_RUNTIME="process")


def test_the_process_runtime_ignores_container_keys_with_one_warning(tmp_path: Path) -> None:
    """One line, however many templates; and ports need no network there."""
    both = '[template.%s]\nimage = "x"\nmemory = "1g"\ncommand = ["serve"]\nports = ["80/tcp"]\nready = "tcp:80"\n'
    settings = load(tmp_path, both % "default" + both % "other", REACTOR_RUNTIME="process")
    assert settings.warnings == (f"{tmp_path / 'reactor.toml'}: the process runtime ignores image, memory",)


@pytest.mark.parametrize(
    "lines, text",
    [('ready = "healthy"', "docker runtime"), ('ready = "tcp:80"', "not among ports"), ("pool = 1", "keeps none")],
)
def test_a_process_can_only_be_ready_in_a_way_it_has_and_waits_in_no_pool(
    tmp_path: Path, lines: str, text: str
) -> None:
    """It has no health check, its port is one that it was given, and no name that could change."""
    with pytest.raises(ConfigError, match=text):
        template(tmp_path, f'command = ["serve"]\n{lines}', REACTOR_RUNTIME="process")


def test_an_unknown_template_is_a_usage_error_and_a_missing_default_a_configuration_error(tmp_path: Path) -> None:
    """What the user named is the user's; what nobody wrote is the configuration's."""
    settings = load(tmp_path, FULL)
    with pytest.raises(UsageError, match="did you mean 'slow'"):
        settings.template("slov")
    with pytest.raises(ConfigError, match=r"\[template\.default\]"):
        load(tmp_path, "").template()


@given(st.integers(min_value=0, max_value=2**50))
def test_an_amount_of_memory_that_was_written_reads_back_as_it_was(size: int) -> None:
    """Exactly, in every unit."""
    assert parse_memory(format_memory(size)) == size
