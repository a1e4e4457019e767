"""Uploads a file by tuspy: at once; cut in the middle and resumed; with checksums; and one that is dropped."""

import sys
from urllib.request import Request, urlopen

from tusclient import client

url, path = sys.argv[1].rstrip("/") + "/?tus", sys.argv[2]
tus = client.TusClient(url)


def uploader(name, **options):
    return tus.uploader(path, metadata={"filename": name}, chunk_size=700_000, **options)


uploader("whole").upload()

half = uploader("resumed")
half.upload(stop_at=2_000_000)
# Somebody else who knows the address alone.
again = tus.uploader(path, url=half.url, chunk_size=700_000)
assert again.offset >= 2_000_000, again.offset
again.upload()

uploader("checked", upload_checksum=True).upload()

dropped = uploader("dropped")
dropped.upload(stop_at=700_000)
with urlopen(Request(dropped.url, method="DELETE", headers={"Tus-Resumable": "1.0.0"})) as answer:
    assert answer.status == 204, answer.status
