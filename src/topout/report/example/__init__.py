"""A worked example of the roofline."""
