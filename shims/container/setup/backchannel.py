"""The agent's line to its server: a directory of the host where the server has a socket, and a name for it inside.

The directory is mounted and not the socket, so that a server that was restarted can bind a new one. It is read-only in
the container: a guest can connect, and neither plant files on the host nor take the socket away.
"""

from __future__ import annotations

import os
from errno import EEXIST
from typing import Final

from shims.container.setup import blocks as b
from shims.container.setup.action import Action
from shims.container.setup.plan import Plan
from shims.linux import mount as m

INSIDE: Final = b"/dev/minibus"
LINK: Final = b"/cc"
"""Where agents of minimega look; what an image has there stays."""
TARGET: Final = b"dev/minibus/cc"
_STEP: Final = "backchannel"
_FLAGS: Final = m.MS_RDONLY | m.MS_NOSUID | m.MS_NODEV | m.MS_NOEXEC


def take(plan: Plan, number: int) -> list[Action]:
    """On the host's side: make the directory in the instance's, and keep it as descriptor `number`."""
    if not plan.backchannel:
        return []
    path = plan.instance + b"/cc"
    return [b.mkdir(_STEP, path, 0o700), b.take(_STEP, path, number)]


def show(plan: Plan, number: int) -> list[Action]:
    """Inside the container's root, when its /dev is mounted."""
    if not plan.backchannel:
        return []
    name = os.path.basename(INSIDE)
    warning = "/cc cannot be made; an agent inside finds its server at /dev/minibus/cc"
    return [
        b.into(_STEP, b.DEV),
        b.mkdir(_STEP, name, named=INSIDE),
        b.attach(_STEP, number, name, named=INSIDE),
        b.mount(_STEP, b"none", name, None, m.MS_BIND | m.MS_REMOUNT | _FLAGS, named=INSIDE),
        b.closed(number),
        Action(_STEP, "symlink", (TARGET, LINK), LINK, (EEXIST,), warning=warning),
    ]
