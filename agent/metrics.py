"""How the agent is, as metrics for Prometheus (text format 0.0.4). Pure.

Off unless asked for: `/metrics` on the status page's server where the site file has `page:`, and `meterseal status --metrics`
for the textfile folder of node_exporter. No value of a meter is told here: readings go their own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent import __version__
from agent.condition import AILMENTS, Seen, ailments_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METRICS = {
    "meterseal_build_info": ("gauge", "The version that runs; always 1."),
    "meterseal_healthy": ("gauge", "1 while nothing ails the agent."),
    "meterseal_ailment": ("gauge", "1 while the agent has this ailment (docs/install.md)."),
    "meterseal_records_sealed_total": ("counter", "Records in the ledger."),
    "meterseal_ledger_waiting_seconds": ("gauge", "How long the oldest record has been waiting to be written."),
    "meterseal_link_open": ("gauge", "1 while the port or connection is open."),
    "meterseal_link_busy_ratio": ("gauge", "The share of the last minute in which the link was used."),
    "meterseal_link_overruns_total": ("counter", "Polls for which the link had no time, since the agent's start."),
    "meterseal_meter_failures": ("gauge", "Polls in a row without a usable answer; 0 while the meter answers."),
    "meterseal_delivery_connected": ("gauge", "1 while the broker has taken the connection."),
    "meterseal_delivery_waiting_records": (
        "gauge",
        "Records that are not delivered: not acknowledged by the broker, or where there is a collector not in its receipts.",
    ),
    "meterseal_delivery_behind_seconds": ("gauge", "For how long records have been waiting for the broker."),
    "meterseal_clock_synchronised": ("gauge", "1 while the gateway's clock is kept by NTP, PTP or GPS."),
    "meterseal_clock_error_seconds": ("gauge", "The kernel's bound on the error of the gateway's clock."),
    "meterseal_disk_free_bytes": ("gauge", "Free on the disk of the state directory."),
    "meterseal_disk_size_bytes": ("gauge", "Size of the disk of the state directory."),
}

Labels = Mapping[str, str]


def exposition(seen: Seen) -> str:
    """All metrics as Prometheus reads them."""
    samples: dict[str, list[tuple[Labels, float]]] = {name: [] for name in METRICS}
    for name, labels, value in _samples(seen):
        samples[name].append((labels, value))
    lines = []
    for name, (kind, meaning) in METRICS.items():
        if samples[name]:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(labels)} {value:.15g}" for labels, value in samples[name]]
    return "\n".join([*lines, ""])


def _samples(seen: Seen) -> Iterator[tuple[str, Labels, float]]:
    ailments = {each.name for each in ailments_of(seen)}
    yield "meterseal_build_info", {"version": __version__}, 1
    yield "meterseal_healthy", {}, not ailments
    for name in AILMENTS:
        yield "meterseal_ailment", {"name": name}, name in ailments
    yield "meterseal_records_sealed_total", {}, seen.records
    yield "meterseal_ledger_waiting_seconds", {}, seen.writer_s
    for link, told in seen.links.items():
        yield "meterseal_link_open", {"link": link}, told["open"]
        yield "meterseal_link_busy_ratio", {"link": link}, told["busy_percent"] / 100
        yield "meterseal_link_overruns_total", {"link": link}, told["overruns"]
        for meter, health in told["meters"].items():
            yield "meterseal_meter_failures", {"link": link, "meter": meter}, health["failures"]
    for each in seen.deliveries:
        broker = {"broker": each.broker}
        yield "meterseal_delivery_connected", broker, each.connected
        yield "meterseal_delivery_waiting_records", broker, each.waiting
        yield "meterseal_delivery_behind_seconds", broker, each.behind_s
    yield "meterseal_clock_synchronised", {}, seen.trust.state == "synchronized"
    if seen.trust.error_ms is not None:
        yield "meterseal_clock_error_seconds", {}, seen.trust.error_ms / 1000
    yield "meterseal_disk_free_bytes", {}, seen.free
    yield "meterseal_disk_size_bytes", {}, seen.size


def _labels(labels: Labels) -> str:
    words = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{words}}}" if words else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
