"""The story of a reading as a page for an auditor. Every "ok" on it stands for a check that was made.

What this file does not know: how anything is checked (`agent.story`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from decimal import Decimal

from agent.declaration import Fields, Frames, frames_of
from agent.findings import CannotCheck, printable
from agent.story import Story
from agent.trace_server import node_of
from agent.working import Place, marked, places, working_or_why
from drivers.formula import plain

_FROM = {
    "frame": "the frame itself carries it",
    "register": "read from the meter, see its identity record",
    "fingerprint": "from the plate as the installer wrote it; the meter tells the type it was declared with",
    "plate": "from the plate as the installer wrote it, NOT in the frame",
}
_DOUBTS = {
    "settings_changed": "the meter's settings were changed, and nobody had confirmed that",
    "settings_unread": "the meter had not told its settings",
    "map_unconfirmed": "its register map is of trust level C or D, and no display was compared with it",
}
_MOST_UNSIGNED = 400

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
        raise CannotCheck(f"record {story.n} does not state {quantity}; it states {stated or 'nothing'}")
    frames = frames_of(story.fields, story.declaration)
    sections: list[Section] = [
        ("VALUE", [_value(value) for value in values] + [_when(story, zone), _grade(story.fields)]),
        ("1 METER", list(_meter(story))),
        ("2 FRAME", list(_frames(story, frames, values))),
        ("3 COMPUTE", [line for value in values for line in _compute(story, value, frames)]),
        ("4 CLOCK", list(_clock(story))),
        ("5 SIGNED", [_signed(story)]),
        ("6 LOG", list(_log(story))),
        ("7 AROUND", [_neighbour("before", story.before), _neighbour("after", story.after)] if story.size else ["not at hand"]),
        ("UNSIGNED", [_unsigned(story.fields)]),
    ]
    if story.problems:
        sections.append(("WRONG", [f"{kind}: {what}" for kind, what in story.problems]))
    sections.append(("VERDICT", [verdict_of(story)]))
    lines = [f"{'' if index else title:<10} {line}".rstrip() for title, inner in sections for index, line in enumerate(inner)]
    return printable("\n".join(lines) + "\n")


def verdict_of(story: Story) -> str:
    """The result in one sentence; it follows from the story's problems alone."""
    if story.problems:
        return f"NOT TRACEABLE: {len(story.problems)} of the checks failed, see WRONG."
    if not story.confirmed:
        return "NOT CONFIRMED: nothing is wrong, but nobody has confirmed the key. Repeat with --key and the form's key line."
    if not story.size:
        return (
            "SIGNED AND RECOMPUTED by the confirmed key and from the record's own frames. Without its log and meter model "
            "neither its place nor the meter's registers could be checked."
        )
    cover = story.cover
    covered = "not covered by a checkpoint yet"
    if cover:
        covered = f"covered by {'a checkpoint held elsewhere' if cover.outside else 'the checkpoint'} of size {cover.claim.size}"
    return f"TRACEABLE: signed by the confirmed key, recomputed from the meter's bytes, {covered}."


def _value(value: Fields) -> str:
    quality = f"{value['quality']}: {value['cause'].replace('_', ' ')}" if "quality" in value else "good"
    stated = f"{value['value']} {value.get('unit', '')}".strip() if "value" in value else "no value"
    return f"{stated}   {value['quantity']}   {quality}"


def _grade(fields: Fields) -> str:
    return f"stated as NOT evidence grade: {_DOUBTS[fields['doubt']]}" if "doubt" in fields else "stated as evidence grade"


def _local(time: str, zone: tzinfo) -> str:
    return datetime.fromisoformat(time).astimezone(zone).isoformat(" ", "seconds")


def _when(story: Story, zone: tzinfo) -> str:
    due, answered = (_local(story.fields[name], zone) for name in ("due", "time"))
    return f"{story.fields['meter']['id']}, due {due}, first answer {answered}, record {story.n}"


def _meter(story: Story) -> Iterator[str]:
    source = story.fields["meter"]
    yield f"{source['id']}, serial number {source['serial'] or 'not known'} ({_FROM[source['serial_from']]})"
    declaration = story.declaration
    if declaration is None:
        yield "its declaration and model are not at hand"
        return
    declared = declaration.fields
    ratios = ", ".join(f"{name.upper()} {declared[name]}" for name in ("ct", "vt") if name in declared)
    model = f"{declared['model']} revision {declared['revision']}, trust level {declared['trust']}"
    yield f"{model}, {ratios or 'no transformer ratio'}"
    place = declared["place"] or "no place stated"
    yield f"{place}, {_reached(declared)}, read every {_interval(story)} s"
    at_hand = "at hand and the one declared" if declaration.target else "NOT USABLE, see WRONG"
    yield f"declared in record {declaration.n}, hash {'the same' if declaration.leaf == source['declared'] else 'ANOTHER'}"
    yield f"model file {declared['digest'][:16]}… {at_hand}"


