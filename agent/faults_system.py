"""The faults of the agent itself and of the system it runs on (MS-9xx). Pure: nothing but text for `meterseal fault`."""

from __future__ import annotations

from agent.fault import Fault

SYSTEM = (
    Fault(
        "MS-901",
        "command not used as it can be",
        "Read the message; the verb with --help shows what it takes.",
        "The command cannot do what was asked in this way. Nothing was changed.",
        (
            "A name, number or option is mistyped.",
            "Two options that exclude each other, or one too few.",
        ),
        "The example in README.md.",
    ),
    Fault(
        "MS-902",
        "agent is not running",
        "systemctl start meterseal, then `meterseal status`.",
        "No agent runs on this state directory: nothing is read.",
        (
            "It was stopped, or did not start because of a mistake in site.yaml.",
            "--state names another directory than the agent's.",
        ),
        "journalctl -u meterseal -n 50.",
    ),
    Fault(
        "MS-903",
        "agent is already running",
        "Stop it first (systemctl stop meterseal), or take another --state.",
        "Another agent holds this state directory; two would break one chain.",
        ("The service runs while the command is given by hand.",),
        "systemctl status meterseal.",
    ),
    Fault(
        "MS-904",
        "running agent cannot be asked",
        "Give the command under the account that the agent runs under (sudo -u meterseal).",
        "An agent runs, but does not answer this command.",
        (
            "Another account than the agent's.",
            "The agent was started with another site file, or is older than this program.",
            "The agent is overloaded.",
        ),
        "ls -ld of the state directory; journalctl -u meterseal -n 50.",
    ),
    Fault(
        "MS-905",
        "system refuses",
        "Look at the file or address in the message: does it exist, and may this account use it?",
        "The operating system did not allow an operation.",
        (
            "The file or directory is missing or belongs to another account.",
            "The disk is full or read-only.",
            "A port is taken by another program.",
        ),
        "ls -l, df -h, dmesg.",
    ),
    Fault(
        "MS-906",
        "installation incomplete",
        "Install as the message says, into a virtual environment of its own.",
        "A package that this command needs is missing, or a foreign package hides ours.",
        (
            "An extra (opcua, timestamp) was not installed.",
            "Another package named agent, drivers or config is in the same environment.",
        ),
        "pip list in the environment of meterseal.",
    ),
    Fault(
        "MS-907",
        "agent stands still",
        "dmesg: look for errors of the disk or card that the state directory lies on.",
        "The ledger's thread or the polling of a link has not moved for long. systemd ends the agent and starts it anew.",
        (
            "The disk hangs: a worn-out SD card, or a network disk that is away.",
            "The gateway was overloaded, or out of memory, for minutes.",
            "A fault of meterseal: send the journal.",
        ),
        "journalctl -u meterseal METERSEAL_CODE=MS-907 and the lines before it; systemctl show meterseal -p NRestarts.",
    ),
)
