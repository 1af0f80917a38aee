"""What the proof on a booted system asks of a gateway from outside: its ledger file by SQLite alone, and `status --json`.

look.py form            the number of the ledger's form
look.py count KIND      how many records of a kind there are
look.py digest N        SHA-256 over everything that stands in the first N records
look.py clock           the state of the clock in the newest record; ends with 1 if it is `unknown`
look.py reading METER.. ends with 0 once each of these meters has a sealed reading of the last seconds
"""

import hashlib
import json
import sqlite3
import subprocess
import sys

ASK = ["runuser", "-u", "meterseal", "--", "meterseal", "status", "--json"]


def main(what: str, *words: str) -> int:
    """The exit code."""
    if what == "reading":
        told = json.loads(subprocess.run(ASK, capture_output=True, check=True).stdout)
        meters = {each["meter"]: each for each in told["meters"]}
        return int(not all(meters[each]["n"] and meters[each]["age_s"] <= 5 for each in words))
    ledger = sqlite3.connect("file:/var/lib/meterseal/ledger.sqlite?mode=ro", uri=True)
    if what == "form":
        print(ledger.execute("PRAGMA user_version").fetchone()[0])
    elif what == "count":
        print(ledger.execute("SELECT count(*) FROM record WHERE kind = ?", words).fetchone()[0])
    elif what == "digest":
        rows = ledger.execute("SELECT * FROM record WHERE n < ? ORDER BY n", (int(words[0]),)).fetchall()
        print(len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
    elif what == "clock":
        state = json.loads(ledger.execute("SELECT payload FROM record ORDER BY n DESC").fetchone()[0])["clock"]["state"]
        print(state)
        return int(state == "unknown")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
