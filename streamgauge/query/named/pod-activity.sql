-- What did this pod do between two times? Give the times with --since and --until.
--
-- rows:
--   src_ip IN (SELECT ip FROM names WHERE name = $pod OR namespace || '/' || name = $pod UNION ALL SELECT $pod)
--   OR dst_ip IN (SELECT ip FROM names WHERE name = $pod OR namespace || '/' || name = $pod UNION ALL SELECT $pod)
-- parameters:
--   pod (text): namespace/name, the name alone, or an address
--   limit (number) = 200: rows shown
-- columns:
--   direction: out when the pod is the client, in when it is the server
--   peer: namespace/workload of the other end; unknown inside, world outside the cluster
--   peer_ip, port, protocol: the other end; the port of the server, the protocol by its number
--   app, name: dns, tls, http, …, and the name that was asked for
--   connections, bytes_sent, bytes_received: of the pod
--   first_seen, last_seen: when
WITH addresses AS (
  SELECT ip, from_ns, to_ns
  FROM names
  WHERE name = $pod OR namespace || '/' || name = $pod
  UNION
  SELECT $pod AS ip, 0 AS from_ns, 9200000000000000000 AS to_ns
),
activity AS (
  SELECT
    CASE WHEN p.ip IS NULL THEN 'in' ELSE 'out' END AS direction,
    CASE WHEN p.ip IS NULL THEN c.client_ip ELSE c.server_ip END AS peer_ip,
    c.server_port AS port,
    c.ip_protocol,
    c.app,
    c.server_name,
    CASE WHEN p.ip IS NULL THEN c.server_bytes ELSE c.client_bytes END AS sent,
    CASE WHEN p.ip IS NULL THEN c.client_bytes ELSE c.server_bytes END AS received,
    c.first_ns,
    c.last_ns
  FROM conversations c
  LEFT JOIN addresses p ON p.ip = c.client_ip AND c.first_ns >= p.from_ns AND c.first_ns < p.to_ns
  LEFT JOIN addresses q ON q.ip = c.server_ip AND c.first_ns >= q.from_ns AND c.first_ns < q.to_ns
  WHERE p.ip IS NOT NULL OR q.ip IS NOT NULL
)
SELECT
  t.direction,
  coalesce(b.who, CASE WHEN is_inside(t.peer_ip) THEN 'unknown' ELSE 'world' END) AS peer,
  t.peer_ip,
  t.port,
  t.ip_protocol AS protocol,
  t.app,
  t.server_name AS name,
  count(*) AS connections,
  CAST(sum(t.sent) AS BIGINT) AS bytes_sent,
  CAST(sum(t.received) AS BIGINT) AS bytes_received,
  moment(min(t.first_ns)) AS first_seen,
  moment(max(t.last_ns)) AS last_seen
FROM activity t
LEFT JOIN names b ON b.ip = t.peer_ip AND t.first_ns >= b.from_ns AND t.first_ns < b.to_ns
GROUP BY
  t.direction,
  coalesce(b.who, CASE WHEN is_inside(t.peer_ip) THEN 'unknown' ELSE 'world' END),
  t.peer_ip,
  t.port,
  t.ip_protocol,
  t.app,
  t.server_name
ORDER BY first_seen, direction, peer_ip, port, protocol, app, name
LIMIT $limit
