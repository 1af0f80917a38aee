"""The faults that a collector tells of. Pure."""

from __future__ import annotations

from agent.fault import Fault

COLLECT = (
    Fault(
        "MS-821",
        "foreign message in a gateway's place",
        "Compare the gateway's key line in the collector's file with the one on its enrolment form.",
        "What came on a gateway's topics was not sealed by its key and was dropped. What is missing is asked for again.",
        (
            "The key line in the collector's file is another gateway's, or the gateway was set up anew.",
            "Somebody else writes on these topics.",
            "A program between gateway and collector altered the records.",
        ),
        "The reason in the journal's line; the broker's access list: only the gateway may write on its topics.",
    ),
    Fault(
        "MS-822",
        "collected record is wrong",
        "Run `meterseal verify` on the collector's copy; it says which value not to use.",
        "The gateway sealed a record that does not say what its own bytes say. It is stored as it came.",
        (
            "The gateway runs another version than the collector.",
            "Somebody who has the gateway's key sealed a made-up value.",
        ),
        "The record's number in the journal's line, and `meterseal trace` for its meter.",
    ),
    Fault(
        "MS-823",
        "meter model not at hand",
        "Have the gateway connect to the broker again, and look whether the broker keeps retained messages.",
        "A meter's readings are stored, and their values are not recomputed from the bytes until its model has come.",
        (
            "The broker keeps no retained messages, or forgot them.",
            "The collector may not read the topic `model/...`.",
        ),
        "mosquitto_sub on the gateway's `model/#`.",
    ),
    Fault(
        "MS-824",
        "gateway's records contradict each other",
        "Do not delete anything: keep the gateway's ledger, the collector's copy and the alarm's file.",
        "Two records of one number, or a checkpoint and the records, cannot both be true. What was stored first stays.",
        (
            "An older copy of the ledger was put back on the gateway, and it sealed other records from there on.",
            "Two gateways run with the same name and key.",
            "Somebody who has the gateway's key wrote the log anew.",
        ),
        "The alarm's file holds what was stored and what came; `meterseal verify` on both sides.",
    ),
    Fault(
        "MS-825",
        "collector cannot store",
        "Look at the disk of the collector's directory, or at its database.",
        "Records are not stored and no receipts are given; the gateways keep them. It is tried again by itself.",
        (
            "The disk is full or broken.",
            "The database is not running, or does not let the collector in.",
            "Somebody changed the stored records.",
        ),
        "The reason in the journal's line; df, dmesg, the database's log.",
    ),
    Fault(
        "MS-826",
        "collector lacks records that are gone",
        "Stop the collector, put a copy of the gateway's ledger in the place of its own copy, and start it again.",
        "The collector asks for records that the gateway no longer holds: it gives no receipts past them.",
        (
            "The collector is new, and the gateway's old readings were taken away by then.",
            "The collector lost its disk.",
            "The gateway's ledger was damaged, and records were lost before they were collected.",
        ),
        "The collector's copy against `meterseal status` on the gateway; `meterseal verify` lists what is gone.",
    ),
)
