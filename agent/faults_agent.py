"""The faults of ledger, delivery, clock, keys and witnesses (MS-4xx to MS-8xx).

The texts are English here and translated where they are shown; `agent.faults` looks them up.
"""

from __future__ import annotations

from agent.fault import Fault

LEDGER = (
    Fault(
        "MS-401",
        "ledger cannot be written",
        "Free space on the disk of the state directory (df -h), then look at its health (dmesg).",
        "The disk takes no records. Nothing is sealed until it does; the polls of that time are sealed as missed afterwards.",
        (
            "The disk is full.",
            "The disk or SD card is broken or mounted read-only.",
            "The state directory belongs to another account.",
        ),
        "df -h, dmesg, ls -ld of the state directory.",
    ),
    Fault(
        "MS-402",
        "ledger cannot be used",
        "Keep the file as it is, and run `meterseal verify` on it.",
        "The ledger is missing, is damaged, or belongs to another gateway or key. The agent does not go on with it.",
        (
            "--state names another directory, or the agent never ran here.",
            "The file was changed, cut off or replaced, or the disk lost part of it.",
            "`gateway:` in site.yaml was changed after readings had been sealed.",
        ),
        "`meterseal verify`; dmesg; what was copied back from a backup, and when.",
    ),
    Fault(
        "MS-403",
        "verification found something",
        "Read the findings from the top: each says what it means and what to do.",
        "The log, or a part of it, is not what was sealed; which part is said with each finding.",
        (
            "A copy was damaged on its way: ask for it again.",
            "Records were changed, removed or added.",
            "It was checked against another gateway's key.",
        ),
        "The same command on another copy: the gateway's own ledger, the bundle, the server's.",
    ),
    Fault(
        "MS-404",
        "cannot be checked",
        "Give the file that `meterseal export` wrote, and the key line as it stands on the enrolment form.",
        "What was given is no log, or what was asked for is not in it; nothing was found out about it either way.",
        (
            "Another file, or one that was unpacked, packed anew or cut off on its way.",
            "The record, meter or time is not in this log.",
            "The key line is incomplete.",
        ),
        "Size and SHA-256 of the file where it was exported and where it is checked.",
    ),
    Fault(
        "MS-405",
        "disk nearly full",
        "df -h of the state directory: what else fills this disk?",
        "Sealing goes on until the disk is full; then nothing is sealed.",
        (
            "Journals, logs or exports fill it: journalctl --vacuum-size=100M.",
            "The ledger has grown for years on a small card.",
        ),
        "du -xh --max-depth=2 / and look for what is large.",
    ),
    Fault(
        "MS-406",
        "ledger was damaged",
        "Nothing has to be done at once: the agent seals on. Save the damaged file elsewhere, and look at the disk (dmesg).",
        "The ledger's file was damaged. What could be read was saved into a new one; which records are lost is a sealed record.",
        (
            "The disk or SD card is worn out or lost power while it wrote.",
            "The file was cut off, overwritten or deleted.",
        ),
        "dmesg; smartctl or the card's age; what the collector has of the lost records.",
    ),
)

