"""Why there is no value, or none to rely on, in words for a person: codes in records, JSON and docs/causes.md stay. Pure."""

from __future__ import annotations

from config.language import N_, _

# Status codes of OPC UA (`bad_...`, `uncertain_...`) are not among them: they are looked up under the names that they have.
# fmt: off
CAUSES = (
    N_("no answer"), N_("only echo"), N_("short answer"), N_("bad checksum"), N_("noise"), N_("not modbus"), N_("wrong unit"),
    N_("wrong function"), N_("wrong length"), N_("wrong transaction"), N_("bad request"), N_("illegal function"),
    N_("illegal address"), N_("illegal value"), N_("device failure"), N_("acknowledge"), N_("busy"), N_("memory parity"),
    N_("gateway path"), N_("gateway target"), N_("no connection"), N_("connection lost"), N_("no port"), N_("port lost"),
    N_("not open"), N_("other meter"), N_("overrun"), N_("line opening"), N_("left out"), N_("nothing to read"),
    N_("agent stopped"), N_("clock set"), N_("taken out"), N_("reload"), N_("ledger failed"), N_("refused by ledger"),
    N_("not available"), N_("not a number"), N_("bad bcd"), N_("bad digits"), N_("bad text"), N_("bad exponent"),
    N_("out of range"), N_("wrong identifier"), N_("wrong sequence"), N_("not in answer"), N_("unknown unit"),
    N_("no such data"), N_("not authorised"), N_("other error"), N_("baud fixed"), N_("too many zones"), N_("too many periods"),
    N_("too many tariffs"), N_("split"), N_("abnormal"), N_("other layout"), N_("no record"), N_("ambiguous record"),
    N_("error value"), N_("no data"), N_("data overflow"), N_("data underflow"), N_("data error"), N_("record error"),
    N_("bad records"), N_("encrypted"), N_("other model"), N_("too many readouts"), N_("application busy"), N_("alarm"),
    N_("unspecified error"), N_("unknown request"), N_("buffer too long"), N_("too many records"), N_("premature end"),
    N_("too many difes"), N_("too many vifes"), N_("high byte first"), N_("unknown telegram"), N_("wrong format"),
    N_("bad parity"), N_("not understood"), N_("ended"), N_("password"), N_("meter error"), N_("other maker"), N_("ambiguous"),
    N_("no unit"), N_("other unit"), N_("other server"), N_("untrusted certificate"), N_("certificate refused"),
    N_("wrong application uri"), N_("clock difference"), N_("login refused"), N_("password in clear"), N_("no endpoint"),
    N_("too many sessions"), N_("session closed"), N_("server refused"), N_("not opcua"), N_("no namespace"),
    N_("namespace moved"), N_("no queue"), N_("message missing"), N_("no value"), N_("other type"), N_("unsupported type"),
    N_("list of values"), N_("not a list"), N_("no such element"), N_("too long"), N_("stale"), N_("no timestamp"),
    N_("overflow"), N_("semantics changed"), N_("structure changed"), N_("ratio unknown"),
    # Why a whole reading is not evidence grade.
    N_("map unconfirmed"), N_("settings changed"), N_("settings unread"),
)
# fmt: on


def cause_words(cause: str) -> str:
    """A cause such as `no_answer` in the language that is spoken: `no answer`; one that is not among `CAUSES` in English."""
    return _(cause.replace("_", " "))
