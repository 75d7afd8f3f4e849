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
--   answered: of the targets, those that accepted the connection
--   refused: of the targets, those that sent a reset
--   first_seen, last_seen: of the packets with SYN or RST
WITH signs AS (
  -- SYN comes from the client, SYN and ACK from the server. A row of several packets has the flags of all: with both
  -- it is the client's if its port is the higher one.
  SELECT
    src_ip,
    src_port,
    dst_ip,
    dst_port,
    tcp_flags,
    ns(time) AS first_ns,
    ns(time) + duration AS last_ns,
    CASE
      WHEN bits(tcp_flags, 18) = 2 THEN 1
      WHEN bits(tcp_flags, 18) = 18 AND packets > 1 AND src_port > dst_port THEN 1
      ELSE 0
    END AS tried
  FROM summaries
  WHERE ip_protocol = 6 AND bits(tcp_flags, 6) > 0
),
tried AS (
  SELECT
    CASE WHEN tried = 1 THEN src_ip ELSE dst_ip END AS client_ip,
    CASE WHEN tried = 1 THEN dst_ip ELSE src_ip END AS server_ip,
    CASE WHEN tried = 1 THEN dst_port ELSE src_port END AS server_port,
    max(CASE WHEN bits(tcp_flags, 18) = 18 THEN 1 ELSE 0 END) AS answered,
    max(CASE WHEN tried = 0 AND bits(tcp_flags, 4) = 4 THEN 1 ELSE 0 END) AS refused,
    min(first_ns) AS first_ns,
    max(last_ns) AS last_ns
  FROM signs
  GROUP BY
    CASE WHEN tried = 1 THEN src_ip ELSE dst_ip END,
    CASE WHEN tried = 1 THEN dst_ip ELSE src_ip END,
    CASE WHEN tried = 1 THEN dst_port ELSE src_port END
  -- A reset of the client's own looks like one of a server that nobody asked.
  HAVING max(tried) = 1
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
