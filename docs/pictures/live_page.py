"""Takes the picture of the live page for the README: ``python -m docs.pictures.live_page FOLDER``.

Runs the demo for a minute, on a loopback where only its own traffic is, and looks at its page in Chromium, light and
dark, on a desk and on a phone. Fails if a part of the page has no data by then, or the browser complains.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Final

from docs.pictures import alone
from tests.support.browser import Page

#: Seconds of traffic before the picture is taken.
_SECONDS: Final = 60.0
#: Name, width, height in pixels, dark.
_PICTURES: Final = (
    ("live-page", 1400, 1250, False),
    ("live-page-dark", 1400, 1250, True),
    ("live-page-phone", 390, 844, False),
)
_EMPTY: Final = "[...document.querySelectorAll('.empty')].map((each) => each.closest('article').innerText)"


async def _main(folder: Path) -> int:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamgauge.cli.main", "demo", "--no-open", "--rate", "600"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert demo.stdout is not None
    try:
        url = None
        while url is None:
            line = (await demo.stdout.readline()).decode()
            found = re.search(r"live page: (\S+)", line)
            url = found[1] if found else None
        reading = asyncio.ensure_future(demo.stdout.read())
        await asyncio.sleep(_SECONDS)
        for name, width, height, dark in _PICTURES:
            async with Page(width=width, height=height, dark=dark) as page:
                await page.open(url)
                await asyncio.sleep(6)
                await page.screenshot(folder / f"{name}.png")
                empty = await page.value(_EMPTY)
                if empty or page.complaints:
                    sys.exit(f"{name}: without data: {empty}; complaints: {page.complaints}")
    finally:
        demo.send_signal(signal.SIGINT)
        await reading
        await demo.wait()
    return 0


if __name__ == "__main__":
    if sys.argv[2:] != ["alone"]:
        again = [*alone.prefix(), sys.executable, "-m", "docs.pictures.live_page", sys.argv[1], "alone"]
        os.execvp(again[0], again)  # noqa: S606 no shell
    sys.exit(asyncio.run(_main(Path(sys.argv[1]))))
