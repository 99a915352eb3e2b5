"""A stand-in for sdnext, made by its published schema (vladmandic/sdnext, modules/api).

It asks for Basic authentication, makes one image at a time, ignores a checkpoint that it does not
have without a word, and returns real PNGs of the size that it is asked for.
"""

import base64
import json
import struct
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

AUTHORIZATION = "Basic " + base64.b64encode(b"artist:canary-sdnext-key").decode()
CHECKPOINTS = [
    {"title": "base.safetensors [0123456789]", "model_name": "base", "hash": "0123456789"},
    {"title": "sks-fox.safetensors", "model_name": "sks-fox", "hash": None},
]
LOCK = threading.Lock()
STATE = {"loaded": CHECKPOINTS[0], "progress": 0.0, "inside": 0, "most_inside": 0}


def png(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\0" + b"\x80" * width) * height
    end = chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + end


def generate(request):
    with LOCK:
        STATE["inside"] += 1
        STATE["most_inside"] = max(STATE["most_inside"], STATE["inside"])
        wanted = request.get("override_settings", {}).get("sd_model_checkpoint")
        for checkpoint in CHECKPOINTS:
            if wanted in (checkpoint["title"], checkpoint["model_name"]):
                STATE["loaded"] = checkpoint
        # Long enough to be asked for its progress, where that is looked for.
        for step in range(request.get("steps", 1)):
            STATE["progress"] = step / request.get("steps", 1)
            time.sleep(0.1)
        STATE["progress"] = 0.0
        STATE["inside"] -= 1
    images = request.get("batch_size", 1) * request.get("n_iter", 1)
    first = request.get("seed", 1000)
    seeds = [first + i for i in range(images)]
    image = base64.b64encode(png(request.get("width", 1024), request.get("height", 1024))).decode()
    info = {
        "all_seeds": seeds,
        "sd_model_name": STATE["loaded"]["model_name"],
        "infotexts": [f"{request['prompt']}\nSeed: {seed}" for seed in seeds],
        "steps": request.get("steps", 20),
    }
    return {"images": [image] * images, "parameters": request, "info": json.dumps(info)}


class Sdnext(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/most-inside":
            self.answer(200, STATE["most_inside"])
        elif self.headers.get("authorization") != AUTHORIZATION:
            self.answer(401, {"detail": "Unauthorized"})
        elif path == "/sdapi/v1/sd-models":
            self.answer(200, CHECKPOINTS)
        elif path == "/sdapi/v1/progress":
            self.answer(200, {"progress": STATE["progress"], "eta_relative": 1.5, "state": {}})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("authorization") != AUTHORIZATION:
            self.answer(401, {"detail": "Unauthorized"})
        elif self.path == "/sdapi/v1/txt2img":
            self.answer(200, generate(json.loads(body)))
        else:
            self.answer(404, {"detail": "Not Found"})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Sdnext)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
