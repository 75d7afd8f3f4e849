-- TLS hellos, one row each: what a client offers, what a server chose.
SELECT
  time,
  node,
  CASE WHEN tls_cipher IS NULL THEN 'client' ELSE 'server' END AS hello,
  CASE WHEN tls_cipher IS NULL THEN src_ip ELSE dst_ip END AS client_ip,
  CASE WHEN tls_cipher IS NULL THEN src_port ELSE dst_port END AS client_port,
  CASE WHEN tls_cipher IS NULL THEN dst_ip ELSE src_ip END AS server_ip,
  CASE WHEN tls_cipher IS NULL THEN dst_port ELSE src_port END AS server_port,
  app,
  tls_version,
  tls_cipher,
  tls_sni,
  tls_alpn,
  ja4,
  packets,
  bytes,
  interface,
  observation_point
FROM summaries
WHERE tls_version IS NOT NULL OR tls_sni IS NOT NULL
