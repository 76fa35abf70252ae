#!/usr/bin/env python3
"""The clients of one virtual environment, all against one server. Start it with run.sh; names of tests may follow."""
import sys

import s3_clients  # first: it shows where `lake` is
import lakefs_fsspec
import lakefs_objects
import lakefs_python

if __name__ == "__main__":
    sys.exit(s3_clients.main(s3_clients, lakefs_python, lakefs_objects, lakefs_fsspec))
