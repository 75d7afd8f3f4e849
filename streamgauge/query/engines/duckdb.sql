-- What the views and queries need of DuckDB, and what helps with addresses. {inside} is put in.
CREATE MACRO ns(t) AS epoch_ns(t);

CREATE MACRO moment(n) AS make_timestamp_ns(n)::TIMESTAMPTZ_NS;

CREATE MACRO bits(a, b) AS a & b;

-- An IPv4 address as a number of 32 bits; null for anything else.
CREATE MACRO ipv4_number(ip) AS CASE WHEN NOT contains(ip, ':') THEN
  split_part(ip, '.', 1)::UBIGINT * 16777216 + split_part(ip, '.', 2)::UBIGINT * 65536
  + split_part(ip, '.', 3)::UBIGINT * 256 + split_part(ip, '.', 4)::UBIGINT
END;

CREATE MACRO _groups(part) AS CASE WHEN part = '' THEN [] ELSE string_split(part, ':') END;

CREATE MACRO _last(ip) AS regexp_extract(ip, '[^:]*$');

-- The last group of ::ffff:10.0.0.1 is an IPv4 address: two groups.
CREATE MACRO _hex(ip) AS CASE WHEN contains(ip, '.') THEN
  regexp_replace(ip, '[^:]*$', '')
  || printf('%x:%x', ipv4_number(_last(ip)) // 65536, ipv4_number(_last(ip)) % 65536)
ELSE ip END;

CREATE MACRO _written_out(ip) AS CASE WHEN contains(ip, '::') THEN
  _groups(split_part(ip, '::', 1))
  || list_resize(
    CAST([] AS VARCHAR[]), 8 - len(_groups(split_part(ip, '::', 1))) - len(_groups(split_part(ip, '::', 2))), '0'
  )
  || _groups(split_part(ip, '::', 2))
ELSE string_split(ip, ':') END;

-- An IPv6 address as a number of 128 bits; null for anything else.
CREATE MACRO ipv6_number(ip) AS CASE WHEN contains(ip, ':') THEN
  list_reduce(
    list_transform(_written_out(_hex(ip)), lambda g: ('0x' || g)::UHUGEINT), lambda a, b: a * 65536 + b
  )
END;

-- in_network(src_ip, '10.0.0.0/8')
CREATE MACRO in_network(ip, network) AS CASE
  WHEN contains(ip, ':') <> contains(network, ':') THEN FALSE
  WHEN contains(ip, ':') THEN
    ipv6_number(ip) >> (128 - split_part(network, '/', 2)::INT)::UHUGEINT
    = ipv6_number(split_part(network, '/', 1)) >> (128 - split_part(network, '/', 2)::INT)::UHUGEINT
  ELSE
    ipv4_number(ip) >> (32 - split_part(network, '/', 2)::INT)::UBIGINT
    = ipv4_number(split_part(network, '/', 1)) >> (32 - split_part(network, '/', 2)::INT)::UBIGINT
END;

CREATE MACRO is_inside(ip) AS {inside};
