"""The prediction log: what was answered, as parquet, a row an image; written by model servers, read by who judges.

<log>/<model>/<stem>.records.arrows            journals: what a server that runs appends to
<log>/<model>/records-<first>-<last>-<stem>.parquet
<log>/.deletions/<client>-<time>               clients whose records are gone, up to a time
<log>/.client.key                              the key of the clients' hashes
<log>/.client.keys/<fingerprint>               by which keys the hashes are
"""
