"""A headless Chromium, spoken to by its own protocol over a pipe: no driver, no port."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SECONDS = 60.0


class Browser:
    """One page; `events` holds what it reported so far."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", f"--user-data-dir={self._folder.name}", "--remote-debugging-pipe",
        ]  # fmt: skip
        # The protocol uses the descriptors 3 and 4.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
        self._process = subprocess.Popen(
            command, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: [os.dup2(end, 3 + i) for i, end in enumerate(ends)],
        )  # fmt: skip
        for end in (read, write, *ends):
            os.close(end)
        os.set_blocking(self._read, False)
        self._buffer, self._next, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._until(lambda found: found.get("id") == self._next)["result"]

    def _until(self, wanted: Any) -> dict[str, Any]:
        """Read messages until one is wanted; the others are kept as events."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if b"\0" not in self._buffer:
                try:
                    self._buffer += os.read(self._read, 1 << 20)
                except BlockingIOError:
                    time.sleep(0.01)
                continue
            line, self._buffer = self._buffer.split(b"\0", 1)
            found: dict[str, Any] = json.loads(line)
            if "error" in found:
                raise AssertionError(found["error"])
            if wanted(found):
                return found
            self.events.append(found)
        raise TimeoutError(f"no answer of the browser in {SECONDS} s")

    def open(self, path: Path, *, width: int = 1280) -> None:
        """Show a file in a window of some width, from its load on."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
            mobile=False,
        )  # fmt: skip
        self.call("Page.navigate", url=path.resolve().as_uri())
        loaded = [e for e in self.events if e.get("method") == "Page.loadEventFired"]
        if not loaded:
            self.events.append(self._until(lambda e: e.get("method") == "Page.loadEventFired"))

    def run(self, script: str) -> Any:
        """Value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings of the page, and requests to anything but itself."""
        self.run("1")  # what was reported until now has arrived
        methods = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [
            event
            for event in self.events
            if event.get("method") in methods
            or (
                event.get("method") == "Network.requestWillBeSent"
                and event["params"]["type"] != "Document"
                and not event["params"]["request"]["url"].startswith("data:")
            )
        ]
