"""`python -m vgcore` is the command line."""

from vgcore.cli import main

main()
