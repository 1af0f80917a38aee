"""Holds all threads of a process but its first one, until this program ends: the writer stands still, the poll loop goes on.

SIGSTOP would hold all of them; ptrace(2) holds one thread at a time (PTRACE_SEIZE, PTRACE_INTERRUPT).
"""

import ctypes
import os
import sys
import time

_SEIZE, _INTERRUPT = 0x4206, 0x4207


def main(process: int) -> None:
    """Holds them for two minutes at most."""
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    held = [int(name) for name in os.listdir(f"/proc/{process}/task") if int(name) != process]
    for thread in held:
        for request in (_SEIZE, _INTERRUPT):
            if library.ptrace(request, thread, None, None) == -1:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    print(f"holding {len(held)} of {len(held) + 1} threads", flush=True)
    time.sleep(120)


if __name__ == "__main__":
    main(int(sys.argv[1]))
