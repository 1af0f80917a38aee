"""The faults of the site file, the lines and the meters (MS-1xx to MS-3xx): what each is called and what to check.

The texts are English here and translated where they are shown; `agent.faults` looks them up.
"""

from __future__ import annotations

from agent.fault import Fault

SITE = (
    Fault(
        "MS-101",
        "file cannot be read",
        "Look at the place that the message names; `meterseal check` shows it again after each change.",
        "A site file, model file or witness file is missing, is not text, or is not YAML from some line on.",
        (
            "The path is another one than meant: --site, METERSEAL_SITE or a name in the file.",
            "A tab, a missing space after a colon, or a quote that was not closed.",
            "The file was saved in another encoding than UTF-8, or belongs to another account.",
        ),
        "ls -l FILE, then line and column of the message in an editor that shows tabs.",
    ),
    Fault(
        "MS-102",
        "mistake in the site file",
        "Correct what the message names; it says line, column and what to write.",
        "The file can be read, but something in it cannot be used: nothing is polled until it is corrected.",
        (
            "A key or a name is misspelt, or stands under the wrong block.",
            "An address, ratio or interval is outside of what this protocol or model allows.",
            "Two meters share an address, or two links share a port.",
        ),
        "`meterseal check`; compare with the plate of the meter and with config/README.md.",
    ),
    Fault(
        "MS-103",
        "setting or password wrong",
        "Correct the environment variable or password file that the message names.",
        "A setting outside of site.yaml cannot be used: a METERSEAL_ variable, or a file that holds a password.",
        (
            "A variable is misspelt or holds a value that it cannot have.",
            "A password file is missing, empty, or has more than one line.",
            "A password is given for a broker or link that site.yaml does not have.",
        ),
        "systemctl show meterseal -p Environment; ls -l of the password file.",
    ),
    Fault(
        "MS-104",
        "line too slow for its meters",
        "Read its meters less often (`every:`), or fewer quantities of them.",
        "What site.yaml asks of a line takes longer than the time between two readings: some polls could never be made.",
        (
            "Too many meters or quantities on one line for this interval.",
            "The baud rate is low, or one meter needs long pauses.",
        ),
        "`meterseal check` tells how long one round of each line takes.",
    ),
    Fault(
        "MS-105",
        "transformer ratio unknown",
        "Write the ratio on the transformer's plate into site.yaml (`ct: 400/5`, `vt: 10000/100`; `1` without transformer).",
        "The meter counts the secondary side of transformers whose ratio site.yaml calls unknown: its values are sealed as they "
        "are on that side, marked uncertain, and not counted.",
        (
            "`meterseal scan` wrote the meter: no meter tells the ratio of its transformers.",
            "Somebody wrote `unknown` to go on, and nobody has looked at the plate since.",
        ),
        "The plates of the transformers; the primary current of a clamp meter divided by the current that the meter shows.",
    ),
)

