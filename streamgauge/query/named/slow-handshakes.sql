-- Between whom does opening a TCP connection take long?
--
-- parameters:
--   slower_than_ms (number) = 100: a handshake counts as slow from here on
--   limit (number) = 20: rows shown
-- columns:
--   source, destination: namespace/workload of client and server, or the address
--   port: of the server
--   handshakes, slow: completed ones, and those slower than the bound
--   median_ms, p95_ms, slowest_ms: from the first SYN to the packet that completes the handshake
WITH done AS (
  SELECT
    coalesce(a.who, c.client_ip) AS source,
    coalesce(b.who, c.server_ip) AS destination,
    c.server_port AS port,
    c.tcp_handshake AS handshake
  FROM conversations c
  LEFT JOIN names a ON a.ip = c.client_ip AND c.first_ns >= a.from_ns AND c.first_ns < a.to_ns
  LEFT JOIN names b ON b.ip = c.server_ip AND c.first_ns >= b.from_ns AND c.first_ns < b.to_ns
  WHERE c.tcp_handshake IS NOT NULL
),
ranked AS (
  SELECT
    done.*,
    row_number() OVER (PARTITION BY source, destination, port ORDER BY handshake) AS place,
    count(*) OVER (PARTITION BY source, destination, port) AS handshakes
  FROM done
)
SELECT
  source,
  destination,
  port,
  count(*) AS handshakes,
  CAST(sum(CASE WHEN handshake >= $slower_than_ms * 1000000 THEN 1 ELSE 0 END) AS BIGINT) AS slow,
  min(CASE WHEN 2 * place >= handshakes THEN CAST(handshake AS DOUBLE) END) / 1000000 AS median_ms,
  min(CASE WHEN 20 * place >= 19 * handshakes THEN CAST(handshake AS DOUBLE) END) / 1000000 AS p95_ms,
  max(CAST(handshake AS DOUBLE)) / 1000000 AS slowest_ms
FROM ranked
GROUP BY source, destination, port
HAVING max(handshake) >= $slower_than_ms * 1000000
ORDER BY slow DESC, slowest_ms DESC, source, destination, port
LIMIT $limit