def _reached(declared: Fields) -> str:
    """The link, and who or what on it: an address, or the server behind which the meter is."""
    if not (server := declared.get("server")):
        return f"{declared['link']} address {declared['address'] or 'none'}"
    uri, certificate = server.get("uri", "of unknown name"), server.get("certificate", "")
    return f"{declared['link']}, server {uri}, {f'certificate {certificate[:16]}…' if certificate else 'no certificate'}"


def _interval(story: Story) -> str:
    """The interval of the schedule that a reading belongs to, in seconds."""
    return plain(Decimal(story.fields["every_ms"]) / 1000)


def _frames(story: Story, frames: Frames, values: list[Fields]) -> Iterator[str]:
    read = [place for value in values for place in places(value.get("formula", ""))]
    wrong = {what.split(":")[0] for kind, what in story.problems if kind in ("FRAME", "REQUEST")}
    for index, (request, answer, fault) in enumerate(zip(frames.requests, frames.answers, frames.faults, strict=True)):
        if not fault and not any(place.answer == index for place in read):
            continue
        yield f"asked     {request.hex(' ')}"
        shown = marked(answer, index, read if not fault else list[Place]())
        yield f"answered  {shown or 'nothing'}   {story.fields['frames'][index]['ms']} ms   {_state(story, index, fault, wrong)}"
    if not read:
        yield "no good frame holds this value"


def _state(story: Story, index: int, fault: str, wrong: set[str]) -> str:
    if fault:
        return f"FAULT {fault.replace('_', ' ')}: evidence of a failed try, no value comes from it"
    if f"frame {index}" in wrong:
        return "WRONG, see below"
    if story.declaration is None or story.declaration.target is None:
        return "not checked: no model at hand"
    if story.declaration.target.model.protocol == "opcua":
        return "the answer to this request of the model, a value for each node"
    return "the answer to this request of the model, checksum and address ok"


def _compute(story: Story, value: Fields, frames: Frames) -> Iterator[str]:
    formula = value.get("formula")
    yield f"{value['quantity']} = {formula}" if formula else f"{value['quantity']}: no formula, no value"
    if node := node_of(story.declaration, value["quantity"], frames):
        yield f"  {node}"
    if formula is None:
        return
    lines = working_or_why(formula, frames.usable)
    yield from (f"  {line}" for line in lines)
    same = lines[-1].endswith(f"= {value['value']}") if "value" in value else "no value" in lines[-1]
    yield f"  stated: {value.get('value', 'no value')}   {'SAME' if same else 'NOT THE SAME'}"


def _clock(story: Story) -> Iterator[str]:
    clock = story.fields["clock"]
    error = f", error at most {clock['error_ms']} ms" if "error_ms" in clock else ", error not known"
    yield f"{clock['state']}{error}, {clock['uptime_ms'] // 1000} s after boot {clock['boot']}"
    stepped = story.stepped
    if stepped:
        yield f"last set in record {stepped['n']} by {stepped['step_ms']} ms"
    elif story.size:
        yield "never set before this record"


def _signed(story: Story) -> str:
    wrong = {kind for kind, _ in story.problems} & {"KEY", "SIGNATURE", "UNSIGNED"}
    if story.term is None:
        return "NOT CHECKED: no key is at hand"
    state = "NOT GOOD, see WRONG" if wrong else "ok"
    confirmed = "confirmed by --key" if story.confirmed else "NOT CONFIRMED by anybody"
    enrolled = f", enrolled in record 0 by {story.enrolled.get('who', '')}" if story.enrolled else ""
    since = f", in force since record {story.term.first}" if story.term.first else ""
    return f"key {story.term.name} {state}; first key {confirmed}{enrolled}{since}"


def _log(story: Story) -> Iterator[str]:
    if not story.size:
        yield "not at hand: a single record does not show its place"
        return
    wrong = any(kind in ("PREV-HASH", "SEQUENCE") for kind, _ in story.problems)
    yield f"record {story.n} of {story.size}; hashes to the records next to it {'WRONG' if wrong else 'ok'}"
    cover = story.cover
    if cover is None:
        yield "no checkpoint covers it yet"
        return
    whose = "held elsewhere" if cover.outside else "of the log itself"
    state = f"WRONG: {cover.problem}" if cover.problem else f"inclusion proof of {len(cover.proof)} hashes ok"
    yield f"checkpoint of size {cover.claim.size} {whose}: {state}"


def _neighbour(side: str, fields: Fields | None) -> str:
    if not fields:
        return f"{side}: no record of this meter"
    source = fields["meter"]
    text = f"{side}: record {fields['n']}, count {source['count']}, {fields['kind']}"
    if fields["kind"] == "gap":
        return f"{text} {fields['state']}, {fields['missed']} missed since {fields['since']}: {fields['cause']}"
    return f"{text} due {fields['due']}" if "due" in fields else text


def _unsigned(fields: Fields) -> str:
    if "x" not in fields:
        return "nothing"
    text = json.dumps(fields["x"], ensure_ascii=True)
    return text if len(text) <= _MOST_UNSIGNED else f"{text[:_MOST_UNSIGNED]}… ({len(text)} characters)"
