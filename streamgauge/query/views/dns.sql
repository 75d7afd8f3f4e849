-- DNS messages, one row each, with the side that asks and the side that answers.
SELECT
  time,
  node,
  CASE WHEN dns_response THEN dst_ip ELSE src_ip END AS client_ip,
  CASE WHEN dns_response THEN dst_port ELSE src_port END AS client_port,
  CASE WHEN dns_response THEN src_ip ELSE dst_ip END AS server_ip,
  CASE WHEN dns_response THEN src_port ELSE dst_port END AS server_port,
  app,
  dns_id,
  dns_response,
  dns_name,
  dns_type,
  dns_rcode,
  dns_answers,
  dns_latency,
  dns_unanswered,
  packets,
  bytes,
  interface,
  observation_point
FROM summaries
WHERE dns_id IS NOT NULL
