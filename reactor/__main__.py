"""`python -m reactor`: the same as the command `reactor`.

What this is: a door. What it is not: anything else. The invariant: the exit code is that of the command line.
"""

from reactor.cli.main import main

if __name__ == "__main__":
    main()
