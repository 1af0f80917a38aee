"""The story of a reading as a page for an auditor. Every "ok" on it stands for a check that was made.

What this file does not know: how anything is checked (`agent.story`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from decimal import Decimal

from agent.columns import filled
from agent.cosignature import said_to_have_cosigned
from agent.declaration import Fields, Frames, frames_of
from agent.findings import CannotCheck, printable
from agent.story import Story
from agent.trace_server import node_of
from agent.working import Place, marked, places, working_or_why
from config.cause_words import cause_words
from config.language import N_, _
from drivers.formula import plain

_FROM = {
    "frame": N_("the frame itself carries it"),
    "register": N_("read from the meter, see its identity record"),
    "fingerprint": N_("from the plate as the installer wrote it; the meter tells the type it was declared with"),
    "plate": N_("from the plate as the installer wrote it, NOT in the frame"),
}
_DOUBTS = {
    "settings_changed": N_("the meter's settings were changed, and nobody had confirmed that"),
    "settings_unread": N_("the meter had not told its settings"),
    "map_unconfirmed": N_("its register map is of trust level C or D, and no display was compared with it"),
}
_MOST_UNSIGNED = 400
_MOST_CHANGES = 20

Section = tuple[str, list[str]]


def trace_text(story: Story, quantity: str | None = None, zone: tzinfo = UTC) -> str:
    """The page.

    Args:
        story: of the reading.
        quantity: which value; None: all of them.
        zone: the site's time zone, for times a person reads.

    Raises:
        CannotCheck: the reading does not state this quantity.
    """
    values = [value for value in story.fields["values"] if quantity in (None, value["quantity"])]
    if not values:
        stated = ", ".join(value["quantity"] for value in story.fields["values"])
        raise CannotCheck(
            _(
                "record {n} does not state {quantity}; it states {stated}",
                n=story.n,
                quantity=quantity,
                stated=stated or _("nothing"),
            )
        )
    frames = frames_of(story.fields, story.declaration)
    sections: list[Section] = [
        (_("VALUE"), [_value(value) for value in values] + [_when(story, zone), _grade(story.fields)]),
        (_("1 METER"), list(_meter(story))),
        (_("2 FRAME"), list(_frames(story, frames, values))),
        (_("3 COMPUTE"), [line for value in values for line in _compute(story, value, frames)]),
        *([(_("CHANGES"), list(_changes(story.fields["changes"], values)))] if "changes" in story.fields else []),
        (_("4 CLOCK"), list(_clock(story))),
        (_("5 SIGNED"), [_signed(story)]),
        (_("6 LOG"), list(_log(story))),
        (
            _("7 AROUND"),
            [_neighbour(_("before"), story.before), _neighbour(_("after"), story.after)] if story.size else [_("not at hand")],
        ),
        (_("UNSIGNED"), [_unsigned(story.fields)]),
    ]
    if story.problems:
        sections.append((_("WRONG"), [f"{kind}: {what}" for kind, what in story.problems]))
    sections.append((_("VERDICT"), [verdict_of(story)]))
    lines = [
        f"{filled('' if index else title, 10)} {line}".rstrip() for title, inner in sections for index, line in enumerate(inner)
    ]
    return printable("\n".join(lines) + "\n")


def verdict_of(story: Story) -> str:
    """The result in one sentence; it follows from the story's problems alone."""
    if story.problems:
        return _("NOT TRACEABLE: {problems} of the checks failed, see WRONG.", problems=len(story.problems))
    if not story.confirmed:
        return _("NOT CONFIRMED: nothing is wrong, but nobody has confirmed the key. Repeat with --key and the form's key line.")
    if not story.size:
        return _(
            "SIGNED AND RECOMPUTED by the confirmed key and from the record's own frames. Without its log and meter model "
            "neither its place nor the meter's registers could be checked."
        )
    cover = story.cover
    covered = _("not covered by a checkpoint yet")
    if cover:
        covered = _(
            "covered by {outside} of size {size}",
            outside=_("a checkpoint held elsewhere") if cover.outside else _("the checkpoint"),
            size=cover.claim.size,
        )
    return _("TRACEABLE: signed by the confirmed key, recomputed from the meter's bytes, {covered}.", covered=covered)


def _value(value: Fields) -> str:
    quality = f"{_(value['quality'])}: {cause_words(value['cause'])}" if "quality" in value else _("good")
    stated = f"{value['value']} {value.get('unit', '')}".strip() if "value" in value else _("no value")
    return f"{stated}   {value['quantity']}   {quality}"


