"""What `ingest_data.py` is made of: any file in, conversations over HTTP out.

The way of a row: `files` (bytes to lines of text), `delimited` or `json_files` (lines to records),
`columns`, `times`, `texts` (what the record means), `rows` (what is sent, and under which key),
`seen` (was it there before), `threads` (with --conversations), `sending`. A client of the HTTP API:
nothing in here knows the store or the service's modules.
"""
