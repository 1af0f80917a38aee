"""Where the program begins: an interrupt ends it silently from the first moment on, without a traceback."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

from agent.cli import main  # noqa: E402  an interrupt while the rest is being imported must already be silent

__all__ = ["main"]

if __name__ == "__main__":
    main()
