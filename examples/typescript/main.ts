// Who asks DNS for what: npm start -- nats://127.0.0.1:4222 [COUNT]
import { connect, type Msg } from "@nats-io/transport-node";
import { compressionRegistry, CompressionType, tableFromIPC } from "apache-arrow";
import lz4 from "lz4js";

// Bodies are compressed by LZ4 unless a collector is told otherwise; Arrow for JavaScript brings no codec of its own.
compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: (data) => lz4.decompress(data) });

interface Row {
  src_ip?: string;
  dns_name?: string;
  dns_rcode?: number;
}

/** An IP address is 16 bytes; IPv4 stands in the last four, behind ::ffff. */
function address(packed: Uint8Array): string {
  const mapped = packed.subarray(0, 10).every((byte) => byte === 0) && packed[10] === 255 && packed[11] === 255;
  if (mapped) return packed.subarray(12).join(".");
  const groups = Array.from({ length: 8 }, (_, at) => ((packed[2 * at]! << 8) | packed[2 * at + 1]!).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

function rows(message: Msg): Row[] {
  if (message.headers?.get("Content-Type") === "application/x-ndjson") {
    return message.string().split("\n").filter(Boolean).map((line) => JSON.parse(line) as Row);
  }
  // Columns without any value are left out of a batch.
  return tableFromIPC(message.data).toArray().map((row) => ({
    src_ip: row["src_ip"] ? address(row["src_ip"]) : undefined,
    dns_name: row["dns_name"] ?? undefined,
    dns_rcode: row["dns_rcode"] ?? undefined,
  }));
}

/**
 * Tells what is missing between two batches of a node and class; a restart of the collector (another boot) is no gap.
 * One that was sent again may still come: after up to seven later ones of its node.
 */
class Gaps {
  #last = new Map<string, { boot: string; number: number }>();

  see(message: Msg): void {
    const header = (name: string) => message.headers?.get(`Streamgauge-${name}`) ?? "";
    const boot = header("Boot");
    let number = Number(header("Class-Sequence"));
    const last = this.#last.get(message.subject);
    if (last?.boot === boot) {
      if (number > last.number + 1) {
        console.error(`missed: ${header("Node")}: batches ${last.number + 1} to ${number - 1}`);
      } else if (number <= last.number) {
        console.error(`late, or a second time: ${header("Node")}: batch ${number}`);
        number = last.number;
      }
    }
    this.#last.set(message.subject, { boot, number });
  }
}

const [url, count] = process.argv.slice(2);
if (!url) {
  console.error("usage: npm start -- nats://HOST:4222 [COUNT]");
  process.exit(2);
}
const { NATS_USER: user, NATS_PASSWORD: pass, NATS_CA: caFile } = process.env;
const connection = await connect({ servers: url, user, pass, tls: caFile ? { caFile } : null, maxReconnectAttempts: -1 });
const gaps = new Gaps();
let left = count ? Number(count) : Infinity;
for await (const message of connection.subscribe("traffic.v1.*.dns")) {
  gaps.see(message);
  for (const row of rows(message)) {
    const code = row.dns_rcode === undefined ? "" : ` rcode ${row.dns_rcode}`;
    console.log(`${message.headers?.get("Streamgauge-Node")} ${row.src_ip} ${row.dns_name}${code}`);
    if (--left <= 0) break;
  }
  if (left <= 0) break;
}
await connection.close();
