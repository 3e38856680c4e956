"""As much of the API of Kubernetes as Helm needs for a chart: it keeps objects, and runs nothing.

A Job ends at once, well or badly, and its pods cannot be changed, nor the selector of a Deployment, as in Kubernetes.
What somebody else keeps here is changed only by force. Unlike there, an object that is applied replaces the old one,
nothing is validated, and no controller makes anything. Helm has to keep its notes elsewhere: as Secrets they would come
in a form that is not read here.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Manifest = dict[str, Any]
_KINDS = {
    "v1": "ConfigMap Secret Service ServiceAccount",
    "apps/v1": "Deployment",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "Job",
    "keda.sh/v1alpha1": "ScaledObject TriggerAuthentication",
    "networking.k8s.io/v1": "NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
}
_PLURALS = {"NetworkPolicy": "networkpolicies"}
_PATH = re.compile(r"/apis?/(?P<version>.+?)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?")


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind.lower()}s")


@dataclass
class Cluster:
    """The objects of all namespaces, and what was done to them.

    Attributes:
        failing: Names of Jobs that fail. Those fail as well whose pods refer to what is not there; all others succeed.
        hanging: Names of Jobs that never end, because no pod of theirs starts.
        hung: Is set when one of these was created.
        deeds: What was done, in order: ``create``, ``change`` or ``delete``, and ``Kind/name``.
        ran: Each Job that ran, in order, with the entries of its pods' ConfigMap.
    """

    failing: set[str] = field(default_factory=set)
    hanging: set[str] = field(default_factory=set)
    hung: threading.Event = field(default_factory=threading.Event)
    deeds: list[tuple[str, str]] = field(default_factory=list)
    ran: list[tuple[str, Manifest]] = field(default_factory=list)
    _objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    _foreign: set[tuple[str, str]] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def all(self, kind: str) -> dict[str, Manifest]:
        """Return the objects of *kind*, by their names."""
        return {name: document for (plural, name), document in self._objects.items() if plural == _plural(kind)}

    def keep(self, document: Manifest) -> None:
        """Have *document* as an object that somebody else made."""
        kept = (_plural(document["kind"]), document["metadata"]["name"])
        self._objects[kept] = document
        self._foreign.add(kept)

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, Manifest | None]:
        """Return the status with which *method* on *url* is answered, and the document, if it is JSON."""
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        found = _PATH.fullmatch(path)
        if found is None:
            return _discovered(path)
        plural, name = found["plural"], found["name"]
        with self._lock:
            old = self._objects.get((plural, name))
            if method == "GET" and "watch" in query:
                return _refused(422, "Invalid", "nothing can be watched, because nothing changes by itself")
            if method == "GET" and not name:
                items = [document for (kept, _), document in self._objects.items() if kept == plural]
                return 200, {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}
            if method == "PATCH":
                return self._apply(plural, old, yaml.safe_load(body), forced=query.get("force") == ["true"])
            if old is None:
                return _refused(404, "NotFound", f"{plural} {name}")
            if method == "DELETE":
                del self._objects[plural, name]
                self._foreign.discard((plural, name))
                self.deeds.append(("delete", f"{old['kind']}/{name}"))
            return 200, old

    def _apply(self, plural: str, old: Manifest | None, document: Manifest, *, forced: bool) -> tuple[int, Manifest]:
        kind, name = document["kind"], document["metadata"]["name"]
        if (plural, name) in self._foreign and not forced:
            return _refused(409, "Conflict", f"{plural} {name} has another manager of its fields")
        if kind == "Deployment" and old and old["spec"]["selector"] != document["spec"]["selector"]:
            return _refused(422, "Invalid", "spec.selector: field is immutable")
        if kind == "Job":
            if old and old["spec"]["template"] != document["spec"]["template"]:
                return _refused(422, "Invalid", "spec.template: field is immutable")
            document["status"] = {"conditions": [] if name in self.hanging else [self._run(document)]}
        document["metadata"] |= {"uid": f"{plural}-{name}", "resourceVersion": str(len(self.deeds) + 2)}
        self._objects[plural, name] = document
        self.deeds.append(("change" if old else "create", f"{kind}/{name}"))
        if kind == "Job" and name in self.hanging:
            self.hung.set()
        return (200 if old else 201), document

    def _run(self, job: Manifest) -> Manifest:
        return {"type": "Complete" if self._succeeds(job) else "Failed", "status": "True"}

    def _succeeds(self, job: Manifest) -> bool:
        name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
        config, secret = pod["containers"][0]["envFrom"]
        wanted = [
            ("configmaps", config["configMapRef"]["name"]),
            ("secrets", secret["secretRef"]["name"]),
            ("serviceaccounts", pod["serviceAccountName"]),
        ]
        if name in self.failing or any(one not in self._objects for one in wanted):
            return False
        self.ran.append((name, self._objects[wanted[0]]["data"]))
        return True


def _refused(status: int, reason: str, message: str) -> tuple[int, Manifest]:
    fields = {"status": "Failure", "reason": reason, "message": message, "code": status}
    return status, {"kind": "Status", "apiVersion": "v1", **fields}


def _discovered(path: str) -> tuple[int, Manifest | None]:
    if path == "/openapi/v2":
        return 200, None  # no message is one of protobuf, too, and describes nothing: nothing is checked against it
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if path == "/version":
        return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
    if path == "/api":
        return 200, {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        parts = [(kept.partition("/")[0], kept, kept.partition("/")[2]) for kept in _KINDS if "/" in kept]
        versions = [(group, {"groupVersion": kept, "version": version}) for group, kept, version in parts]
        groups = [{"name": group, "versions": [v], "preferredVersion": v} for group, v in versions]
        return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if version not in _KINDS:
        return _refused(404, "NotFound", path)
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    resources = [
        {"name": _plural(kind), "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": verbs}
        for kind in _KINDS[version].split()
    ]
    return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


@contextmanager
def serving(cluster: Cluster) -> Iterator[str]:
    """Serve *cluster* and yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = cluster.answer(self.command, self.path, body)
            kind = "application/json" if document else "application/octet-stream"
            answered = json.dumps(document).encode() if document else b""
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answered)))
            self.end_headers()
            self.wfile.write(answered)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  (named by the library)

        def log_message(self, *_arguments: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_request: object) -> None:
            """Say nothing of callers that left: Helm does when it has seen enough."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
