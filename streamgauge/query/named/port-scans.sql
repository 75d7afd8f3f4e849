-- Who tries many doors, few of which open?
--
-- parameters:
--   targets (number) = 50: addresses and ports tried, at least
--   answered (number) = 0.2: share of them that accepted, at most
--   limit (number) = 20: rows shown
-- columns:
--   source: namespace/workload; unknown inside, world outside the cluster
--   client_ip: who
--   hosts, ports, targets: addresses, ports, and pairs of both that were tried
--   answered: of the targets, those that accepted the connection or sent data
--   refused: of the targets, those that sent a reset
--   first_seen, last_seen: when
WITH tried AS (
  SELECT
    client_ip,
    server_ip,
    server_port,
    max(CASE WHEN server_payload_bytes > 0 OR bits(server_flags, 18) = 18 THEN 1 ELSE 0 END) AS answered,
    max(CASE WHEN bits(server_flags, 4) = 4 THEN 1 ELSE 0 END) AS refused,
    min(first_ns) AS first_ns,
    max(last_ns) AS last_ns
  FROM conversations
  WHERE ip_protocol = 6
  GROUP BY client_ip, server_ip, server_port
),
scans AS (
  SELECT
    client_ip,
    count(DISTINCT server_ip) AS hosts,
    count(DISTINCT server_port) AS ports,
    count(*) AS targets,
    CAST(sum(answered) AS BIGINT) AS answered,
    CAST(sum(refused) AS BIGINT) AS refused,
    min(first_ns) AS first_ns,
    max(last_ns) AS last_ns
  FROM tried
  GROUP BY client_ip
  HAVING count(*) >= $targets AND sum(answered) <= $answered * count(*)
)
SELECT
  coalesce(a.who, CASE WHEN is_inside(s.client_ip) THEN 'unknown' ELSE 'world' END) AS source,
  s.client_ip,
  s.hosts,
  s.ports,
  s.targets,
  s.answered,
  s.refused,
  moment(s.first_ns) AS first_seen,
  moment(s.last_ns) AS last_seen
FROM scans s
LEFT JOIN names a ON a.ip = s.client_ip AND s.first_ns >= a.from_ns AND s.first_ns < a.to_ns
ORDER BY s.targets DESC, s.client_ip
LIMIT $limit