def _grade(fields: Fields) -> str:
    return (
        _("stated as NOT evidence grade: {doubts}", doubts=_(_DOUBTS[fields["doubt"]]))
        if "doubt" in fields
        else _("stated as evidence grade")
    )


def _local(time: str, zone: tzinfo) -> str:
    return datetime.fromisoformat(time).astimezone(zone).isoformat(" ", "seconds")


def _when(story: Story, zone: tzinfo) -> str:
    due, answered = (_local(story.fields[name], zone) for name in ("due", "time"))
    return _(
        "{id}, due {due}, first answer {answered}, record {n}",
        id=story.fields["meter"]["id"],
        due=due,
        answered=answered,
        n=story.n,
    )


def _meter(story: Story) -> Iterator[str]:
    source = story.fields["meter"]
    yield _(
        "{id}, serial number {serial} ({from_at})",
        id=source["id"],
        serial=source["serial"] or _("not known"),
        from_at=_(_FROM[source["serial_from"]]),
    )
    declaration = story.declaration
    if declaration is None:
        yield _("its declaration and model are not at hand")
        return
    declared = declaration.fields
    ratios = ", ".join(f"{name.upper()} {declared[name]}" for name in ("ct", "vt") if name in declared)
    model = _(
        "{model} revision {revision}, trust level {trust}",
        model=declared["model"],
        revision=declared["revision"],
        trust=declared["trust"],
    )
    yield f"{model}, {ratios or _('no transformer ratio')}"
    place = declared["place"] or _("no place stated")
    yield _("{place}, {reached}, read every {interval} s", place=place, reached=_reached(declared), interval=_interval(story))
    at_hand = _("at hand and the one declared") if declaration.target else _("NOT USABLE, see WRONG")
    yield _(
        "declared in record {n}, hash {leaf}",
        n=declaration.n,
        leaf=_("the same") if declaration.leaf == source["declared"] else _("ANOTHER"),
    )
    yield _("model file {digest}… {at_hand}", digest=declared["digest"][:16], at_hand=at_hand)


def _reached(declared: Fields) -> str:
    """The link, and who or what on it: an address, or the server behind which the meter is."""
    if not (server := declared.get("server")):
        return _("{link} address {address}", link=declared["link"], address=declared["address"] or _("none"))
    uri, certificate = server.get("uri", _("of unknown name")), server.get("certificate", "")
    shown = _("certificate {beginning}…", beginning=certificate[:16]) if certificate else _("no certificate")
    return _("{link}, server {uri}, {certificate}", link=declared["link"], uri=uri, certificate=shown)


def _interval(story: Story) -> str:
    """The interval of the schedule that a reading belongs to, in seconds."""
    return plain(Decimal(story.fields["every_ms"]) / 1000)


def _frames(story: Story, frames: Frames, values: list[Fields]) -> Iterator[str]:
    read = [place for value in values for place in places(value.get("formula", ""))]
    wrong = {what.split(":")[0] for kind, what in story.problems if kind in ("FRAME", "REQUEST")}
    for index, (request, answer, fault) in enumerate(zip(frames.requests, frames.answers, frames.faults, strict=True)):
        if not fault and not any(place.answer == index for place in read):
            continue
        yield _("asked     {request}", request=request.hex(" "))
        shown = marked(answer, index, read if not fault else list[Place]())
        ms = story.fields["frames"][index]["ms"]
        state = _state(story, index, fault, wrong)
        yield _("answered  {shown}   {ms} ms   {state}", shown=shown or _("nothing"), ms=ms, state=state)
    if not read:
        yield _("no good frame holds this value")


def _state(story: Story, index: int, fault: str, wrong: set[str]) -> str:
    if fault:
        return _("FAULT {fault}: evidence of a failed try, no value comes from it", fault=cause_words(fault))
    if _("frame {number}", number=index) in wrong:
        return _("WRONG, see below")
    if story.declaration is None or story.declaration.target is None:
        return _("not checked: no model at hand")
    if story.declaration.target.model.protocol == "opcua":
        return _("the answer to this request of the model, a value for each node")
    return _("the answer to this request of the model, checksum and address ok")


def _compute(story: Story, value: Fields, frames: Frames) -> Iterator[str]:
    formula = value.get("formula")
    yield (f"{value['quantity']} = {formula}" if formula else _("{quantity}: no formula, no value", quantity=value["quantity"]))
    if node := node_of(story.declaration, value["quantity"], frames):
        yield f"  {node}"
    if formula is None:
        return
    lines = working_or_why(formula, frames.usable)
    yield from (f"  {line}" for line in lines)
    same = lines[-1].endswith(f"= {value['value']}") if "value" in value else _("no value") in lines[-1]
    stated = value.get("value", _("no value"))
    yield _("  stated: {stated}   SAME", stated=stated) if same else _("  stated: {stated}   NOT THE SAME", stated=stated)


