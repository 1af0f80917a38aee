"""Starts agents by forking a process that has everything imported: so a hundred agents can live and die in a minute.

For each line read it forks an agent on the site file and state directory given, and prints the agent's process id; when
that has ended it prints `ended`. The agent is the real one in a process of its own: SIGKILL ends it at any instruction.
"""

import asyncio
import os
import sys
from pathlib import Path

from agent.journal import configure, journal
from agent.run import run_agent
from config.check import load_site
from config.settings import load_settings


def main(site: str, state: str) -> None:
    loaded = load_site(Path(site))
    settings = load_settings(site=Path(site), state=Path(state))
    configure("error")
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(run_agent(loaded, Path(state), settings, journal()))
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
