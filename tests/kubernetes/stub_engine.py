"""An engine that is up at once, for tests of deployment: answers health, models and completions; words do the rest.

stub_engine.py [--port 8080] [--exit-code N] [--say TEXT] [--hang] [--ignore-term] [--stop-s S] [--eat-mb MB]
               [--fail-half] [--die-after N] [--fault none|crash|memory|restart] [anything else is taken without a word]
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="0.0.0.0")
parser.add_argument("--port", type=int, default=8080)
parser.add_argument("--exit-code", type=int)
parser.add_argument("--say", action="append", default=[])
parser.add_argument("--hang", action="store_true")
parser.add_argument("--ignore-term", action="store_true")
parser.add_argument("--stop-s", type=float, default=0.0)
parser.add_argument("--eat-mb", type=int, default=0)
parser.add_argument("--fail-half", action="store_true")
parser.add_argument("--die-after", type=int, default=0)
parser.add_argument("--fault", choices=["none", "crash", "memory", "restart"])
options, _ = parser.parse_known_args()
# As one parameter of a study, so that its trials end in several ways.
if options.fault == "crash":
    options.exit_code, options.say = 3, ["RuntimeError: the weights are not what the config says"]
elif options.fault == "memory":
    options.eat_mb = 400
elif options.fault == "restart":
    options.die_after = 1
posts = 0


def stop(*_: object) -> None:
    time.sleep(options.stop_s)
    os._exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if options.ignore_term else stop)
for line in options.say:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
hoard = bytearray(options.eat_mb << 20)
for at in range(0, len(hoard), 4096):
    hoard[at] = 1
if options.eat_mb:
    time.sleep(600)
if options.exit_code is not None:
    sys.exit(options.exit_code)
if options.hang:
    time.sleep(600)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/version":
            self.answer(200, {"version": "0.9.1"})
            return
        self.answer(200, {"object": "list", "data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        global posts
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        posts += 1
        if options.die_after and posts > options.die_after:
            sys.stdout.write("terminate called after throwing: the engine gave up\n")
            sys.stdout.flush()
            os._exit(3)
        if options.fail_half and posts > 3 and posts % 2:
            self.answer(500, {"error": "every second one"})
            return
        if not asked.get("stream"):
            self.answer(200, {"choices": [{"message": {"content": "noise"}}], "usage": {"completion_tokens": 1}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        tokens = int(asked.get("max_tokens") or 8)
        for number in range(tokens):
            time.sleep(0.002)
            self.piece({"choices": [{"index": 0, "delta": {"content": f" w{number}"}, "finish_reason": None}]})
        usage = {"prompt_tokens": 16, "completion_tokens": tokens, "total_tokens": 16 + tokens}
        self.piece({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.piece({"choices": [], "usage": usage})
        self.write(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def piece(self, body: object) -> None:
        self.write(b"data: " + json.dumps(body).encode() + b"\n\n")

    def write(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


server = ThreadingHTTPServer((options.host, options.port), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
threading.Event().wait()
