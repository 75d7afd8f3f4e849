"""A real Chromium, driven by its debugging protocol over pipes: no driver, no port, nothing to install beside it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import tempfile
from pathlib import Path

from tests.support import require

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)


class Page:
    """One page of a browser of its own: ``async with Page() as page: await page.open(url)``."""

    def __init__(self, *, width=1400, height=1000, dark=False):
        self._size = (width, height)
        self._dark = dark
        self._next = 0
        self._answers = {}
        self._session = None
        #: Errors of scripts, refused loads and other complaints of the console.
        self.complaints = []

    async def __aenter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="sg-browser-")
        commands, self._commands = os.pipe()
        self._events, events = os.pipe()
        # Chromium reads commands from file descriptor 3 and writes answers to 4.
        script = f'exec "$0" "$@" 3<&{commands} 4>&{events}'
        program = require.program("chromium")
        arguments = (*_FLAGS, f"--user-data-dir={self._folder.name}", "about:blank")
        self._process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script, program, *arguments),
            pass_fds=(commands, events),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(events)
        reader = asyncio.StreamReader(limit=64 << 20)
        protocol = asyncio.StreamReaderProtocol(reader)
        pipe = os.fdopen(self._events, "rb", 0)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        self._listener = asyncio.get_running_loop().create_task(self._listen(reader))
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.resize(*self._size)
        await self.prefer(dark=self._dark)
        return self

    async def __aexit__(self, *_error):
        self._session = None
        await self.call("Browser.close")
        await self._process.wait()
        self._listener.cancel()
        self._transport.close()
        os.close(self._commands)
        self._folder.cleanup()

    async def call(self, method, **parameters):
        """Send a command and return its answer."""
        self._next += 1
        message = {"id": self._next, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        answer = self._answers[self._next] = asyncio.get_running_loop().create_future()
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        return await asyncio.wait_for(answer, 30)

    async def resize(self, width, height):
        """Become so many pixels wide and high; below 600 as a phone."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def prefer(self, *, dark):
        """Pretend that the system prefers dark or light."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[feature])

    async def open(self, url):
        """Go to an address."""
        answer = await self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer["errorText"]

    async def value(self, expression):
        """Return the value of a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def press(self, key):
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def screenshot(self, path):
        """Write a picture of the whole page."""
        answer = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(Path(path).write_bytes, base64.b64decode(answer["data"]))

    async def _listen(self, reader):
        while True:
            message = json.loads((await reader.readuntil(b"\0"))[:-1])
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if "error" in message:
                    answer.set_exception(AssertionError(message["error"]["message"]))
                else:
                    answer.set_result(message["result"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.complaints.append(message["params"]["exceptionDetails"])
            elif message["method"] == "Log.entryAdded":
                self.complaints.append(message["params"]["entry"]["text"])
