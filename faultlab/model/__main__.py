"""`python -m faultlab.model`: look at every interleaving of the protocol, and at what breaks without each rule.

What this is: the command line over `configurations.py` and `variants.py`. What it is not: the search. The invariant:
exit 0 only when every configuration closed without a violation and every broken variant was found with its property.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from faultlab.model.configurations import CONFIGURATIONS, LIMIT, Configuration
from faultlab.model.table import HEADING, rows_of
from faultlab.model.variants import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Sequence


def chosen(asked: argparse.Namespace) -> list[Configuration]:
    """Return what the command line asks for; names match by a part of them."""
    if asked.configuration or asked.variant:
        named = [c for c in CONFIGURATIONS for part in asked.configuration if part in c.name]
        return named + [v for v in VARIANTS for part in asked.variant if part in v.name]
    return [c for c in (*CONFIGURATIONS, *VARIANTS) if c.quick or not asked.quick]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when something did not come out as it must, 2 when nothing has that name."""
    parser = argparse.ArgumentParser(prog="python -m faultlab.model", description="Check the session protocol.")
    parser.add_argument("--quick", action="store_true", help="what continuous integration runs: a minute or so")
    parser.add_argument("--configuration", action="append", default=[], metavar="NAME", help="those named so, in part")
    parser.add_argument("--variant", action="append", default=[], metavar="NAME", help="those broken variants")
    parser.add_argument("--trace", action="store_true", help="print the shortest trace of each broken variant too")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help="states of one search")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    asked = parser.parse_args(arguments)
    configurations = chosen(asked)
    if not configurations:
        print("faultlab.model: nothing has that name; see --list", file=sys.stderr)
        return 2
    width = max(len(c.name) for c in configurations)
    if asked.list:
        for configuration in configurations:
            print(f"{configuration.name:<{width}}  {configuration.expects and f'must break {configuration.expects}'}")
        return 0
    began = time.monotonic()
    print(f"{HEADING[0]:<{width}} {HEADING[1]:>10} {HEADING[2]:>10} {HEADING[3]:>7} {HEADING[4]:>6}  {HEADING[5]}")
    bad = 0
    for row in rows_of(configurations, asked.jobs, asked.limit):
        bad += not row.fine
        closed = "yes" if row.closed else "-"
        print(
            f"{row.name:<{width}} {row.states:>10,} {row.edges:>10,} {closed:>7} {row.seconds:>6.1f}  {row.result}",
            flush=True,
        )
        if row.trace and (asked.trace or not row.fine):
            print("\n".join(row.trace), flush=True)
    print(f"{len(configurations)} searches in {time.monotonic() - began:.0f} s, {bad} not as they must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
