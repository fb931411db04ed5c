"""What schemathesis is to know of the API that its document does not say."""

import schemathesis

for media_type in ("message/rfc822", "application/jsonl", "text/csv"):
    schemathesis.serializer.alias(media_type, "application/octet-stream")
