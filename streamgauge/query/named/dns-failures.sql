-- Which workloads ask for names that they do not get?
--
-- parameters:
--   limit (number) = 50: rows shown
-- columns:
--   source: namespace/workload of the client, or its address
--   name: asked for
--   outcome: NXDOMAIN, SERVFAIL, …, or no answer
--   failures: responses with that outcome, or queries without one
--   servers: resolvers that said so
--   last_seen: the last of them
WITH failed AS (
  SELECT
    d.node,
    d.interface,
    d.observation_point,
    d.client_ip,
    d.server_ip,
    coalesce(a.who, d.client_ip) AS source,
    coalesce(d.dns_name, '') AS name,
    CASE
      WHEN d.dns_unanswered THEN 'no answer'
      WHEN d.dns_rcode = 1 THEN 'FORMERR'
      WHEN d.dns_rcode = 2 THEN 'SERVFAIL'
      WHEN d.dns_rcode = 3 THEN 'NXDOMAIN'
      WHEN d.dns_rcode = 4 THEN 'NOTIMP'
      WHEN d.dns_rcode = 5 THEN 'REFUSED'
      ELSE 'rcode ' || CAST(d.dns_rcode AS VARCHAR(5))
    END AS outcome,
    -- A query without an answer stands in a row of no packet.
    CASE WHEN d.dns_unanswered THEN 1 ELSE d.packets END AS failures,
    ns(d.time) AS time_ns
  FROM dns d
  LEFT JOIN names a ON a.ip = d.client_ip AND ns(d.time) >= a.from_ns AND ns(d.time) < a.to_ns
  WHERE d.dns_rcode > 0 OR d.dns_unanswered
),
captured AS (
  SELECT
    client_ip,
    server_ip,
    source,
    name,
    outcome,
    node,
    interface,
    observation_point,
    sum(failures) AS failures,
    max(time_ns) AS last_ns
  FROM failed
  GROUP BY client_ip, server_ip, source, name, outcome, node, interface, observation_point
),
ranked AS (
  SELECT
    captured.*,
    row_number() OVER (
      PARTITION BY client_ip, server_ip, source, name, outcome
      ORDER BY failures DESC, node, interface, observation_point
    ) AS place
  FROM captured
)
SELECT
  source,
  name,
  outcome,
  CAST(sum(failures) AS BIGINT) AS failures,
  count(DISTINCT server_ip) AS servers,
  moment(max(last_ns)) AS last_seen
FROM ranked
WHERE place = 1
GROUP BY source, name, outcome
ORDER BY failures DESC, source, name, outcome
LIMIT $limit
