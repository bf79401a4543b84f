"""Run by .venv-validators: puts JSON-LD contexts into an HTTP cache, as the network would: CACHE URL FILE ..."""

import sys
from pathlib import Path

from requests import Request
from requests_cache import CachedResponse, CachedSession
from requests_cache.models import CachedRequest

with CachedSession(sys.argv[1], backend="sqlite", expire_after=-1) as session:
    for url, file in zip(sys.argv[2::2], sys.argv[3::2], strict=True):
        asked = Request("GET", url).prepare()
        said = CachedResponse(
            url=url, status_code=200, headers={"Content-Type": "application/ld+json"},
            request=CachedRequest.from_request(asked),
        )  # fmt: skip
        said._content = Path(file).read_bytes()
        session.cache.save_response(said, session.cache.create_key(asked))
