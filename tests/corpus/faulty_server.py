"""An HTTP server in a thread that serves bytes by path, with Range requests, and with the faults it is told."""

import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultyServer:
    """`files` are bodies by path; `faults` are lists of faults by path, one used up by each GET.

    "503", "429", "403"   that status                    "drop"   half of the body, then the connection is closed
    "ignore range"        the whole body, always         "short"  a Content-Length and body of half
    "spoilt"              a body with a wrong byte       "slow"   64 KiB, then nothing until `release`
    """

    def __init__(self):
        self.files, self.faults, self.headers, self.redirects = {}, {}, {}, {}
        self.requests, self.ranges = Counter(), []
        self.etags, self.ranges_known, self.heads = {}, True, True
        self.release, self.started = threading.Event(), threading.Event()

    def times(self, path):
        return self.requests["GET", path]


@contextmanager
def serving():
    state = FaultyServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(state):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            state.requests[self.command, self.path] += 1
            if self.path in state.redirects:
                target, headers = state.redirects[self.path]
                return self.send(302, b"", {"Location": target, **headers}, body)
            if self.path not in state.files:
                return self.send(404, b"no", {}, body)
            if not body and not state.heads:
                return self.send(405, b"", {}, body)
            data = state.files[self.path]
            faults = state.faults.get(self.path, [])
            fault = faults.pop(0) if body and faults else None
            headers = {"ETag": f'"{state.etags[self.path]}"'} if self.path in state.etags else {}
            headers |= state.headers.get(self.path, {})
            if fault and fault.isdigit():
                return self.send(int(fault), b"later", {}, body)
            status, first = 200, 0
            asked = self.headers.get("Range")
            if asked and state.ranges_known and fault != "ignore range":
                state.ranges.append((self.path, asked, self.headers.get("If-Range")))
                same = self.headers.get("If-Range") in (None, headers.get("ETag"))
                first = int(asked.removeprefix("bytes=").rstrip("-")) if same else 0
                if first >= len(data):
                    return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"}, body)
                if first:
                    status, headers = 206, {**headers, "Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
            data = data[first:]
            if fault == "spoilt":
                data = data[:-1] + bytes([data[-1] ^ 1])
            if fault == "short":
                data = data[: len(data) // 2]
            return self.send(status, data, headers, body, fault)

        def send(self, status, data, headers, body, fault=None):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            if fault == "drop":
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return
            if fault == "slow":
                self.wfile.write(data[: 64 << 10])
                self.wfile.flush()
                state.started.set()
                state.release.wait(60)
                self.close_connection = True
                return
            self.wfile.write(data)

    return Handler
