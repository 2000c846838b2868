"""What stands behind a verb: a function from a request to a record, which joins the rooms below."""