LINE = (
    Fault(
        "MS-201",
        "serial port not there",
        "Is the adapter plugged in? Compare `ls -l /dev/serial/by-id` with `serial:` in site.yaml.",
        "A serial port cannot be opened or was lost; no meter on this line is read until it is back.",
        (
            "The adapter was pulled, or it has another number since it was plugged in again.",
            "Another program holds the port.",
            "The account of the agent is not in the group dialout.",
            "The adapter or its USB hub has no power or is broken.",
        ),
        "dmesg after plugging in; fuser -v PORT; id meterseal.",
    ),
    Fault(
        "MS-202",
        "no connection to the device",
        "Check cable, host and port; is another client holding the device's only connection?",
        "A meter, converter or serial server on the network does not take a connection, or the connection broke.",
        (
            "The device has no power or no network, or has another address than site.yaml.",
            "Its few connections are all taken by other clients.",
            "The port is wrong, or a firewall stands between.",
        ),
        "ping HOST; ss -tnp on this gateway; the list of connections on the device's own page.",
    ),
    Fault(
        "MS-203",
        "nobody answers on a connection",
        "Look at the converter: has its serial side power, and is the cable to the meters plugged in?",
        "The connection stands, but no meter behind it has answered for a long time; it is made anew.",
        (
            "The converter hangs, or its serial side is not connected.",
            "Its baud rate, character format or mode is not that of the meters.",
            "`framing:` in site.yaml is not what the converter does.",
        ),
        "The converter's receive and transmit lamps while the agent polls.",
    ),
    Fault(
        "MS-204",
        "meter silent",
        "Has the meter power, is its address the one in site.yaml, and are A and B not swapped?",
        "One meter does not answer. Its missing polls are sealed as a gap; other meters on the line may well be read.",
        (
            "The meter has no power, or was taken off the line.",
            "Address, baud rate or parity in site.yaml are not those set at the meter.",
            "A and B are swapped or a wire is loose at this meter.",
            "If all meters of the line are silent: the adapter, its cable, or the wrong baud rate of the line.",
            "The meter is slower than its model says: raise `timeout_ms`.",
        ),
        "`meterseal read METER`; the voltage between A and B at rest (0.2 V to 5 V); address and baud on the meter's display.",
    ),
    Fault(
        "MS-205",
        "answer damaged",
        "Check termination and shield of the line, and that no two meters share one address.",
        "Bytes arrive, but checksum or length is wrong. A damaged answer is kept as evidence and never becomes a value.",
        (
            "Termination is missing at one end, or there is one too many.",
            "The shield is not grounded, or the cable runs beside a drive's motor cable.",
            "Two meters with one address answer at once.",
            "Another baud rate or protocol on the same line.",
        ),
        "60 ohm between A and B of the line without power; `meterseal explain RECORD` shows which byte breaks.",
    ),
    Fault(
        "MS-206",
        "answer does not fit the question",
        "Check that model and `framing:` in site.yaml are right, and that no two meters share one address.",
        "A whole answer arrives, but from another address, for another request, of another length or protocol.",
        (
            "Two meters with one address, or a serial server that mixes the answers of several clients.",
            "The meter answers later than its model says: raise `longest_answer_ms` of the link.",
            "The model in site.yaml is not the meter's, or `framing:` is wrong.",
        ),
        "`meterseal explain RECORD` names the field that does not fit.",
    ),
    Fault(
        "MS-207",
        "meter refuses what it is asked for",
        "Compare the model in site.yaml with the meter's plate.",
        "The meter answers and says no: it does not have this register or data item, and is not asked for it again.",
        (
            "The model in site.yaml is not the meter's.",
            "The meter has an older firmware, or an option less: leave the quantity out with `quantities:`.",
            "Reading is locked in the meter by a password.",
        ),
        "`meterseal read METER`; the register table in the meter's manual for its firmware.",
    ),
    Fault(
        "MS-208",
        "meter not ready or faulty",
        "Look at the meter's display for a fault sign; poll it less often if it is only busy.",
        "The meter answers that it is busy, or that it has a fault of its own.",
        (
            "Another master asks the meter at the same time, or it is being set.",
            "The meter has just got power.",
            "Its memory or electronics are damaged.",
        ),
        "The meter's display and fault registers; whether it passes when nobody else asks it.",
    ),
    Fault(
        "MS-209",
        "Modbus gateway does not reach the meter",
        "As for a silent meter (MS-204), behind the gateway; then the gateway's own table of addresses.",
        "The Modbus gateway answers in the meter's place that it has no way to it, or that nothing came back from it.",
        (
            "The meter behind the gateway has no power or another address or baud rate.",
            "The gateway routes this address to another of its ports.",
        ),
        "The gateway's own page of counters; the voltage between A and B behind it.",
    ),
    Fault(
        "MS-210",
        "OPC UA server does not let us in",
        "Do what the message says; `meterseal trust LINK` shows what the server offers and who it is.",
        "The server is reached, but refuses certificate, user or endpoint, or it is another server than the one confirmed.",
        (
            "The certificate of this gateway is not yet trusted in the server.",
            "User or password are wrong, or the endpoint has another path or security.",
            "The server got a new certificate, or another server answers at this address.",
            "The clocks of server and gateway differ.",
        ),
        "The server's list of rejected certificates and its log; timedatectl on the gateway.",
    ),
    Fault(
        "MS-211",
        "line has no time",
        "Read its meters less often or fewer quantities, or find the silent meter that uses up the time.",
        "Polls were due and never tried, because the line was busy with others; they are sealed as missed.",
        (
            "Silent meters on the line: each costs its timeout.",
            "More meters or shorter intervals than the line can do.",
            "Somebody reads by hand, or another master uses the line.",
        ),
        "BUSY of the line in `meterseal status`; `meterseal check` for the calculated time.",
    ),
    Fault(
        "MS-212",
        "changes between two readings lost",
        "Raise `queue:` or `sampling:` under `changes:` of the meter.",
        "An OPC UA server told more changes than it keeps, or the connection broke. The readings themselves are whole.",
        (
            "The value changes faster than `sampling:` and `queue:` allow for.",
            "The connection to the server was interrupted.",
        ),
        "The count of lost changes stands in the readings and in the journal.",
    ),
    Fault(
        "MS-213",
        "server does not tell changes",
        "Ask whoever runs the server to allow subscriptions for this user, or leave `changes:` out.",
        "An OPC UA server refuses to report the changes of a value; the meter's readings go on.",
        (
            "The server has no subscriptions, or no more of them.",
            "The node cannot be monitored, or the user may not.",
        ),
        "The reason in the journal; the server's own limits for subscriptions.",
    ),
)

