"""A Hugging Face Hub on this machine, with what huggingface_hub asks to push and to get a model."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """One repository; `server.files` holds its files by name, `server.asked` what was asked for."""

    def log_message(self, *arguments):
        pass

    def answer(self, value):
        self.send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, body, headers, code=200):
        self.send_response(code)
        for name, text in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name, str(text))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path == "/api/repos/create":
            about = json.loads(body)
            repo = f"{about.get('organization')}/{about['name']}"
            self.answer({"url": f"http://{self.headers['Host']}/{repo}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            about = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer({"files": [{"path": name, **about} for name in names]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            where = self.path.removeprefix("/api/models").partition("/commit/")[0]
            address = f"http://{self.headers['Host']}{where}/commit/{COMMIT}"
            self.answer({"commitUrl": address, "commitOid": COMMIT})
        else:
            self.send(b"", {}, 404)

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        _, _, name = self.path.partition(f"/resolve/{COMMIT}/")
        if name in self.server.files:
            found = self.server.files[name]
            tag = f'"{hashlib.sha1(found).hexdigest()}"'
            self.send(found, {"ETag": tag, "X-Repo-Commit": COMMIT})
        elif "/tree/" in self.path:
            files = self.server.files.items()
            self.answer(
                [
                    {"type": "file", "path": n, "size": len(x), "oid": hashlib.sha1(x).hexdigest()}
                    for n, x in files
                ]
            )
        elif self.path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in self.server.files]
            repo = "/".join(self.path.split("/")[3:5])
            about = {"id": repo, "modelId": repo, "sha": COMMIT, "private": False, "tags": []}
            self.answer(about | {"siblings": siblings, "downloads": 0, "likes": 0})
        else:
            self.send(b"", {}, 404)

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def serving():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files, server.asked = {}, []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield server
        server.shutdown()
        thread.join(20)
