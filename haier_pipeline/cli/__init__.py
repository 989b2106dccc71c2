"""The command line: parse, call, print.

What a command does belongs to the packages that it calls. They are imported inside the commands, so
that ``haier --help`` and a usage error answer at once, and no command waits for what it never uses.

``app`` puts the commands together; ``sync``, ``dealers``, ``database`` and ``servers`` hold them,
``command`` what each of them needs, ``output`` what is printed and how.
"""

from haier_pipeline.cli.app import main

__all__ = ["main"]
