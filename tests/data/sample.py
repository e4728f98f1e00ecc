"""Cuts the sample in this folder out of full corpora: 300 cases of each, evenly spread. Usage: sample.py FOLDER"""

import gzip
import json
import pathlib
import sys

CASES = 300

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jsonl.gz")):
    header, *cases = gzip.decompress(path.read_bytes()).decode().splitlines()
    header = json.loads(header)
    cases = cases[:: max(1, len(cases) // CASES)][:CASES]
    header["cases"] = len(cases)
    text = "\n".join([json.dumps(header, separators=(",", ":")), *cases, ""])
    pathlib.Path(__file__).with_name(path.name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
