-- What leaves the cluster, from whom and where to? Inside is what --inside says.
--
-- rows:
--   is_inside(src_ip) <> is_inside(dst_ip)
-- parameters:
--   limit (number) = 50: rows shown
-- columns:
--   source: namespace/workload, or the address
--   destination_ip: outside the cluster
--   port, protocol: of the outside end; the protocol by its number
--   name: asked for (TLS server name, HTTP host)
--   bytes_out, bytes_in: as on the wire
--   connections: flows
--   last_seen: the last packet
WITH outward AS (
  SELECT
    CASE WHEN is_inside(client_ip) THEN client_ip ELSE server_ip END AS inner_ip,
    CASE WHEN is_inside(client_ip) THEN server_ip ELSE client_ip END AS outer_ip,
    CASE WHEN is_inside(client_ip) THEN server_port ELSE client_port END AS outer_port,
    ip_protocol,
    server_name,
    CASE WHEN is_inside(client_ip) THEN client_bytes ELSE server_bytes END AS bytes_out,
    CASE WHEN is_inside(client_ip) THEN server_bytes ELSE client_bytes END AS bytes_in,
    first_ns,
    last_ns
  FROM conversations
  WHERE is_inside(client_ip) <> is_inside(server_ip)
)
SELECT
  coalesce(a.who, o.inner_ip) AS source,
  o.outer_ip AS destination_ip,
  o.outer_port AS port,
  o.ip_protocol AS protocol,
  max(o.server_name) AS name,
  CAST(sum(o.bytes_out) AS BIGINT) AS bytes_out,
  CAST(sum(o.bytes_in) AS BIGINT) AS bytes_in,
  count(*) AS connections,
  moment(max(o.last_ns)) AS last_seen
FROM outward o
LEFT JOIN names a ON a.ip = o.inner_ip AND o.first_ns >= a.from_ns AND o.first_ns < a.to_ns
GROUP BY coalesce(a.who, o.inner_ip), o.outer_ip, o.outer_port, o.ip_protocol
ORDER BY bytes_out DESC, source, destination_ip, port, protocol
LIMIT $limit
