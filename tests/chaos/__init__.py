"""The fault suite: real processes, real servers, faults at random moments, and an account that must come out even."""