def _changes(changes: Fields, values: list[Fields]) -> Iterator[str]:
    """What an OPC UA server told of changes since the reading before, of the values that are shown."""
    for name in [value["quantity"] for value in values]:
        told = [str(each.get("value", each.get("cause"))) for each in changes["values"] if each["quantity"] == name]
        more = _(" and {count} more", count=len(told) - _MOST_CHANGES) if len(told) > _MOST_CHANGES else ""
        if told:
            yield _("since the reading before {quantity} was: {told}", quantity=name, told=", ".join(told[:_MOST_CHANGES]) + more)
    if not changes["values"]:
        yield _("the server told of none since the reading before")
    words = (("begun", _("subscription begun {count} times")), ("overflow", _("{count} times the server lost some")))
    for name, text in (*words, ("dropped", _("{count} were received and not sealed"))):
        if name in changes:
            yield text.format(count=changes[name])
    if "cause" in changes:
        yield _("not all is followed: {cause}", cause=cause_words(changes["cause"]))


def _clock(story: Story) -> Iterator[str]:
    clock = story.fields["clock"]
    error = _(", error at most {error_ms} ms", error_ms=clock["error_ms"]) if "error_ms" in clock else _(", error not known")
    yield _(
        "{state}{error}, {uptime_ms} s after boot {boot}",
        state=clock["state"],
        error=error,
        uptime_ms=clock["uptime_ms"] // 1000,
        boot=clock["boot"],
    )
    stepped = story.stepped
    if stepped:
        yield _("last set in record {n} by {step_ms} ms", n=stepped["n"], step_ms=stepped["step_ms"])
    elif story.size:
        yield _("never set before this record")


def _signed(story: Story) -> str:
    wrong = {kind for kind, _unused in story.problems} & {"KEY", "SIGNATURE", "UNSIGNED"}
    if story.term is None:
        return _("NOT CHECKED: no key is at hand")
    state = _("NOT GOOD, see WRONG") if wrong else _("ok")
    confirmed = _("confirmed by --key") if story.confirmed else _("NOT CONFIRMED by anybody")
    enrolled = _(", enrolled in record 0 by {enrolled}", enrolled=story.enrolled.get("who", "")) if story.enrolled else ""
    since = _(", in force since record {first}", first=story.term.first) if story.term.first else ""
    return _(
        "key {name} {state}; first key {confirmed}{enrolled}{since}",
        name=story.term.name,
        state=state,
        confirmed=confirmed,
        enrolled=enrolled,
        since=since,
    )


def _log(story: Story) -> Iterator[str]:
    if not story.size:
        yield _("not at hand: a single record does not show its place")
        return
    wrong = any(kind in ("PREV-HASH", "SEQUENCE") for kind, _unused in story.problems)
    yield _(
        "record {n} of {size}; hashes to the records next to it {wrong}",
        n=story.n,
        size=story.size,
        wrong=_("WRONG") if wrong else _("ok"),
    )
    cover = story.cover
    if cover is None:
        yield _("no checkpoint covers it yet")
        return
    whose = _("held elsewhere") if cover.outside else _("of the log itself")
    state = (
        _("WRONG: {problem}", problem=cover.problem)
        if cover.problem
        else _("inclusion proof of {proof} hashes ok", proof=len(cover.proof))
    )
    yield _("checkpoint of size {size} {whose}: {state}", size=cover.claim.size, whose=whose, state=state)
    for name, time in said_to_have_cosigned(cover.note):
        yield _("seen by {name} at {time}, by its line; `meterseal verify --witness` checks it", name=name, time=time)


def _neighbour(side: str, fields: Fields | None) -> str:
    if not fields:
        return _("{side}: no record of this meter", side=side)
    source = fields["meter"]
    text = _("{side}: record {n}, count {count}, {kind}", side=side, n=fields["n"], count=source["count"], kind=fields["kind"])
    if fields["kind"] == "gap":
        return _(
            "{text} {state}, {missed} missed since {since}: {cause}",
            text=text,
            state=fields["state"],
            missed=fields["missed"],
            since=fields["since"],
            cause=fields["cause"],
        )
    return _("{text} due {due}", text=text, due=fields["due"]) if "due" in fields else text


def _unsigned(fields: Fields) -> str:
    if "x" not in fields:
        return _("nothing")
    text = json.dumps(fields["x"], ensure_ascii=True)
    return text if len(text) <= _MOST_UNSIGNED else _("{text}… ({count} characters)", text=text[:_MOST_UNSIGNED], count=len(text))
