"""The pictures show what the file holds."""

import json
from pathlib import Path

import pytest

from bench.plot import acquire, detection, main


def _line(title: str, median: float | None) -> dict[str, object]:
    return {"title": title, "unit": "ms", "median": median}


LINES = [
    _line("0 keys,   200/s: claimed, p50", 3.0),
    _line("0 keys,   200/s: claimed, p99", 8.0),
    _line("1,000,000 keys, 1,000/s: claimed, p50", 2.5),
    _line("1,000,000 keys, 1,000/s: a plain subscriber, p50", 60_000.0),
    _line("1,000,000 keys, 1,000/s: a poll, p50", None),
]


def test_detection_is_drawn_by_the_number_of_keys() -> None:
    """Medians only; what could not be measured is left out."""
    assert detection(LINES) == [
        ("0 other keys, 200/s", "this program", 3.0),
        ("1,000,000 other keys, 1,000/s", "this program", 2.5),
        ("1,000,000 other keys, 1,000/s", "a plain subscriber", 60_000.0),
    ]


def test_an_acquire_stands_beside_its_limit() -> None:
    """In the order of the page."""
    lines = [_line("hot, 1 caller: p50", 0.2), _line("limit: GET, 1 caller: p50", 0.1)]
    assert acquire(lines) == [("1 caller", "GET", 0.1), ("1 caller", "acquire, existing", 0.2)]


def test_the_pictures_are_written_with_their_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files, and their names on stdout."""
    source = tmp_path / "all.json"
    source.write_text(json.dumps({"benches": {"detection": LINES, "acquire": [_line("cold: p50", 250.0)]}}))
    assert main([str(source), str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "detection.svg"), str(tmp_path / "acquire.svg")]
    text = (tmp_path / "detection.svg").read_text()
    assert all(word in text for word in ("2.5 ms", "60.0 s", "a plain subscriber", "1,000,000 other keys"))
    assert "250 ms" in (tmp_path / "acquire.svg").read_text()


def test_without_a_file_it_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit 64."""
    assert main([]) == 64
    assert "usage:" in capsys.readouterr().err
