"""A server that speaks as much of Weights & Biases' protocol as a run and a workspace need."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "k" * 40


@dataclass
class Stub:
    """What the server was told: upserted runs and views, and the lines of each of a run's streams."""

    url: str = ""
    errors: bool = False
    """Whether every GraphQL operation is refused."""
    buckets: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    streams: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)

    def history(self, run: str | None = None) -> list[dict[str, Any]]:
        """The rows of a run's history, or of all runs', in the order of their steps."""
        kept: dict[str, list[str]] = {}
        for stream in self.streams:
            if file := stream.get("files", {}).get("wandb-history.jsonl"):
                lines = kept.setdefault(stream["run"], [])
                lines[file["offset"] :] = file["content"]
        found = [line for name, lines in kept.items() if run in (None, name) for line in lines]
        return sorted(map(json.loads, found), key=lambda line: line["_step"])

    def exit_codes(self) -> list[int]:
        """The code with which each process ended its part of the run."""
        return [stream["exitcode"] for stream in self.streams if stream.get("complete")]


def answer(stub: Stub, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The data of a GraphQL operation; unknown ones get nothing, which wandb takes for an old server."""
    project = {"id": "p1", "name": "tollgate", "entity": {"name": "me"}}
    if "upsertBucket" in query:
        is_new = all(it["name"] != variables["name"] for it in stub.buckets)
        stub.buckets.append(variables)
        run = {"id": "r1", "name": variables["name"], "displayName": "run", "project": project}
        return {
            "upsertBucket": {"bucket": run | {"historyLineCount": 0, "sweepName": None}, "inserted": is_new}
        }
    if "createArtifact(" in query:
        stub.artifacts.append(variables["input"])
        return {"createArtifact": {"artifact": {"id": f"a{len(stub.artifacts)}", "state": "COMMITTED"}}}
    if "RunResumeStatus" in query and any(it["name"] == variables["name"] for it in stub.buckets):
        rows = stub.history(variables["name"])
        run = {
            "id": "r1",
            "name": variables["name"],
            "summaryMetrics": json.dumps(rows[-1] if rows else {}),
            "displayName": "run",
            "config": "{}",
            "historyLineCount": len(rows),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]),
            "eventsTail": "[]",
            "tags": [],
            "wandbConfig": json.dumps({"t": {}}),
        }
        return {
            "model": {"id": "p1", "name": "tollgate", "entity": {"id": "e1", "name": "me"}, "bucket": run}
        }
    if "upsertView" in query:
        stub.views.append(variables)
        return {"upsertView": {"view": {"id": "v1", "name": variables.get("name") or "nw1", "spec": "{}"}}}
    if "viewer" in query:
        return {
            "viewer": {"id": "u1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        }
    files = {"runID": "r1", "uploadHeaders": [], "files": []}
    return {"project": project | {"artifact": None}, "createRunFiles": files}


@contextmanager
def wandb_stub() -> Iterator[Stub]:
    """The server on a free port of this machine."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            content: dict[str, Any] = {}
            if self.path == "/graphql":
                asked = json.loads(body)
                content = {"data": answer(stub, asked["query"], asked.get("variables") or {})}
            elif self.path.endswith("/file_stream"):
                stub.streams.append(json.loads(body) | {"run": self.path.split("/")[-2]})
            text = json.dumps(content).encode()
            self.send_response(403 if stub.errors else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
