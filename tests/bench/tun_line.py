"""A long way between two network namespaces, as bad as one wants it: two TUN devices and a relay between them.

    python -m tests.bench.tun_line NEAR 10.77.0.1 FAR 10.77.0.2 --seed 7

Makes both namespaces, prints `ready`, and takes a setting on each line of standard input: `delay SECONDS` (one way),
`loss SHARE` (each way), `rate BITS` a second (each way; 0: no limit; three
seconds are queued), `down 1` or `down 0`. At the end of input both namespaces are removed. Needs root and /dev/net/tun.
A kernel with netem does the same; this needs none.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_CLONE_NEWNET = 0x40000000
_DEVICE = "way0"
_LARGEST = 65_536
_QUEUED_SECONDS = 3.0


def possible() -> bool:
    """Whether this machine lets us: root, `ip` and TUN devices."""
    try:
        device = os.open("/dev/net/tun", os.O_RDWR)
    except OSError:
        return False
    os.close(device)
    return os.geteuid() == 0 and subprocess.run(["ip", "netns", "list"], capture_output=True, check=False).returncode == 0


def enter(namespace: str) -> None:
    """Has this thread, and those that it starts, live in a network namespace. Raises OSError."""
    with open(f"/run/netns/{namespace}", "rb") as opened:
        if ctypes.CDLL(None, use_errno=True).setns(opened.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _end_of(namespace: str, address: str) -> int:
    """A namespace with a TUN device that has an address; the device's descriptor."""
    _ip("netns", "add", namespace)
    with open("/proc/self/ns/net", "rb") as home:
        enter(namespace)
        try:
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", _DEVICE.encode(), _IFF_TUN_NO_PI))
        finally:
            ctypes.CDLL(None).setns(home.fileno(), _CLONE_NEWNET)
    _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", _DEVICE)
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip("-n", namespace, "link", "set", _DEVICE, "up")
    return device


@dataclass
class _Way:
    """What happens to packets on their way."""

    chance: random.Random
    settings: dict[str, float] = field(default_factory=lambda: {"delay": 0.0, "loss": 0.0, "rate": 0.0, "down": 0.0})
    under_way: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    count: int = 0
    busy: dict[int, float] = field(default_factory=dict)

    def take(self, source: int, target: int) -> None:
        """Takes what a device has sent."""
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(source, _LARGEST)
                if self.settings["down"] or self.chance.random() < self.settings["loss"]:
                    continue
                now = time.monotonic()
                sent = now
                if self.settings["rate"]:
                    sent = max(now, self.busy.get(source, 0.0)) + len(packet) * 8 / self.settings["rate"]
                    if sent - now > _QUEUED_SECONDS:
                        continue
                    self.busy[source] = sent
                self.count += 1
                heapq.heappush(self.under_way, (sent + self.settings["delay"], self.count, target, packet))

    def hand_over(self) -> float | None:
        """Hands over what has arrived; in how many seconds the next will."""
        while self.under_way and self.under_way[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(self.under_way)
            with contextlib.suppress(OSError):  # its queue is full: lost, as on any line
                os.write(target, packet)
        return max(0.0, self.under_way[0][0] - time.monotonic()) if self.under_way else None


def main() -> None:
    """Relays until the end of input."""
    words = argparse.ArgumentParser(description="A bad line between two network namespaces.")
    for name in ("near", "near_address", "far", "far_address"):
        words.add_argument(name)
    words.add_argument("--seed", default="0")
    given = words.parse_args()
    way = _Way(random.Random(given.seed))
    try:
        near, far = _end_of(given.near, given.near_address), _end_of(given.far, given.far_address)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([near, far, 0], [], [], way.hand_over())
            if 0 in ready:
                said = os.read(0, _LARGEST).decode()
                if not said:
                    return
                for name, value in (line.split() for line in said.splitlines()):
                    way.settings[name] = float(value)
            for device, other in ((near, far), (far, near)):
                if device in ready:
                    way.take(device, other)
    finally:
        for namespace in (given.near, given.far):
            subprocess.run(["ip", "netns", "del", namespace], check=False, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
