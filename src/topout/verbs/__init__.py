"""What stands behind the verbs that join several parts: from a request to a record."""
