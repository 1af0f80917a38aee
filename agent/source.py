"""Opening what an auditor was given: a gateway's state directory, its ledger file, or an exported bundle."""

from __future__ import annotations

from pathlib import Path

from agent.bundle import Bundle
from agent.findings import CannotCheck
from agent.ledger_file import LedgerError, LedgerReader
from agent.state import LEDGER_FILE
from config.language import _
from config.system_words import reason_of

_SQLITE = b"SQLite format 3\0"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


def open_log(path: Path) -> LedgerReader | Bundle:
    """The log at a path as it is now, whatever the agent seals or takes away meanwhile; close it when done.

    Raises:
        CannotCheck: there is nothing, or nothing that is a log.
    """
    if path.is_dir():
        path /= LEDGER_FILE
    begins = _beginning(path)
    if begins == _SQLITE:
        try:
            return LedgerReader(path, still=True)
        except LedgerError as error:
            raise CannotCheck(str(error)) from None
    if begins.startswith(_ZIP):
        return Bundle(path)
    raise CannotCheck(_("{path} is neither a bundle (.zip) nor a ledger; give the file that `meterseal export` wrote", path=path))


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE))
    except FileNotFoundError:
        raise CannotCheck(_("there is no file {path}", path=path)) from None
    except OSError as error:
        raise CannotCheck(_("{path} cannot be read: {strerror}", path=path, strerror=reason_of(error))) from None