DELIVERY = (
    Fault(
        "MS-501",
        "connection to the broker lost",
        "Nothing, if it comes back by itself; else the network between gateway and broker.",
        "A connection that stood broke off. Readings stay in the ledger and are sent when it is back.",
        (
            "The network or modem was interrupted, or the broker restarted.",
            "Two agents use the same `gateway:` and push each other out.",
        ),
        "`meterseal status` (delivered); the broker's log.",
    ),
    Fault(
        "MS-502",
        "broker not reached",
        "Check `host` and `port` in site.yaml, the network cable or modem, and that the broker runs.",
        "No connection to the broker comes about. Readings stay in the ledger and are sent when it does.",
        (
            "The broker is not running, or not at this host and port.",
            "No network, no name server, or a firewall between.",
            "The broker does not speak MQTT 5.",
        ),
        "ping HOST; from another machine on the same network: mosquitto_sub.",
    ),
    Fault(
        "MS-503",
        "broker does not let us in",
        "Compare `username`, the password and the broker's access list.",
        "The broker is reached and refuses this gateway. Readings stay in the ledger.",
        (
            "User name or password are wrong or were changed.",
            "The broker's users or access list do not have this gateway.",
            "The broker bans it, or wants another way of signing in.",
        ),
        "The broker's log at the moment of the attempt.",
    ),
    Fault(
        "MS-504",
        "certificate does not fit",
        "Check the date of this gateway, then the files under `tls:` in site.yaml.",
        "No secure connection comes about, so nothing is sent. Readings stay in the ledger.",
        (
            "`ca:` is not the authority that signed the broker's certificate.",
            "A certificate has expired, or the gateway's clock is wrong.",
            "The certificate is for another host name, or a file under `tls:` is missing.",
        ),
        "date; openssl s_client -connect HOST:PORT -CAfile CA.",
    ),
    Fault(
        "MS-505",
        "broker refuses a record",
        "Do what the hint says: most often the access list or the limit for the size of a message.",
        "The connection stands, but a record is not taken. It stays in the ledger and is sent again.",
        (
            "The access list (ACL) does not allow the topic.",
            "The message is larger than the broker allows.",
            "The broker's quota or rate limit is used up.",
        ),
        "The broker's log; the topic in the journal's line.",
    ),
    Fault(
        "MS-506",
        "password sent in clear",
        "Write `tls:` for this broker in site.yaml.",
        "User name and password go to the broker over a connection that anybody on the way can read.",
        ("`tls:` is missing for a broker on another machine.",),
        "Whether the broker has a TLS port (mostly 8883), and the certificate of its authority.",
    ),
    Fault(
        "MS-507",
        "nobody listens",
        "Subscribe to the gateway's topics where the readings are collected.",
        "The broker takes records, but nobody has subscribed to them: it throws them away.",
        (
            "The collecting program does not run, or subscribes to another topic.",
            "`topic:` or `gateway:` was changed.",
        ),
        "mosquitto_sub with the topic of the journal's line.",
    ),
    Fault(
        "MS-508",
        "message of the collector not taken",
        "Compare the collector's key line in site.yaml with the one that the collector printed.",
        "A receipt or question of the collector was not what it should be and was dropped. Sending goes on.",
        (
            "The collector's key line is another one than the one in force.",
            "Somebody else writes on these topics.",
        ),
        "The reason in the journal's line; the broker's access list.",
    ),
    Fault(
        "MS-509",
        "collector has other records",
        "Do not delete anything: keep the gateway's ledger and the collector's copy, and compare them.",
        "The collector states records that this ledger does not have, or other ones.",
        (
            "An older copy of the ledger was put back on the gateway.",
            "Two gateways send under the same name.",
            "Somebody rewrote the log, here or there.",
        ),
        "`meterseal verify` on the gateway, and on the collector's copy.",
    ),
    Fault(
        "MS-510",
        "broker cannot refuse",
        "Ask for MQTT 5 in the broker, then take `version` out of site.yaml.",
        "The site file asks for MQTT 3.1.1: a record that the broker refuses or nobody collects looks as if it were delivered.",
        ("`version: 3.1.1` is written for this broker in site.yaml.",),
        "The broker's documentation: does it speak MQTT 5? With a collector that gives receipts nothing is missed either way.",
    ),
    Fault(
        "MS-511",
        "delivery behind",
        "`meterseal status`: how many records wait, and is that number falling?",
        "Records have waited for a broker for more than a quarter of an hour. They lie in the ledger; none is lost.",
        (
            "The network is slower than what is sealed: read less often, or less.",
            "The broker takes records slowly: its disk, its limits.",
            "After a long absence the backlog is just being sent.",
            "The collector does not run, or the broker's access list keeps its receipts back.",
        ),
        "`meterseal status` twice, a minute apart; `meterseal collect status` on the collector's machine.",
    ),
)

