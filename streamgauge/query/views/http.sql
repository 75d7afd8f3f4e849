-- HTTP/1 requests and responses, one row each, with the side that asks and the side that answers.
SELECT
  time,
  node,
  CASE WHEN http_status IS NULL THEN src_ip ELSE dst_ip END AS client_ip,
  CASE WHEN http_status IS NULL THEN src_port ELSE dst_port END AS client_port,
  CASE WHEN http_status IS NULL THEN dst_ip ELSE src_ip END AS server_ip,
  CASE WHEN http_status IS NULL THEN dst_port ELSE src_port END AS server_port,
  http_method,
  http_host,
  http_path,
  http_status,
  packets,
  bytes,
  interface,
  observation_point
FROM summaries
WHERE http_method IS NOT NULL OR http_status IS NOT NULL
