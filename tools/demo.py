"""The demonstration: brings up a host, runs containers, looks at them, takes everything down and looks for leftovers.

python -m tools.demo [--guests N] [--base DIR]
"""

from __future__ import annotations

import sys

EXIT_INTERRUPTED = 130


def run() -> int:
    """Run the demo; returns the exit status. Ctrl-C while it is still being loaded has nothing to clean up."""
    try:
        from tools.demo_session import main

        return main(sys.argv[1:])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(run())
