"""Retraining on outcomes: reading and screening them, judging the candidate on a hold-out, records, publication."""
