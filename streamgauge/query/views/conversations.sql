-- Both directions of a flow in one row, client first, counted once: where most of it was captured. After five to ten
-- minutes of silence the same ports are another conversation.
-- The client is who sent the SYN; where none was seen, the end with the higher port; else who sent first.
WITH ends AS (
  SELECT
    flows.*,
    CASE
      WHEN src_ip < dst_ip THEN TRUE
      WHEN src_ip > dst_ip THEN FALSE
      ELSE coalesce(src_port <= dst_port, TRUE)
    END AS from_low
  FROM flows
),
placed AS (
  SELECT
    ends.*,
    CASE WHEN from_low THEN src_ip ELSE dst_ip END AS low_ip,
    CASE WHEN from_low THEN src_port ELSE dst_port END AS low_port,
    CASE WHEN from_low THEN dst_ip ELSE src_ip END AS high_ip,
    CASE WHEN from_low THEN dst_port ELSE src_port END AS high_port
  FROM ends
),
numbered AS (
  -- Periods without a gap between them lie as far from each other as their ranks: the difference is one number.
  SELECT
    placed.*,
    period - 300000000000 * dense_rank() OVER (
      PARTITION BY ip_protocol, low_ip, low_port, high_ip, high_port
      ORDER BY period
    ) AS number
  FROM placed
),
joined AS (
  SELECT
    node,
    interface,
    observation_point,
    ip_protocol,
    low_ip,
    low_port,
    high_ip,
    high_port,
    number,
    max(CASE WHEN from_low THEN opens ELSE 0 END) AS low_opens,
    max(CASE WHEN from_low THEN 0 ELSE opens END) AS high_opens,
    max(CASE WHEN from_low THEN accepts ELSE 0 END) AS low_accepts,
    max(CASE WHEN from_low THEN 0 ELSE accepts END) AS high_accepts,
    min(CASE WHEN from_low THEN first_ns END) AS low_first,
    min(CASE WHEN from_low THEN NULL ELSE first_ns END) AS high_first,
    max(last_ns) AS last_ns,
    CAST(sum(packets) AS BIGINT) AS packets,
    CAST(sum(CASE WHEN from_low THEN packets ELSE 0 END) AS BIGINT) AS low_packets,
    CAST(sum(CASE WHEN from_low THEN 0 ELSE packets END) AS BIGINT) AS high_packets,
    CAST(sum(CASE WHEN from_low THEN bytes ELSE 0 END) AS BIGINT) AS low_bytes,
    CAST(sum(CASE WHEN from_low THEN 0 ELSE bytes END) AS BIGINT) AS high_bytes,
    CAST(sum(CASE WHEN from_low THEN payload_bytes ELSE 0 END) AS BIGINT) AS low_payload,
    CAST(sum(CASE WHEN from_low THEN 0 ELSE payload_bytes END) AS BIGINT) AS high_payload,
    bit_or(CASE WHEN from_low THEN tcp_flags END) AS low_flags,
    bit_or(CASE WHEN from_low THEN NULL ELSE tcp_flags END) AS high_flags,
    CAST(sum(retransmissions) AS BIGINT) AS retransmissions,
    CAST(sum(out_of_order) AS BIGINT) AS out_of_order,
    CAST(sum(zero_windows) AS BIGINT) AS zero_windows,
    min(tcp_rtt) AS tcp_rtt,
    min(tcp_handshake) AS tcp_handshake,
    max(app) AS app,
    max(server_name) AS server_name,
    max(community_id) AS community_id,
    min(CASE WHEN from_low THEN icmp_type END) AS low_icmp_type,
    min(CASE WHEN from_low THEN NULL ELSE icmp_type END) AS high_icmp_type,
    min(CASE WHEN from_low THEN icmp_code END) AS low_icmp_code,
    min(CASE WHEN from_low THEN NULL ELSE icmp_code END) AS high_icmp_code,
    min(CASE WHEN from_low THEN first_syn END) AS low_syn,
    min(CASE WHEN from_low THEN NULL ELSE first_syn END) AS high_syn,
    min(CASE WHEN from_low THEN first_syn_ack END) AS low_syn_ack,
    min(CASE WHEN from_low THEN NULL ELSE first_syn_ack END) AS high_syn_ack,
    min(CASE WHEN from_low THEN first_ack END) AS low_ack,
    min(CASE WHEN from_low THEN NULL ELSE first_ack END) AS high_ack,
    min(CASE WHEN from_low THEN first_data END) AS low_data,
    min(CASE WHEN from_low THEN NULL ELSE first_data END) AS high_data,
    min(CASE WHEN from_low THEN first_fin END) AS low_fin,
    min(CASE WHEN from_low THEN NULL ELSE first_fin END) AS high_fin,
    min(CASE WHEN from_low THEN first_rst END) AS low_rst,
    min(CASE WHEN from_low THEN NULL ELSE first_rst END) AS high_rst,
    min(CASE WHEN from_low THEN first_retransmission END) AS low_again,
    min(CASE WHEN from_low THEN NULL ELSE first_retransmission END) AS high_again,
    min(CASE WHEN from_low THEN first_zero_window END) AS low_closed,
    min(CASE WHEN from_low THEN NULL ELSE first_zero_window END) AS high_closed
  FROM numbered
  GROUP BY node, interface, observation_point, ip_protocol, low_ip, low_port, high_ip, high_port, number
),
oriented AS (
  SELECT
    joined.*,
    CASE
      WHEN low_opens > high_opens THEN TRUE
      WHEN high_opens > low_opens THEN FALSE
      WHEN high_accepts > low_accepts THEN TRUE
      WHEN low_accepts > high_accepts THEN FALSE
      WHEN low_port > high_port THEN TRUE
      WHEN low_port < high_port THEN FALSE
      ELSE high_first IS NULL OR coalesce(low_first <= high_first, FALSE)
    END AS client_low,
    row_number() OVER (
      PARTITION BY ip_protocol, low_ip, low_port, high_ip, high_port, number
      ORDER BY packets DESC, node, interface, observation_point
    ) AS place
  FROM joined
)
SELECT
  moment(least(coalesce(low_first, high_first), coalesce(high_first, low_first))) AS first_time,
  moment(last_ns) AS last_time,
  least(coalesce(low_first, high_first), coalesce(high_first, low_first)) AS first_ns,
  last_ns,
  node,
  interface,
  ip_protocol,
  CASE WHEN client_low THEN low_ip ELSE high_ip END AS client_ip,
  CASE WHEN client_low THEN low_port ELSE high_port END AS client_port,
  CASE WHEN client_low THEN high_ip ELSE low_ip END AS server_ip,
  CASE WHEN client_low THEN high_port ELSE low_port END AS server_port,
  app,
  server_name,
  CASE WHEN client_low THEN low_packets ELSE high_packets END AS client_packets,
  CASE WHEN client_low THEN high_packets ELSE low_packets END AS server_packets,
  CASE WHEN client_low THEN low_bytes ELSE high_bytes END AS client_bytes,
  CASE WHEN client_low THEN high_bytes ELSE low_bytes END AS server_bytes,
  CASE WHEN client_low THEN low_payload ELSE high_payload END AS client_payload_bytes,
  CASE WHEN client_low THEN high_payload ELSE low_payload END AS server_payload_bytes,
  CASE WHEN client_low THEN low_flags ELSE high_flags END AS client_flags,
  CASE WHEN client_low THEN high_flags ELSE low_flags END AS server_flags,
  retransmissions,
  out_of_order,
  zero_windows,
  tcp_rtt,
  tcp_handshake,
  community_id,
  CASE WHEN client_low THEN low_icmp_type ELSE high_icmp_type END AS icmp_type,
  CASE WHEN client_low THEN low_icmp_code ELSE high_icmp_code END AS icmp_code,
  CASE WHEN client_low THEN low_syn ELSE high_syn END AS client_syn,
  CASE WHEN client_low THEN high_syn ELSE low_syn END AS server_syn,
  CASE WHEN client_low THEN low_syn_ack ELSE high_syn_ack END AS client_syn_ack,
  CASE WHEN client_low THEN high_syn_ack ELSE low_syn_ack END AS server_syn_ack,
  CASE WHEN client_low THEN low_ack ELSE high_ack END AS client_ack,
  CASE WHEN client_low THEN high_ack ELSE low_ack END AS server_ack,
  CASE WHEN client_low THEN low_data ELSE high_data END AS client_data,
  CASE WHEN client_low THEN high_data ELSE low_data END AS server_data,
  CASE WHEN client_low THEN low_fin ELSE high_fin END AS client_fin,
  CASE WHEN client_low THEN high_fin ELSE low_fin END AS server_fin,
  CASE WHEN client_low THEN low_rst ELSE high_rst END AS client_rst,
  CASE WHEN client_low THEN high_rst ELSE low_rst END AS server_rst,
  CASE WHEN client_low THEN low_again ELSE high_again END AS client_again,
  CASE WHEN client_low THEN high_again ELSE low_again END AS server_again,
  CASE WHEN client_low THEN low_closed ELSE high_closed END AS client_closed,
  CASE WHEN client_low THEN high_closed ELSE low_closed END AS server_closed
FROM oriented
WHERE place = 1
