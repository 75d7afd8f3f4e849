-- Who an address was, from when to when, in spans that do not overlap; the exporter's rule (streamgauge/identity):
-- a pod that uses its node's address does not name it, of two that had an address the later has it from its begin on,
-- and where nobody else has it a span reaches five seconds further on both sides.
WITH spans AS (
  SELECT
    ip,
    CASE WHEN namespace = '' THEN workload ELSE namespace || '/' || workload END AS who,
    namespace,
    name,
    from_ns AS begin_ns,
    least(
      coalesce(to_ns, 9000000000000000000),
      coalesce(lead(from_ns) OVER (PARTITION BY ip ORDER BY from_ns, to_ns), 9000000000000000000)
    ) AS end_ns
  FROM identity
  WHERE NOT host_network
),
neighbours AS (
  SELECT
    spans.*,
    lag(end_ns) OVER (PARTITION BY ip ORDER BY begin_ns) AS end_before,
    lead(begin_ns) OVER (PARTITION BY ip ORDER BY begin_ns) AS begin_after
  FROM spans
  WHERE begin_ns < end_ns
)
SELECT
  ip,
  who,
  namespace,
  name,
  greatest(begin_ns - 5000000000, least(coalesce(end_before, 0) + 5000000000, begin_ns)) AS from_ns,
  least(end_ns + 5000000000, coalesce(begin_after, 9100000000000000000)) AS to_ns
FROM neighbours
