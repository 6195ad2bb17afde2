"""Where each setting comes from, and what it may be.

These are neither the templates (test_template_settings) nor the error codes of the command line (tests/cli).
They keep this: each rule is shown by the smallest file or environment that breaks it.
"""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import ConfigError, UsageError
from reactor.redis_url import masked, normalised_redis_url, parse_redis_url
from reactor.settings import RuntimeName, Settings
from reactor.settings_source import NAMES
from reactor.templates import format_duration, parse_duration


def load(directory: Path, text: str | None = None, /, **env: str) -> Settings:
    """Load from a file with `text` (None: no file) and this environment alone."""
    if text is not None:
        (directory / "reactor.toml").write_text(text)
    return Settings.load(env=env, cwd=directory)


def origin(settings: Settings, name: str) -> str:
    """Return where a row of `describe` comes from."""
    return next(row.origin for row in settings.describe() if row.name == name)


def test_without_anything_each_setting_has_its_documented_default(tmp_path: Path) -> None:
    """The defaults hold for somebody who has configured nothing."""
    settings = load(tmp_path)
    assert settings == Settings()
    assert (settings.redis_url, settings.prefix) == ("redis://localhost:6379", "mcp")
    assert (settings.runtime, settings.listen) == (RuntimeName.DOCKER, ("127.0.0.1", 8642))
    assert (settings.ttl, settings.stop_grace) == (timedelta(minutes=15), timedelta(seconds=10))
    assert (settings.janitor_every, settings.acquire_timeout) == (timedelta(minutes=10), timedelta(seconds=60))
    assert (settings.max_lifetime, settings.grace, settings.deployment, settings.host) == (None, None, None, None)
    assert {row.origin.partition(" (")[0] for row in settings.describe()} == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    """Taking the strongest source away uncovers the next one."""
    (tmp_path / "reactor.toml").write_text('prefix = "from_file"\n')
    env, flags = {"REACTOR_PREFIX": "from_env"}, {"prefix": "from_flag"}
    loaded = [
        Settings.load(env=env, flags=flags, cwd=tmp_path),
        Settings.load(env=env, cwd=tmp_path),
        Settings.load(env={}, cwd=tmp_path),
        Settings.load(env={}, cwd=tmp_path.parent),
    ]
    assert [settings.prefix for settings in loaded] == ["from_flag", "from_env", "from_file", "mcp"]
    assert [origin(settings, "REACTOR_PREFIX") for settings in loaded] == [
        "flag --prefix",
        "environment REACTOR_PREFIX",
        f"file {tmp_path / 'reactor.toml'}",
        "default",
    ]


def test_reactor_config_names_the_file_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    """A named file is not optional; the one in the directory is, and is not read when another is named."""
    (tmp_path / "other.toml").write_text('prefix = "other"\n')
    assert load(tmp_path, "ttl = broken", REACTOR_CONFIG="other.toml").prefix == "other"
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml: No such file"):
        load(tmp_path, REACTOR_CONFIG="nowhere.toml")


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    """The line end that editors add does not belong to it."""
    secret = tmp_path / "secret"
    secret.write_text("redis://:pass@cache\n")
    settings = load(tmp_path, REDIS_URL_FILE=str(secret))
    assert settings.redis_url == "redis://:pass@cache"
    assert origin(settings, "REDIS_URL") == "environment REDIS_URL_FILE"


def test_a_secret_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """Missing, empty, or beside the variable itself."""
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ConfigError, match="REDIS_URL_FILE: cannot read"):
        load(tmp_path, REDIS_URL_FILE=str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="is empty"):
        load(tmp_path, REDIS_URL_FILE=str(empty))
    with pytest.raises(ConfigError, match="are both set"):
        load(tmp_path, REDIS_URL_FILE=str(empty), REDIS_URL="redis://cache")


def test_an_empty_variable_counts_as_not_set_except_where_empty_means_off(tmp_path: Path) -> None:
    """Compose files pass empty variables for what was not given."""
    settings = load(tmp_path, **dict.fromkeys(NAMES.values(), ""))
    assert settings.listen is None
    assert settings.prefix == "mcp"
    assert settings.redis_url == "redis://localhost:6379"


def test_docker_tls_verify_is_read_as_the_docker_sdk_reads_it(tmp_path: Path) -> None:
    """There, any text at all means yes; in the file it is a boolean."""
    assert load(tmp_path, DOCKER_TLS_VERIFY="0").docker_tls_verify is True
    assert load(tmp_path, DOCKER_TLS_VERIFY="").docker_tls_verify is False
    assert load(tmp_path, "docker_tls_verify = true").docker_tls_verify is True
    assert load(tmp_path, "docker_tls_verify = false").docker_tls_verify is False


def test_an_unknown_variable_is_a_warning_with_the_nearest_name(tmp_path: Path) -> None:
    """It may belong to a newer version; the token of a later one is known."""
    settings = load(tmp_path, REACTOR_TLL="4s", REACTOR_TOKEN="t", REACTOR_DEBUG="1", HOME="/")  # noqa: S106
    assert settings.warnings == ("environment variable REACTOR_TLL is unknown and ignored; did you mean REACTOR_TTL?",)


