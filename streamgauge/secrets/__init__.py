"""Keys, certificates and passwords of an installation: made once, never written over, one folder for each reader.

    python -m streamgauge.secrets            (`make secrets`)

makes what is missing below ``secrets/``; each service is given its own folder there and no other one.
"""
