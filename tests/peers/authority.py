"""A timestamp authority (RFC 3161) made of OpenSSL alone, on a free port of 127.0.0.1.

with Authority(tmp_path) as tsa: tsa.url, tsa.root (certificate that signed the authority's own, PEM)
"""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType

import pytest

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_SETTINGS = """[ca]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamping]
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
tsa_name = yes
"""


class Authority:
    """An authority; `answers` counts what it stamped, `broken` makes it answer with something else."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("openssl"):
            pytest.skip("openssl is missing: apt install openssl")
        self.folder = folder / "authority"
        self.folder.mkdir()
        self.answers = 0
        self.broken = False
        (self.folder / "settings").write_text(_SETTINGS.format(folder=self.folder))
        (self.folder / "serial").write_text("01\n")
        self._openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=Test root",
            ),
            *("-keyout", "root.key", "-out", "root.pem", "-config", "settings", "-extensions", "root"),
        )
        self._openssl(
            *("req", *_NEW_KEY, "-subj", "/CN=Test authority"),
            *("-keyout", "tsa.key", "-out", "tsa.csr", "-config", "settings"),
        )
        self._openssl(
            *("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "30"),
            *("-extfile", "settings", "-extensions", "stamping", "-out", "tsa.pem"),
        )
        self.root = (self.folder / "root.pem").read_bytes()

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=30)

    def stamp(self, query: bytes) -> bytes:
        """The answer to a query."""
        if self.broken:
            return b"out of order"
        (self.folder / "query").write_bytes(query)
        self._openssl(
            *("ts", "-reply", "-config", "settings", "-section", "authority", "-queryfile", "query", "-out", "answer"),
            *("-inkey", "tsa.key", "-signer", "tsa.pem"),
        )
        self.answers += 1
        return (self.folder / "answer").read_bytes()

    def __enter__(self) -> Authority:
        authority = self

        class Desk(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                answer = authority.stamp(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Desk)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
