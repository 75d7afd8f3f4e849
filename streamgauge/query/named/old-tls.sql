-- Who spoke TLS older than 1.2? What a server chose counts; what a client only offered is no conversation.
--
-- parameters:
--   limit (number) = 50: rows shown
-- columns:
--   source, destination: namespace/workload of client and server, or the address
--   port: of the server
--   version: SSL 3.0, TLS 1.0 or TLS 1.1
--   handshakes: ServerHellos with that version
--   last_seen: the last of them
WITH old AS (
  SELECT
    t.node,
    t.interface,
    t.observation_point,
    t.client_ip,
    t.server_ip,
    coalesce(a.who, t.client_ip) AS source,
    coalesce(b.who, t.server_ip) AS destination,
    t.server_port AS port,
    CASE t.tls_version
      WHEN 769 THEN 'TLS 1.0'
      WHEN 770 THEN 'TLS 1.1'
      ELSE 'SSL 3.0'
    END AS version,
    ns(t.time) AS time_ns
  FROM tls t
  LEFT JOIN names a ON a.ip = t.client_ip AND ns(t.time) >= a.from_ns AND ns(t.time) < a.to_ns
  LEFT JOIN names b ON b.ip = t.server_ip AND ns(t.time) >= b.from_ns AND ns(t.time) < b.to_ns
  WHERE t.hello = 'server' AND t.tls_version < 771
),
captured AS (
  SELECT
    client_ip,
    server_ip,
    source,
    destination,
    port,
    version,
    node,
    interface,
    observation_point,
    -- Not packets: a row of several has one hello and what follows it.
    count(*) AS handshakes,
    max(time_ns) AS last_ns
  FROM old
  GROUP BY client_ip, server_ip, source, destination, port, version, node, interface, observation_point
),
ranked AS (
  SELECT
    captured.*,
    row_number() OVER (
      PARTITION BY client_ip, server_ip, source, destination, port, version
      ORDER BY handshakes DESC, node, interface, observation_point
    ) AS place
  FROM captured
)
SELECT
  source,
  destination,
  port,
  version,
  CAST(sum(handshakes) AS BIGINT) AS handshakes,
  moment(max(last_ns)) AS last_seen
FROM ranked
WHERE place = 1
GROUP BY source, destination, port, version
ORDER BY handshakes DESC, source, destination, port, version
LIMIT $limit
