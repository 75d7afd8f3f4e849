"""SQL over what was stored: which objects a question needs, the views over them, and the questions people ask.

    with Query(place, Window(since, until)) as query:
        answer = query.run("SELECT src_ip, sum(bytes) FROM summaries GROUP BY 1")

DuckDB does the work in this process; no server of ours is needed, and nothing is downloaded.
"""

from streamgauge.query.catalogue import Window
from streamgauge.query.engine import Query
from streamgauge.query.places import Bucket, Folder, Place

__all__ = ["Bucket", "Folder", "Place", "Query", "Window"]
