"""The operator's commands. ``main`` holds the table of them; each module is one command, light to import."""