CLOCK = (
    Fault(
        "MS-601",
        "clock was set",
        "Nothing, if it is rare (after a power cut); else see why: timedatectl, chronyc tracking.",
        "The gateway's clock was moved. The step is sealed, and all meters are read by the new time.",
        (
            "The time server was reached for the first time after a start without a clock battery.",
            "Somebody set the clock, or two programs set it.",
        ),
        "timedatectl; the `clock` records with their steps.",
    ),
    Fault(
        "MS-602",
        "clock not kept",
        "timedatectl: does it say that the clock is synchronised?",
        "Nothing keeps the gateway's clock. Records are sealed, and each says that its time may be wrong.",
        (
            "No time service runs: start chrony or systemd-timesyncd.",
            "No time server can be reached: the plant's firewall closes port 123, or the server's name is wrong.",
        ),
        "chronyc tracking, or timedatectl timesync-status.",
    ),
)

KEYS = (
    Fault(
        "MS-701",
        "key cannot be used",
        "Do what the message says; never copy a key from another gateway.",
        "The key file is missing, damaged, not this log's, or can be read by others. Without it nothing is sealed.",
        (
            "`meterseal init` was not run yet, or --state names another directory.",
            "Mode or owner of the file were changed by copying: chmod 600.",
            "An old or another gateway's key was put back.",
        ),
        "ls -l of the state directory; `meterseal key show`.",
    ),
    Fault(
        "MS-702",
        "recovery code wrong",
        "Compare each letter with the paper from the safe.",
        "What was typed is no recovery code, or that of another sheet. Nothing was changed.",
        (
            "A letter is wrong or missing.",
            "The sheet is an older one: after a revocation the newest counts.",
        ),
        "The name on the sheet against `meterseal key show`.",
    ),
)

WITNESS = (
    Fault(
        "MS-801",
        "message about witnessing not taken",
        "Compare the key lines under `witnesses:` with those that `meterseal witness init` printed.",
        "A message was not what it should be and was dropped. Nothing is lost; it is asked again.",
        (
            "The key line of a witness or gateway is another one than the one in force.",
            "Somebody else writes on these topics.",
        ),
        "The reason in the journal's line; the broker's access list.",
    ),
    Fault(
        "MS-802",
        "witness refuses a log",
        "Do not delete anything: keep the gateway's ledger and the witness's directory, and find out what happened.",
        "The log was rewritten, went back, or bears a foreign key. It is told until it is settled.",
        (
            "An older copy of the ledger was put back on the gateway.",
            "The key was changed without the witness knowing.",
            "Somebody rewrote the log.",
        ),
        "`meterseal verify` on the gateway with the checkpoint that the witness kept.",
    ),
    Fault(
        "MS-803",
        "no connection for witnessing",
        "As for MS-502 to MS-504: host, port, network, user and certificate.",
        "The broker cannot be reached to hear witnesses or checkpoints. Sealing goes on.",
        (
            "The broker is not running, or not at this host and port.",
            "The broker does not let this program in.",
        ),
        "The reason in the journal's line; the broker's log.",
    ),
    Fault(
        "MS-804",
        "ledger is older than a witness has seen",
        "Stop the agent, and look for the newer ledger before anything else is sealed.",
        "A witness has seen more records than this ledger holds: it is an older copy.",
        (
            "A backup or disk image was put back.",
            "Two gateways run with the same key.",
        ),
        "The witness's count in the journal's line against `meterseal status`.",
    ),
    Fault(
        "MS-805",
        "no timestamp",
        "Check the address under `timestamp:` and that the network lets it through; it is asked again by itself.",
        "A timestamp authority did not answer, or refused. Sealing goes on.",
        (
            "No way to the authority from this network.",
            "The address is wrong, or the authority wants an account.",
        ),
        "curl to the address under `timestamp:` from this gateway.",
    ),
)
