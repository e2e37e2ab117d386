"""What `ingest_data.py` is made of: any file in, conversations over HTTP out.

A row's way, led by `pipeline`: `files` (bytes to lines), `delimited`, `workbooks` or `json_files`
(lines to records), `columns`, `dates`, `text_repair` (what a record means), `rows` (what is sent,
and under which key), `duplicates`, `reply_threads` (with --conversations); then `sender` and, with
--wait, `wait`, over `api_client`. Nothing in here imports the store or the service.
"""
