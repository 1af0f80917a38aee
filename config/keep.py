"""How long readings are kept on the gateway, and how much of its disk they may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.model import Declared
from config.scalar import Whole, YesNo


class Keep(Declared):
    """How long readings are kept; what goes is stated in a signed record, and its hashes stay."""

    months: Annotated[Whole, Field(ge=1, le=1200)] = 36
    """Readings that are older go, once every destination has them."""
    megabytes: Annotated[Whole, Field(ge=8, le=100_000_000)] | None = None
    """How much of the disk the ledger may take; else what is free. The oldest readings go when four fifths of it are used.
    A new figure counts from the agent's next start."""

    compress: YesNo = True
    """Records of closed months are compressed once every destination has them; false: they stay as they are from now on."""
