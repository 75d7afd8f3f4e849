-- Between whom does opening a TCP connection take long?
--
-- parameters:
--   slower_than_ms (number) = 100: a handshake counts as slow from here on
--   limit (number) = 20: rows shown
-- columns:
--   source, destination: namespace/workload of client and server, or the address
--   port: of the server
--   handshakes, slow: completed ones, and those slower than the bound; where most of the pair was captured
--   median_ms, p95_ms, slowest_ms: from the first SYN to the packet that completes the handshake
WITH done AS (
  -- The packet that completes a handshake comes from the client.
  SELECT
    s.src_ip,
    s.dst_ip,
    s.dst_port AS port,
    s.node,
    s.interface,
    s.observation_point,
    s.tcp_handshake AS handshake,
    coalesce(a.who, s.src_ip) AS source,
    coalesce(b.who, s.dst_ip) AS destination,
    count(*) OVER (
      PARTITION BY s.src_ip, s.dst_ip, s.dst_port, s.node, s.interface, s.observation_point
    ) AS captured
  FROM summaries s
  LEFT JOIN names a ON a.ip = s.src_ip AND ns(s.time) >= a.from_ns AND ns(s.time) < a.to_ns
  LEFT JOIN names b ON b.ip = s.dst_ip AND ns(s.time) >= b.from_ns AND ns(s.time) < b.to_ns
  WHERE s.tcp_handshake IS NOT NULL
),
placed AS (
  SELECT
    done.*,
    dense_rank() OVER (
      PARTITION BY src_ip, dst_ip, port
      ORDER BY captured DESC, node, interface, observation_point
    ) AS place
  FROM done
),
ranked AS (
  SELECT
    source,
    destination,
    port,
    handshake,
    row_number() OVER (PARTITION BY source, destination, port ORDER BY handshake) AS number,
    count(*) OVER (PARTITION BY source, destination, port) AS handshakes
  FROM placed
  WHERE place = 1
)
SELECT
  source,
  destination,
  port,
  count(*) AS handshakes,
  CAST(sum(CASE WHEN handshake >= $slower_than_ms * 1000000 THEN 1 ELSE 0 END) AS BIGINT) AS slow,
  min(CASE WHEN 2 * number >= handshakes THEN CAST(handshake AS DOUBLE) END) / 1000000 AS median_ms,
  min(CASE WHEN 20 * number >= 19 * handshakes THEN CAST(handshake AS DOUBLE) END) / 1000000 AS p95_ms,
  max(CAST(handshake AS DOUBLE)) / 1000000 AS slowest_ms
FROM ranked
GROUP BY source, destination, port
HAVING max(handshake) >= $slower_than_ms * 1000000
ORDER BY slow DESC, slowest_ms DESC, source, destination, port
LIMIT $limit
