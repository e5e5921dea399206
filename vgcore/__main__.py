"""`python -m vgcore` and the command `vgcore`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported is not worth a traceback."""
    try:
        from vgcore.cli import main

        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
