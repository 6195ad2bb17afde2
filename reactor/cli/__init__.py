"""The command line.

What this is: from words to calls of the library, from its answers to text or JSON. What it is not: decisions. The
invariant: data on stdout, all else on stderr; one line per error; nothing heavy is imported before a command needs it.
"""
