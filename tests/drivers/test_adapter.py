"""drivers.adapter: an adapter that was pulled is found again under whatever number it has, and no other is taken for it."""

from pathlib import Path

import pytest

from agent.clock import Clock
from drivers.adapter import adapter_of
from drivers.errors import LinkDown
from drivers.link import Link
from tests.drivers.test_link import DRIVER, request_for, settings, value_of
from tests.peers.hostile import HostileMeter, OnPty, word
from tests.peers.ptys import Pty


def in_sysfs(root: Path, device: str, *, serial: bool) -> Path:
    """What the kernel tells of a USB adapter's port: the port hangs on an interface, and that on the adapter."""
    adapter = root / "devices" / f"usb-of-{Path(device).name}"
    (adapter / "interface" / "port").mkdir(parents=True)
    (adapter / "idVendor").write_text("0403\n")
    if serial:
        (adapter / "serial").write_text("A50285BI\n")
    tty = root / "class" / Path(device).name
    tty.mkdir(parents=True)
    (tty / "device").symlink_to(adapter / "interface" / "port")
    return root / "class"


def named(folder: Path, name: str, device: str) -> Path:
    """A lasting name for a device, as udev makes it."""
    folder.mkdir(exist_ok=True)
    link = folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(device)
    return link


@pytest.mark.parametrize("serial", [True, False])
def test_a_name_is_lasting_if_the_adapter_has_a_serial_number(tmp_path: Path, serial: bool) -> None:
    with Pty() as pty:
        lasting = named(tmp_path / "by-id", "usb-FTDI_FT232R_A50285BI-if00-port0", pty.name)
        sysfs = in_sysfs(tmp_path, pty.name, serial=serial)
        assert adapter_of(pty.name, tmp_path / "by-id", sysfs) == (lasting if serial else None)
        assert adapter_of(str(lasting), tmp_path / "by-id", sysfs) == (lasting if serial else None)


def test_a_port_without_a_lasting_name_has_none(tmp_path: Path) -> None:
    with Pty() as one, Pty() as other:
        named(tmp_path / "by-id", "usb-other", other.name)
        assert adapter_of(one.name, tmp_path / "by-id", tmp_path) is None
        assert adapter_of(one.name, tmp_path / "nowhere", tmp_path) is None


async def test_an_adapter_that_comes_back_under_another_number_is_found_and_the_one_that_took_its_place_is_not_asked(
    tmp_path: Path,
) -> None:
    port, folder = tmp_path / "ttyUSB0", tmp_path / "by-id"
    with Pty() as first, Pty() as stranger, Pty() as second:
        port.symlink_to(first.name)
        named(folder, "usb-FTDI-if00-port0", first.name)
        link = Link(settings(serial=str(port)), Clock(), by_id=folder)
        playing = OnPty(HostileMeter(lambda number: "right", 0.1, 0), first.end)
        await link.open()
        assert value_of(await link.exchange(DRIVER, request_for(7)), 7) == word(7, 0)
        assert link.moved_to == ""
        playing.close()
        await link.close()

        port.unlink()
        port.symlink_to(stranger.name)  # another adapter has the old number now
        (folder / "usb-FTDI-if00-port0").unlink()
        asked = HostileMeter(lambda number: "right", 0.1, 0)
        others = OnPty(asked, stranger.end)
        with pytest.raises(LinkDown, match="usb-FTDI-if00-port0 is missing") as refused:
            await link.open()
        assert refused.value.cause == "no_port"
        assert "Plug it in again" in refused.value.hint

        named(folder, "usb-FTDI-if00-port0", second.name)
        playing = OnPty(HostileMeter(lambda number: "right", 0.1, 0), second.end)
        await link.open()
        assert link.moved_to == second.name
        assert value_of(await link.exchange(DRIVER, request_for(7)), 7) == word(7, 0)
        await link.close()
        assert asked.served == []
        playing.close()
        others.close()
