"""How long something took: samples, statistics, doubts and worker processes; knows no models."""
