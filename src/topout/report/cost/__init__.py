"""What a model needs and how long it should take: figures of machines, ops and memory."""
