-- One row a binding (an address and who has it): its last event, ended where a later whole snapshot does not have it.
WITH latest AS (
  SELECT
    identity_events.*,
    row_number() OVER (
      PARTITION BY cluster, uid, ip
      ORDER BY ns(stored) DESC, ns(time) DESC
    ) AS place
  FROM identity_events
),
whole AS (
  SELECT cluster, ns(snapshot) AS taken
  FROM identity_events
  WHERE snapshot IS NOT NULL
  GROUP BY cluster, ns(snapshot)
  HAVING count(*) >= max(snapshot_size)
),
missed AS (
  SELECT latest.cluster, latest.uid, latest.ip, min(whole.taken) AS taken
  FROM latest
  INNER JOIN whole ON whole.cluster = latest.cluster AND whole.taken > ns(latest.time)
  WHERE latest.place = 1 AND latest.valid_to IS NULL
  GROUP BY latest.cluster, latest.uid, latest.ip
)
SELECT
  latest.cluster,
  latest.ip,
  latest.object,
  latest.uid,
  latest.namespace,
  latest.name,
  latest.workload,
  latest.workload_kind,
  latest.node,
  latest.host_network,
  latest.valid_from,
  CASE WHEN latest.valid_to IS NULL THEN moment(missed.taken) ELSE moment(ns(latest.valid_to)) END AS valid_to,
  ns(latest.valid_from) AS from_ns,
  CASE WHEN latest.valid_to IS NULL THEN missed.taken ELSE ns(latest.valid_to) END AS to_ns
FROM latest
LEFT JOIN missed ON missed.cluster = latest.cluster AND missed.uid = latest.uid AND missed.ip = latest.ip
WHERE latest.place = 1
