"""Named queries of streamgauge in Spark, on the same objects: no service of ours is needed.

    python examples/spark/named_queries.py s3a://streamgauge top-talkers limit=5
    python examples/spark/named_queries.py /data/copy-of-the-bucket port-scans

Needs pyspark, and for s3a:// the package hadoop-aws that fits its Hadoop. The definitions are those that
``streamgauge query --define spark`` prints. A cluster takes the file with spark-submit; nothing else changes.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC
from typing import TYPE_CHECKING

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from streamgauge.cli import times
from streamgauge.query import dialects, named, portable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def session(master: str = "local[2]") -> SparkSession:
    """Return a session that reads our objects: times of nanoseconds as numbers, everything in UTC."""
    builder = SparkSession.builder.master(master).appName("streamgauge")
    settings = {
        "spark.sql.legacy.parquet.nanosAsLong": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        # Few, since little is left after the first aggregation; a cluster wants more.
        "spark.sql.shuffle.partitions": "4",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def define(spark: SparkSession, location: str) -> None:
    """Make tables over the objects below ``location``, our functions and views."""
    for statement in dialects.statements("spark", location):
        try:
            spark.sql(statement)
        except AnalysisException as error:
            name = next((name for name in portable.BASES if f"VIEW {name} (" in statement), None)
            if name is None or "PATH_NOT_FOUND" not in str(error):
                raise
            # No exporter watches a cluster, or no collector has stored its account: then there is nothing of it.
            spark.sql(dialects.nothing(name))


def ask(spark: SparkSession, name: str, given: dict[str, str] | None = None) -> DataFrame:
    """Return the answer of a named query; parameters as on the command line."""
    question = named.all_named()[name]
    values = question.bind(given or {}, times.parse)
    return spark.sql(dialects.translate("spark", question.sql), args=values)


def main() -> None:
    """Print an answer as NDJSON."""
    location, name, *rest = sys.argv[1:]
    spark = session()
    spark.sparkContext.setLogLevel("ERROR")
    define(spark, location)
    for row in ask(spark, name, named.parameters_of(rest)).collect():
        print(json.dumps(row.asDict(), default=lambda value: value.replace(tzinfo=UTC).isoformat()))
    spark.stop()


if __name__ == "__main__":
    main()
