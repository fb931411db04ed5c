"""Accept messages: from a request's values to durable rows."""
