"""What a run is made of: cases, extraction, scoring, results, and the comparison of two runs."""
