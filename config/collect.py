"""The collector's file: by which broker it hears gateways, which of them it takes records from, and where it keeps them.

```yaml
mqtt: {host: 192.168.1.5}
gateways:
  - meterseal/plant/gw1+ea4712c5+AfgEzoCnt8+c32qKgpCUcfMV/IHSm02iBOIhw+W49mXA
```

What this file does not know: whether a key line is whole (`agent.collect`), and where the collector's own key lies.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from config.language import N_, _
from config.model import Declared
from config.scalar import Name, Shape, as_text
from config.site import GatewayKey, Mqtt


def _reached(value: object) -> object:
    """How a database is reached, in libpq's words. What is said against a text never repeats it: it may hold a password."""
    text = as_text(value)
    if isinstance(text, str) and re.search("password|://", text, re.IGNORECASE):
        raise ValueError(
            _("no password goes into this file: write for example host=db.plant dbname=meterseal user=collector, ")
            + _("and the password into the file that PGPASSFILE names")
        )
    return text


Database = Annotated[str, Shape(r"[^\x00-\x1f\x7f]{1,400}", N_("is not how a PostgreSQL is reached")), BeforeValidator(_reached)]


class CollectFile(Declared):
    """A whole collector's file."""

    mqtt: Mqtt
    """The broker by which records arrive and receipts go back."""
    gateways: Annotated[tuple[GatewayKey, ...], Field(min_length=1)]
    """Key lines of the gateways it collects from, each copied from a signed enrolment form."""
    postgres: Database | None = None
    """A PostgreSQL to keep the records in, such as host=db.plant dbname=meterseal user=collector; else each gateway's are
    kept in a ledger file of its own in the state directory. The extra `postgres` must be installed."""
    share: Name | None = None
    """A name that several collectors on one database have in common: the broker then gives each record to one of them."""
