-- Spark has no time of nanoseconds: with spark.sql.legacy.parquet.nanosAsLong it reads one as a number of them.
CREATE OR REPLACE TEMPORARY FUNCTION ns(t BIGINT) RETURNS BIGINT RETURN t;

CREATE OR REPLACE TEMPORARY FUNCTION moment(n BIGINT) RETURNS TIMESTAMP RETURN timestamp_micros(n DIV 1000);

CREATE OR REPLACE TEMPORARY FUNCTION bits(a BIGINT, b BIGINT) RETURNS BIGINT RETURN a & b;

-- An address as its family and 32 or 128 digits 0 and 1 (4:0000101…): networks are prefixes of them.
CREATE OR REPLACE TEMPORARY FUNCTION address_bits(ip STRING) RETURNS STRING RETURN
  CASE WHEN instr(ip, ':') = 0 THEN
    aggregate(split(ip, '[.]'), '4:', (done, part) -> concat(done, lpad(bin(CAST(part AS BIGINT)), 8, '0')))
  WHEN instr(ip, '::') = 0 THEN
    aggregate(split(ip, ':'), '6:', (done, part) -> concat(done, lpad(conv(part, 16, 2), 16, '0')))
  ELSE
    aggregate(
      concat(
        filter(split(substring_index(ip, '::', 1), ':'), part -> part <> ''),
        array_repeat(
          '0',
          8 - size(filter(split(substring_index(ip, '::', 1), ':'), part -> part <> ''))
          - size(filter(split(substring_index(ip, '::', -1), ':'), part -> part <> ''))
        ),
        filter(split(substring_index(ip, '::', -1), ':'), part -> part <> '')
      ),
      '6:',
      (done, part) -> concat(done, lpad(conv(part, 16, 2), 16, '0'))
    )
  END;

CREATE OR REPLACE TEMPORARY FUNCTION is_inside(ip STRING) RETURNS BOOLEAN RETURN
  {inside};
