"""Becomes another program, as another user, that is killed when the process which started it ends in whatever way.

    python guard.py PARENT UID GID PROGRAM ARGUMENT...

A script of its own and not a `preexec_fn`: between the fork and the exec of a process with threads next to nothing is
safe. A UID below 0 keeps the user.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """See the module."""
    parent, uid, gid = (int(argument) for argument in sys.argv[1:4])
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user, which would take it back.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("whoever started this has ended already")
    os.execv(sys.argv[4], sys.argv[4:])


if __name__ == "__main__":
    main()