@pytest.mark.parametrize(
    "name, text",
    [
        ("REACTOR_PREFIX", "Mcp"),
        ("REACTOR_PREFIX", "1mcp"),
        ("REACTOR_PREFIX", "m" * 33),
        ("REACTOR_PREFIX", "a:b"),
        ("REACTOR_PREFIX", "a\n"),
        ("REACTOR_DEPLOYMENT", "-a"),
        ("REACTOR_DEPLOYMENT", "a" * 64),
        ("REACTOR_HOST", "a b"),
        ("REACTOR_HOST", "a:b"),
        ("REACTOR_RUNTIME", "podman"),
        ("REACTOR_TTL", "1s"),
        ("REACTOR_TTL", "2500ms"),
        ("REACTOR_TTL", "15"),
        ("REACTOR_MAX_LIFETIME", "0"),
        ("REACTOR_JANITOR_EVERY", "1ms"),
        ("REACTOR_ACQUIRE_TIMEOUT", "0"),
        ("REACTOR_STOP_GRACE", "-1s"),
        ("REACTOR_LISTEN", "8642"),
        ("REACTOR_LISTEN", "localhost:99999"),
        ("REACTOR_LISTEN", "::1:80"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", "redis://localhost:port"),
        ("REDIS_URL", "redis://localhost/first"),
        ("REDIS_URL", "redis://localhost?dbb=1"),
        ("REDIS_URL", "redis://local host"),
        ("REDIS_URL", "unix://"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_source(tmp_path: Path, name: str, text: str) -> None:
    """The variable stands in front; as a flag it is a usage error; in the file, file and key are named."""
    setting = next(key for key, variable in NAMES.items() if variable == name)
    with pytest.raises(ConfigError, match=rf"^{name}: "):
        load(tmp_path, **{name: text})
    with pytest.raises(UsageError, match=rf"^--{setting.replace('_', '-')}: "):
        Settings.load(env={}, flags={setting: text}, cwd=tmp_path)
    escaped = text.replace("\n", "\\n")
    with pytest.raises(ConfigError, match=rf"reactor\.toml: {setting}: "):
        load(tmp_path, f'{setting} = "{escaped}"')


def test_listen_takes_ipv6_in_brackets_and_any_free_port(tmp_path: Path) -> None:
    """As URLs do."""
    assert load(tmp_path, REACTOR_LISTEN="[::1]:80").listen == ("::1", 80)
    assert load(tmp_path, REACTOR_LISTEN="0.0.0.0:0").listen == ("0.0.0.0", 0)  # noqa: S104


def test_describe_shows_no_secret(tmp_path: Path) -> None:
    """Neither the password of Redis nor what a template puts into its container."""
    lines = '[template.default]\nimage = "x"\nenvironment = { API_KEY = "hunter2" }\n'
    settings = load(tmp_path, lines, REDIS_URL="redis://user:hunter2@cache:6379/0")
    shown = {row.name: row.value for row in settings.describe()}
    assert "hunter2" not in str(settings.describe())
    assert "hunter2" not in repr(settings).replace(repr(settings.templates), "")
    assert shown["REDIS_URL"] == "redis://user:***@cache:6379/0"
    assert shown["template.default.environment"] == "API_KEY=***"


@pytest.mark.parametrize(
    "url, shown",
    [
        ("redis://cache:6379", "redis://cache:6379"),
        ("redis://:pa@ss@cache", "redis://:***@cache"),
        ("redis://:pa/ss@cache", "redis://:***@cache"),
        ("unix://:pass@/run/redis.sock?db=1", "unix://:***@/run/redis.sock?db=1"),
        ("redis://cache?db=1&Password=pass", "redis://cache?db=1&Password=***"),
        ("pass@cache", "***"),
    ],
)
def test_a_masked_url_keeps_all_but_the_password(url: str, shown: str) -> None:
    """Also where the URL is malformed."""
    assert masked(url) == shown


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=12))
def test_no_password_survives_masking(password: str) -> None:
    """Whatever its characters, percent-encoded or not."""
    assert password not in masked(f"redis://user:{password}@cache:6379/0")


def test_valkey_urls_are_redis_urls() -> None:
    """The protocol is the same; the library knows only one name."""
    assert normalised_redis_url("valkey://cache/1") == "redis://cache/1"
    assert normalised_redis_url("valkeys://cache/1") == "rediss://cache/1"


def test_the_database_is_found_where_redis_py_looks_for_it() -> None:
    """In the path, or stronger, in the query."""
    assert parse_redis_url("redis://cache").database == 0
    assert parse_redis_url("redis://cache/3").database == 3
    assert parse_redis_url("redis://cache/3?db=4").database == 4
    assert parse_redis_url("unix:///run/redis.sock?db=5").database == 5


@given(st.integers(min_value=0, max_value=365 * 24 * 3600 * 1000))
def test_a_duration_that_was_written_reads_back_as_it_was(milliseconds: int) -> None:
    """Exactly, in every unit."""
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration
