"""Prints the newest form of ledger file that this source knows: the installers let no older program near a newer one.

Needs no package, so that it runs before anything is installed. Ends with an error where the number is not found.
"""

import runpy
import sys
from pathlib import Path

known = runpy.run_path(str(Path(__file__).parents[1] / "agent" / "ledger_tables.py"))["FORMAT"]
sys.stdout.write(f"{known}\n")
