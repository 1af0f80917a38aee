"""What a person should know of a broker's entry in the site file, before anything goes wrong. No network is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agent.mqtt_tls import valid_until
from config.language import N_, _
from config.site import Mqtt

BLIND = N_("MQTT 3.1.1 has no way to refuse: a reading that the broker refuses or nobody collects looks as if it were delivered")
BLIND_HINT = N_("Take a broker with MQTT 5 and take `version` out of site.yaml, or have a collector send receipts.")
_SOON = timedelta(days=30)


def broker_words(broker: Mqtt) -> list[str]:
    """Sentences to print beside a broker; none while all is well. Reads the gateway's own certificate, if it has one."""
    words = [f"{_(BLIND)}. {_(BLIND_HINT)}"] if broker.version != "5" else []
    until = valid_until(broker.tls)
    if until and until - datetime.now(UTC) < _SOON:
        told = N_("expires on {until:%Y-%m-%d}") if until > datetime.now(UTC) else N_("has expired on {until:%Y-%m-%d}")
        renew = _("this gateway's own certificate {state}: renew it; it is taken without a restart.", state=_(told, until=until))
        words.append(renew)
    return words


def counted_by(broker: Mqtt) -> str:
    """What says that a record is delivered: the receipts of a collector, or no more than the broker's acknowledgements."""
    if broker.collector:
        return _("counted by the receipts of {collector}", collector=broker.collector.split("+")[0])
    return _("counted by the broker's acknowledgements: that somebody stored the records, only a collector's receipts say")
