"""The witness's file: by which broker it sees gateways, and which of them it knows.

```yaml
mqtt: {host: 192.168.1.5}
gateways:
  - meterseal/plant/gw1+ea4712c5+AfgEzoCnt8+c32qKgpCUcfMV/IHSm02iBOIhw+W49mXA
```

What this file does not know: whether a key line is whole (`agent.witness`), and where the private key lies.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.model import Declared
from config.site import Mqtt, WitnessKey


class WitnessFile(Declared):
    """A whole witness file."""

    mqtt: Mqtt
    """The broker by which it sees the gateways' checkpoints and answers."""
    gateways: Annotated[tuple[WitnessKey, ...], Field(min_length=1)]
    """Key lines of the gateways it watches; after a rotation the new one beside the old one."""
