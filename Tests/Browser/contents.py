"""An object of each kind that pages show."""
import base64
import io
import json

import pyarrow as arrow
import pyarrow.parquet

PEOPLE = b"id,name,born\n1,Ada,1815-12-10\n2,\"Grace, H.\",1906-12-09\n3,Alan,1912-06-23\n"
PEOPLE_CHANGED = b"id,name,born\n1,Ada Lovelace,1815-12-10\n3,Alan,1912-06-23\n4,Edsger,1930-05-11\n"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR4nGPgSdiHFTEMLQkAs0VbQaN0mxQAAAAASUVORK5CYII=")


def parquet(rows=1000, **more):
    table = arrow.table({"number": range(rows), "word": [f"word {index % 7}" for index in range(rows)], "half": [index / 2 if index % 5 else None for index in range(rows)]})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, **more)
    return out.getvalue()


def files():
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "markdown", "source": ["# Title\n", "<script>alert(1)</script>"]},
        {"cell_type": "code", "source": "print('hello')  # said", "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["hello\n"]},
            {"output_type": "display_data", "data": {"text/html": "<script>alert(2)</script>", "text/plain": "a frame"}},
            {"output_type": "display_data", "data": {"image/png": base64.b64encode(PIXEL).decode()}},
            {"output_type": "error", "traceback": ["\x1b[31mValueError\x1b[0m: no"]}]}]}
    shapes = {"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [6.6, 46.5]}},
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [[[6, 46], [7, 46], [7, 47], [6, 46]]]}}]}
    return {
        "README.md": b"# The demo\nSome *text*, a [link](https://example.org), <script>alert(1)</script> and [bad](javascript:alert(1)).\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        "docs/notes.txt": b"one\ntwo\nthree\n", "docs/query.sql": b"-- all of them\nselect * from people where born > '1900-01-01' limit 10;\n",
        "docs/page.html": b"<h1>Stored</h1><script>alert(1)</script>", "docs/long.txt": b"".join(b"line %d\n" % index for index in range(40_000)),
        "tables/people.csv": PEOPLE, "tables/semi.csv": b"a;b\n1;2\n", "tables/lines.jsonl": b'{"a": 1, "b": {"c": 2}}\n{"a": 2, "d": null}\nnot json\n',
        "tables/numbers.parquet": parquet(compression="zstd"), "tables/broken.parquet": b"PAR1" + b"\x00" * 40 + b"PAR1", "tables/wide.csv": (",".join(f"c{index}" for index in range(300)) + "\n").encode(),
        "pictures/pixel.png": PIXEL, "pictures/drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><script>alert(1)</script><circle cx="10" cy="10" r="8"/></svg>',
        "notebook.ipynb": json.dumps(notebook).encode(), "broken.ipynb": b"{not json", "shapes.geojson": json.dumps(shapes).encode(), "bytes.bin": bytes(range(256)) * 40, "empty.txt": b"",
        "small.pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj 3 0 obj<</Type/Page/MediaBox[0 0 99 99]/Parent 2 0 R>>endobj trailer<</Root 1 0 R>>",
    }
