"""What schemathesis is to know of the API that its document does not say."""

import schemathesis

schemathesis.serializer.alias("message/rfc822", "application/octet-stream")
