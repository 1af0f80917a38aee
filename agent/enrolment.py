"""The enrolment form: the page that two people sign when a gateway is put to work. It, not the network, is the root of trust.

As text for a terminal and as one HTML page that loads nothing from anywhere, with the key line as a QR code. Nothing on
it is secret. What this file does not know: where keys are kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from html import escape

from agent.checkpoint import origin_of, verifier_key
from agent.seal import key_name

_LINE = "______________________"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the form says.

    Attributes:
        gateway: `site/gateway`.
        public: 32 bytes of the log's first key.
        recovery: 32 bytes of the recovery key's public half; None where none was made.
    """

    gateway: str
    public: bytes
    recovery: bytes | None = None

    @property
    def line(self) -> str:
        """The key line."""
        return verifier_key(origin_of(self.gateway), self.public)

    def rows(self) -> list[tuple[str, str]]:
        """The form's entries, name and text."""
        recovery = f"{key_name(self.recovery)}   {fingerprint(self.recovery)}" if self.recovery else "none"
        return [
            ("Gateway", self.gateway),
            ("Key name", key_name(self.public)),
            ("Fingerprint", fingerprint(self.public)),
            ("Public key", self.line),
            ("Recovery key", recovery),
        ]

    def text(self) -> str:
        """The form as text."""
        entries = "\n".join(f"{name:<14}{text}" for name, text in self.rows())
        return f"""METERSEAL  ENROLMENT OF A GATEWAY                                    keep this page with the plant's records

{entries}

Records of this gateway are believed because they are signed by the key above. The recovery key's private half is on a
sheet of its own, in the safe; it alone can revoke the key.
To verify:    meterseal verify BUNDLE.zip --key "{self.line}"

Installed by  {_LINE}   date ____________   signature {_LINE}

Witness       {_LINE}   date ____________   signature {_LINE}
"""

    def html(self) -> str:
        """The form as one HTML page to print, with the key line as a QR code; it loads nothing from anywhere."""
        import segno

        rows = "\n".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self.rows())
        code = segno.make(self.line, error="m", micro=False).svg_inline(scale=4)
        signed = "\n".join(
            f"<tr><th>{who}</th><td></td><td class='date'></td><td></td></tr>" for who in ("Installed by", "Witness")
        )
        return _PAGE.format(gateway=escape(self.gateway), rows=rows, code=code, signed=signed, line=escape(self.line))


def fingerprint(public: bytes) -> str:
    """The SHA-256 of a public key in groups of four digits, for two people to compare aloud."""
    digits = hashlib.sha256(public).hexdigest()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Enrolment of {gateway}</title>
<style>
body {{ font: 11pt/1.5 sans-serif; margin: 2cm; max-width: 18cm }}
th {{ text-align: left; vertical-align: top; padding: 2mm 5mm 2mm 0; white-space: nowrap }}
td {{ font-family: monospace; overflow-wrap: anywhere; padding: 2mm 0 }}
.signed td {{ border-bottom: 1px solid; width: 6cm; height: 1.5cm }}
.signed td.date {{ width: 3cm }}
.signed td + td {{ border-left: 5mm solid transparent }}
</style></head><body>
<h1>Enrolment of a gateway</h1>
<p>Keep this page with the plant's records.</p>
<table>
{rows}
</table>
<p>{code}</p>
<p>Records of this gateway are believed because they are signed by the key above. The recovery key's private half is on a
sheet of its own, in the safe; it alone can revoke the key.</p>
<p>To verify: <code>meterseal verify BUNDLE.zip --key "{line}"</code></p>
<table class="signed">
<tr><th></th><th>name</th><th>date</th><th>signature</th></tr>
{signed}
</table>
</body></html>
"""
