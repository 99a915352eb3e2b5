"""A provider whose account is limited for good: every chat is a 429 with `Retry-After: 7`.

It checks its key and puts it into the error, as careless upstreams do, so that a test sees whether
a gateway passes it on.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "canary-stub-key"


class Limited(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("authorization") != f"Bearer {KEY}":
            self.answer(401, {"error": {"message": "Incorrect API key provided"}})
            return
        message = f"Rate limit reached for key {KEY}. Please try again in 7s."
        error = {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
        self.answer(429, {"error": error}, {"Retry-After": "7"})

    def answer(self, status, value, headers=()):
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in dict(headers).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Limited)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
