"""The witness's file: by which broker it sees gateways, and which of them it knows.

```yaml
mqtt: {host: 192.168.1.5}
gateways:
  - meterseal/plant/gw1+ea4712c5+AfgEzoCnt8+c32qKgpCUcfMV/IHSm02iBOIhw+W49mXA
```

What this file does not know: whether a key line is whole (`agent.witness`), and where the private key lies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from config.library import read_bytes
from config.mistake import ConfigError
from config.model import Declared
from config.site import Mqtt, WitnessKey
from config.text import read_text
from config.typed import typed


class WitnessFile(Declared):
    """A whole witness file."""

    mqtt: Mqtt
    """The broker by which it sees the gateways' checkpoints and answers."""
    gateways: Annotated[tuple[WitnessKey, ...], Field(min_length=1)]
    """Key lines of the gateways it watches; after a rotation the new one beside the old one."""


def load_witness(path: Path) -> WitnessFile:
    """The declaration in a witness file.

    Raises:
        ConfigError: with every mistake that was found.
    """
    document = read_text(read_bytes(path), str(path))
    declared, mistakes = typed(WitnessFile, document)
    if declared is None or mistakes:
        raise ConfigError(mistakes)
    return declared
