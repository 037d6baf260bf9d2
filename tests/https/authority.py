"""An ACME authority that is not well: `authority.py CERTIFICATE KEY HOW`. It says at which port it listens.

HOW is `error` (every answer is a 503), `refuse` (no order is taken, for there were too many) or `slow` (it never answers).
"""

import http.server
import json
import ssl
import sys
import time

certificate, key, how = sys.argv[1:]


class Authority(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, document, **headers):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Replay-Nonce", "a-nonce-for-everybody")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if how == "slow":
            time.sleep(3600)
        base = f"https://127.0.0.1:{self.server.server_port}"
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        if how == "error":
            self.answer(503, {"type": "about:blank", "detail": "the authority is being mended"})
        elif self.path == "/directory":
            self.answer(200, {name: f"{base}/{name}" for name in ("newNonce", "newAccount", "newOrder", "revokeCert")})
        elif self.path == "/newOrder":
            kind = "urn:ietf:params:acme:error:rateLimited"
            self.answer(429, {"type": kind, "detail": "too many certificates (5) already issued", "status": 429})
        else:
            self.answer(201, {"status": "valid"}, Location=f"{base}/account/1")

    do_POST = do_HEAD = do_GET


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Authority)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_port, flush=True)
server.serve_forever()
