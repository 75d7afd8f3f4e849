-- Who sends most to whom?
--
-- parameters:
--   limit (number) = 20: rows shown
-- columns:
--   source, destination: namespace/workload at the time of the packets; unknown inside, world outside the cluster
--   source_ip, destination_ip: the addresses
--   packets, bytes: as on the wire, counted once: where most of the pair was captured
--   first_seen, last_seen: capture times
WITH captured AS (
  SELECT
    s.node,
    s.interface,
    s.observation_point,
    s.src_ip,
    s.dst_ip,
    a.who AS source,
    b.who AS destination,
    sum(s.packets) AS packets,
    sum(s.bytes) AS bytes,
    min(ns(s.time)) AS first_ns,
    max(ns(s.time) + s.duration) AS last_ns
  FROM summaries s
  LEFT JOIN names a ON a.ip = s.src_ip AND ns(s.time) >= a.from_ns AND ns(s.time) < a.to_ns
  LEFT JOIN names b ON b.ip = s.dst_ip AND ns(s.time) >= b.from_ns AND ns(s.time) < b.to_ns
  WHERE s.src_ip IS NOT NULL
  GROUP BY s.node, s.interface, s.observation_point, s.src_ip, s.dst_ip, a.who, b.who
),
ranked AS (
  SELECT
    captured.*,
    row_number() OVER (
      PARTITION BY src_ip, dst_ip, source, destination
      ORDER BY bytes DESC, node, interface, observation_point
    ) AS place
  FROM captured
)
SELECT
  coalesce(source, CASE WHEN is_inside(src_ip) THEN 'unknown' ELSE 'world' END) AS source,
  coalesce(destination, CASE WHEN is_inside(dst_ip) THEN 'unknown' ELSE 'world' END) AS destination,
  src_ip AS source_ip,
  dst_ip AS destination_ip,
  CAST(packets AS BIGINT) AS packets,
  CAST(bytes AS BIGINT) AS bytes,
  moment(first_ns) AS first_seen,
  moment(last_ns) AS last_seen
FROM ranked
WHERE place = 1
ORDER BY bytes DESC, source_ip, destination_ip, source, destination
LIMIT $limit
