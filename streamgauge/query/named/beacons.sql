-- Who connects to the same place again and again, as regularly as a clock? Health checks do; so does malware.
--
-- parameters:
--   connections (number) = 10: fewer say nothing
--   jitter (number) = 0.1: most deviation of the pauses, as a share of the mean pause
--   limit (number) = 50: rows shown
-- columns:
--   source, destination: namespace/workload of client and server; unknown inside, world outside the cluster
--   client_ip, server_ip, port, protocol: who, where to
--   connections: flows that began
--   pause_s: mean time from one beginning to the next
--   deviation: standard deviation of the pauses as a share of their mean: 0 is a clock
--   bytes: both directions
WITH begun AS (
  SELECT
    client_ip,
    server_ip,
    server_port,
    ip_protocol,
    first_ns,
    client_bytes + server_bytes AS bytes,
    first_ns - lag(first_ns) OVER (
      PARTITION BY client_ip, server_ip, server_port, ip_protocol
      ORDER BY first_ns
    ) AS pause
  FROM conversations
  -- A TCP conversation without a SYN goes on after a silence; it does not begin.
  WHERE ip_protocol <> 6 OR bits(client_flags, 2) = 2
),
regular AS (
  SELECT
    client_ip,
    server_ip,
    server_port,
    ip_protocol,
    count(*) AS connections,
    avg(CAST(pause AS DOUBLE)) AS pause,
    stddev_pop(CAST(pause AS DOUBLE)) AS deviation,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    max(first_ns) AS last_ns
  FROM begun
  GROUP BY client_ip, server_ip, server_port, ip_protocol
  HAVING count(*) >= $connections
)
SELECT
  coalesce(a.who, CASE WHEN is_inside(r.client_ip) THEN 'unknown' ELSE 'world' END) AS source,
  coalesce(b.who, CASE WHEN is_inside(r.server_ip) THEN 'unknown' ELSE 'world' END) AS destination,
  r.client_ip,
  r.server_ip,
  r.server_port AS port,
  r.ip_protocol AS protocol,
  r.connections,
  round(r.pause / 1000000000, 3) AS pause_s,
  round(r.deviation / r.pause, 4) AS deviation,
  r.bytes
FROM regular r
LEFT JOIN names a ON a.ip = r.client_ip AND r.last_ns >= a.from_ns AND r.last_ns < a.to_ns
LEFT JOIN names b ON b.ip = r.server_ip AND r.last_ns >= b.from_ns AND r.last_ns < b.to_ns
WHERE r.pause > 0 AND r.deviation <= $jitter * r.pause
ORDER BY connections DESC, r.client_ip, r.server_ip, port, protocol
LIMIT $limit