METER = (
    Fault(
        "MS-301",
        "another meter answers",
        "Compare the serial number on the plate with site.yaml; if the meter was exchanged: `meterseal replace METER`.",
        "Another serial number answers under this address. Nothing is sealed for this meter until it is settled.",
        (
            "The meter was exchanged.",
            "A second meter has the same address.",
            "The number in site.yaml was mistyped, or addresses were swapped.",
        ),
        "`meterseal read METER --identify`; the plates of both meters.",
    ),
    Fault(
        "MS-302",
        "site.yaml has the old serial number",
        "Write the new serial number into site.yaml, then restart the agent.",
        "The meter was replaced and that is sealed, but site.yaml still states the meter before.",
        ("site.yaml was not changed after `meterseal replace`, or an old copy of it was put back.",),
        "The serial number on the plate; the replacement record in `meterseal trace METER`.",
    ),
    Fault(
        "MS-303",
        "meter does not tell its serial number",
        "Compare the plate with site.yaml by eye: the meter's own word is missing.",
        "By its model the meter can tell its serial number, but reading it fails. The plate's number stands in the records.",
        (
            "An older firmware without this register.",
            "The model in site.yaml is not quite the meter's.",
            "The line is disturbed.",
        ),
        "`meterseal read METER`.",
    ),
    Fault(
        "MS-304",
        "settings of the meter changed",
        "Find out who changed the meter; if it was meant: `meterseal confirm METER`.",
        "The meter tells other settings (such as a ratio) than those confirmed. Its readings are not evidence grade meanwhile.",
        (
            "Somebody set the meter anew, for example its transformer ratio.",
            "The meter was exchanged for one with other settings.",
        ),
        "The settings in the meter's menu against the plate of the transformers.",
    ),
    Fault(
        "MS-305",
        "settings of the meter not readable",
        "See whether the meter is read at all; then whether its firmware has these registers.",
        "The meter does not tell the settings that are pinned. Its readings are not evidence grade until it does.",
        (
            "The meter is silent at present, or refuses these registers.",
            "The model in site.yaml is not quite the meter's.",
        ),
        "`meterseal read METER`.",
    ),
    Fault(
        "MS-306",
        "counter fell or jumped",
        "Look at the meter's display and ask whether it was exchanged, reset or overflowed.",
        "A counter shows less than before, or more than can have flowed. What is counted for it is sealed with the reason.",
        (
            "The counter passed its largest number and began at zero.",
            "The meter was exchanged or reset without a record.",
            "The model reads the wrong register or word order.",
        ),
        "The display now, and the reading before in `meterseal consumption METER --per day`.",
    ),
    Fault(
        "MS-307",
        "a person's record was not sealed",
        "Correct what the message names and give the command again.",
        "A correction, replacement or the like contradicts what stands in the log, or is incomplete.",
        (
            "The meter's id, a time or a number is mistyped.",
            "It was sealed before, or somebody else's record came in between.",
        ),
        "`meterseal trace METER` shows what stands in the log.",
    ),
)
