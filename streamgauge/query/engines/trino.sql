-- A TIMESTAMP has no zone, and to_unixtime alone would take the session's. Seconds and their fraction go apart: together
-- they are more than the 53 bits of a DOUBLE.
CREATE OR REPLACE FUNCTION ns(t TIMESTAMP(9)) RETURNS BIGINT DETERMINISTIC RETURN
  CAST(to_unixtime(with_timezone(date_trunc('second', t), 'UTC')) AS BIGINT) * 1000000000
  + CAST(
    to_unixtime(with_timezone(t - (date_trunc('second', t) - TIMESTAMP '1970-01-01'), 'UTC')) * 1000000000 AS BIGINT
  );

CREATE OR REPLACE FUNCTION moment(n BIGINT) RETURNS TIMESTAMP(9) WITH TIME ZONE DETERMINISTIC
RETURN from_unixtime_nanos(n);

CREATE OR REPLACE FUNCTION bits(a BIGINT, b BIGINT) RETURNS BIGINT DETERMINISTIC RETURN bitwise_and(a, b);

-- RETURN takes a value; a condition is one in parentheses.
CREATE OR REPLACE FUNCTION is_inside(ip VARCHAR) RETURNS BOOLEAN DETERMINISTIC RETURN (
  {inside}
);
