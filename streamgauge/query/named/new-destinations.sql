-- Which destinations did nobody of a workload speak to before? Before means: earlier in the window.
--
-- window: 2d
-- parameters:
--   new_since (time) = 1d: since when a destination counts as new
--   limit (number) = 100: rows shown
-- columns:
--   source: namespace/workload of the client, or its address
--   destination: namespace/workload of the server, or its address
--   port, protocol: of the server; the protocol by its number
--   name: asked for (TLS server name, HTTP host)
--   first_seen: when the first connection began
--   connections, bytes: since then, both directions
WITH spoken AS (
  SELECT
    coalesce(a.who, c.client_ip) AS source,
    coalesce(b.who, c.server_ip) AS destination,
    c.server_port AS port,
    c.ip_protocol AS protocol,
    c.server_name,
    c.first_ns,
    c.client_bytes + c.server_bytes AS bytes
  FROM conversations c
  LEFT JOIN names a ON a.ip = c.client_ip AND c.first_ns >= a.from_ns AND c.first_ns < a.to_ns
  LEFT JOIN names b ON b.ip = c.server_ip AND c.first_ns >= b.from_ns AND c.first_ns < b.to_ns
)
SELECT
  source,
  destination,
  port,
  protocol,
  max(server_name) AS name,
  moment(min(first_ns)) AS first_seen,
  count(*) AS connections,
  CAST(sum(bytes) AS BIGINT) AS bytes
FROM spoken
GROUP BY source, destination, port, protocol
HAVING min(first_ns) >= $new_since
ORDER BY bytes DESC, source, destination, port, protocol
LIMIT $limit
