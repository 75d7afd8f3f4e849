"""Who asks DNS for what: python dns.py nats://127.0.0.1:4222 [COUNT]."""

import asyncio
import itertools
import os
import sys

import streamgauge


async def main(url: str, count: int | None) -> None:
    rows = itertools.count(1)
    user, password, authority = map(os.environ.get, ("NATS_USER", "NATS_PASSWORD", "NATS_CA"))
    reading = streamgauge.subscribe(url, "traffic.v1.*.dns", user=user, password=password, tls=authority)
    async with reading as batches:
        async for batch in batches:
            for gap in batch.gaps:
                print("missed:", gap, file=sys.stderr)
            # Only the columns that are needed become Python objects.
            for row in batch.text.select(["src_ip", "dns_name", "dns_rcode"]).to_pylist():
                code = "" if row["dns_rcode"] is None else f" rcode {row['dns_rcode']}"
                print(f"{batch.node} {row['src_ip']} {row['dns_name']}{code}", flush=True)
                if next(rows) == count:
                    return


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None))
    except KeyboardInterrupt:
        pass
    except streamgauge.StreamgaugeError as error:
        sys.exit(str(error))
