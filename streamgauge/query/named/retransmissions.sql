-- Between whom is TCP sent again?
--
-- parameters:
--   packets (number) = 10: TCP packets of the pair, at least
--   limit (number) = 20: rows shown
-- columns:
--   source, destination: namespace/workload; unknown inside, world outside the cluster
--   source_ip, destination_ip: sender and receiver
--   packets: TCP packets sent, counted once: where most of the pair was captured
--   retransmitted, out_of_order, zero_window: packets of that kind; a merged row counts with all its packets
--   share: retransmitted of all
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
    sum(CASE WHEN s.retransmission THEN s.packets ELSE 0 END) AS retransmitted,
    sum(CASE WHEN s.out_of_order THEN s.packets ELSE 0 END) AS out_of_order,
    sum(CASE WHEN s.zero_window THEN s.packets ELSE 0 END) AS zero_window
  FROM summaries s
  LEFT JOIN names a ON a.ip = s.src_ip AND ns(s.time) >= a.from_ns AND ns(s.time) < a.to_ns
  LEFT JOIN names b ON b.ip = s.dst_ip AND ns(s.time) >= b.from_ns AND ns(s.time) < b.to_ns
  WHERE s.ip_protocol = 6 AND s.src_ip IS NOT NULL
  GROUP BY s.node, s.interface, s.observation_point, s.src_ip, s.dst_ip, a.who, b.who
),
ranked AS (
  SELECT
    captured.*,
    row_number() OVER (
      PARTITION BY src_ip, dst_ip, source, destination
      ORDER BY packets DESC, node, interface, observation_point
    ) AS place
  FROM captured
)
SELECT
  coalesce(source, CASE WHEN is_inside(src_ip) THEN 'unknown' ELSE 'world' END) AS source,
  coalesce(destination, CASE WHEN is_inside(dst_ip) THEN 'unknown' ELSE 'world' END) AS destination,
  src_ip AS source_ip,
  dst_ip AS destination_ip,
  CAST(packets AS BIGINT) AS packets,
  CAST(retransmitted AS BIGINT) AS retransmitted,
  CAST(out_of_order AS BIGINT) AS out_of_order,
  CAST(zero_window AS BIGINT) AS zero_window,
  round(CAST(retransmitted AS DOUBLE) / packets, 4) AS share
FROM ranked
WHERE place = 1 AND packets >= $packets AND retransmitted > 0
ORDER BY retransmitted DESC, source_ip, destination_ip, source, destination
LIMIT $limit
