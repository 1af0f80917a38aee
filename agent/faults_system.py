"""The faults of the agent itself and of the system it runs on (MS-9xx). Pure: nothing but text for `meterseal fault`."""

from __future__ import annotations

from agent.fault import Fault
from config.language import N_

SYSTEM = (
    Fault(
        "MS-901",
        N_("command not used as it can be"),
        N_("Read the message; the verb with --help shows what it takes."),
        N_("The command cannot do what was asked in this way. Nothing was changed."),
        (
            N_("A name, number or option is mistyped."),
            N_("Two options that exclude each other, or one too few."),
        ),
        N_("The example in README.md."),
    ),
    Fault(
        "MS-902",
        N_("agent is not running"),
        N_("systemctl start meterseal, then `meterseal status`."),
        N_("No agent runs on this state directory: nothing is read."),
        (
            N_("It was stopped, or did not start because of a mistake in site.yaml."),
            N_("--state names another directory than the agent's."),
        ),
        "journalctl -u meterseal -n 50.",
    ),
    Fault(
        "MS-903",
        N_("agent is already running"),
        N_("Stop it first (systemctl stop meterseal), or take another --state."),
        N_("Another agent holds this state directory; two would break one chain."),
        (N_("The service runs while the command is given by hand."),),
        N_("systemctl status meterseal."),
    ),
    Fault(
        "MS-904",
        N_("running agent cannot be asked"),
        N_("Give the command under the account that the agent runs under (sudo -u meterseal)."),
        N_("An agent runs, but does not answer this command."),
        (
            N_("Another account than the agent's."),
            N_("The agent was started with another site file, or is older than this program."),
            N_("The agent is overloaded."),
        ),
        N_("ls -ld of the state directory; journalctl -u meterseal -n 50."),
    ),
    Fault(
        "MS-905",
        N_("system refuses"),
        N_("Look at the file or address in the message: does it exist, and may this account use it?"),
        N_("The operating system did not allow an operation."),
        (
            N_("The file or directory is missing or belongs to another account."),
            N_("The disk is full or read-only."),
            N_("A port is taken by another program."),
        ),
        "ls -l, df -h, dmesg.",
    ),
    Fault(
        "MS-906",
        N_("installation incomplete"),
        N_("Install as the message says, into a virtual environment of its own."),
        N_("A package that this command needs is missing, or a foreign package hides ours."),
        (
            N_("An extra (opcua, timestamp) was not installed."),
            N_("Another package named agent, drivers or config is in the same environment."),
        ),
        N_("pip list in the environment of meterseal."),
    ),
    Fault(
        "MS-907",
        N_("agent stands still"),
        N_("dmesg: look for errors of the disk or card that the state directory lies on."),
        N_("The ledger's thread or the polling of a link has not moved for long. systemd ends the agent and starts it anew."),
        (
            N_("The disk hangs: a worn-out SD card, or a network disk that is away."),
            N_("The gateway was overloaded, or out of memory, for minutes."),
            N_("A fault of meterseal: send the journal."),
        ),
        N_("journalctl -u meterseal METERSEAL_CODE=MS-907 and the lines before it; systemctl show meterseal -p NRestarts."),
    ),
)
